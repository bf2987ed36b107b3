"""Every error that this project raises on purpose.

    OrreryError
    ├── InputError              change the arguments: prompt, targets, thresholds, sizes
    ├── WeightsError            get another file: missing, truncated, mismatched or NaN weights
    ├── UnsupportedModelError   write an adapter: the architecture or a config attribute is not handled
    │   └── NoAdapterError      of these, the architecture, not a config attribute: its pieces may be found by structure
    ├── CaptureError            the block rebuilt from the captured pieces is not the host's (names the layer)
    ├── BooksError              the graph's terms do not add up to the host's own values
    ├── GraphFileError          the graph file is damaged, or of another schema
    └── MissingDependencyError  install a program, for example Graphviz's `dot`

The command line prints each of them as one line and exits with code 2.
"""

__all__ = [
    "BooksError",
    "CaptureError",
    "GraphFileError",
    "InputError",
    "MissingDependencyError",
    "NoAdapterError",
    "OrreryError",
    "UnsupportedModelError",
    "WeightsError",
]


class OrreryError(Exception):
    """Root of all errors raised on purpose; catch it to catch them all."""


class InputError(OrreryError):
    """An argument cannot be used as given: change it and call again."""


class WeightsError(OrreryError):
    """A weight file is missing, truncated, of unexpected shape, or holds NaN."""


class UnsupportedModelError(OrreryError):
    """No host adapter handles this architecture, or one of its config attributes."""


class NoAdapterError(UnsupportedModelError):
    """No host adapter is for this class of model, or the one that is does not find its parts."""


class CaptureError(OrreryError):
    """What was rebuilt from the captured pieces is not what the host model computed."""


class BooksError(OrreryError):
    """The edges, constants and omitted terms of a target do not add up to its measured value."""


class GraphFileError(OrreryError):
    """A graph file is damaged, truncated, or written with another schema."""


class MissingDependencyError(OrreryError):
    """A program or optional package is needed for this call and is not installed."""
