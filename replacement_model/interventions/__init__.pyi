from .conditions import Conditions
from .features import Feature, Supernode
from .intervention import Intervention
from .many import intervene_many
from .observation import Observation, observe
from .replay import ReplayResult, replay
from .result import Continuation, FeatureChange, InterventionResult, TokenChange, Watched
from .run import intervene
from .specification import Case, Specification, measured_case, write_specification
from .specification_file import read_specification
from .steering import steer
from .table import result_table

__all__ = [
    "Case",
    "Conditions",
    "Continuation",
    "Feature",
    "FeatureChange",
    "Intervention",
    "InterventionResult",
    "Observation",
    "ReplayResult",
    "Specification",
    "Supernode",
    "TokenChange",
    "Watched",
    "intervene",
    "intervene_many",
    "measured_case",
    "observe",
    "read_specification",
    "replay",
    "result_table",
    "steer",
    "write_specification",
]
