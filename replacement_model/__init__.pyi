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
from .interventions import (
    Conditions,
    Feature,
    Intervention,
    InterventionResult,
    Supernode,
    intervene,
    intervene_many,
    observe,
)
from .labels import FeatureLabel
from .model import ReplacementModel
from .transcoder import ActiveFeatures, Transcoder, TranscoderLayer

__all__ = [
    "ActiveFeatures",
    "Autoencoder",
    "BooksError",
    "CaptureError",
    "Conditions",
    "Feature",
    "FeatureLabel",
    "GraphFileError",
    "InputError",
    "Intervention",
    "InterventionResult",
    "MissingDependencyError",
    "OrreryError",
    "ReplacementModel",
    "Supernode",
    "Transcoder",
    "TranscoderLayer",
    "UnsupportedModelError",
    "WeightsError",
    "intervene",
    "intervene_many",
    "load_autoencoder",
    "load_transcoder",
    "observe",
    "save_transcoder",
]
