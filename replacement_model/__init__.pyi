from .errors import (
    BooksError,
    CaptureError,
    GraphFileError,
    InputError,
    MissingDependencyError,
    OrreryError,
    UnsupportedModelError,
    WeightsError,
)
from .labels import FeatureLabel
from .model import ReplacementModel
from .transcoder import Transcoder, TranscoderLayer, load_transcoder, save_transcoder

__all__ = [
    "BooksError",
    "CaptureError",
    "FeatureLabel",
    "GraphFileError",
    "InputError",
    "MissingDependencyError",
    "OrreryError",
    "ReplacementModel",
    "Transcoder",
    "TranscoderLayer",
    "UnsupportedModelError",
    "WeightsError",
    "load_transcoder",
    "save_transcoder",
]
