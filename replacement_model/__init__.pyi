from .autoencoder import Autoencoder
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
from .formats import load_autoencoder, load_transcoder, save_transcoder
from .labels import FeatureLabel
from .model import ReplacementModel
from .transcoder import ActiveFeatures, Transcoder, TranscoderLayer

__all__ = [
    "ActiveFeatures",
    "Autoencoder",
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
    "load_autoencoder",
    "load_transcoder",
    "save_transcoder",
]
