"""Training transcoders, cross-layer or per-layer, on activations of any host model.

`collect_activations` runs the host under hooks, `train_transcoder` fits features with BatchTopK (Bussmann et al. 2024,
arXiv 2412.06410) and exports them as JumpReLU.
"""

from replacement_model.training.activations import ActivationDataset, HookPoint, collect_activations
from replacement_model.training.trainer import TranscoderTrainingConfig, train_transcoder

__all__ = ["ActivationDataset", "HookPoint", "TranscoderTrainingConfig", "collect_activations", "train_transcoder"]
