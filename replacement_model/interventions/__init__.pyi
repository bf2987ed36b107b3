from .conditions import Conditions
from .features import Feature, Supernode
from .intervention import Intervention
from .many import intervene_many
from .observation import Observation, observe
from .result import Continuation, FeatureChange, InterventionResult, TokenChange, Watched
from .run import intervene
from .steering import steer
from .table import result_table

__all__ = [
    "Conditions",
    "Continuation",
    "Feature",
    "FeatureChange",
    "Intervention",
    "InterventionResult",
    "Observation",
    "Supernode",
    "TokenChange",
    "Watched",
    "intervene",
    "intervene_many",
    "observe",
    "result_table",
    "steer",
]
