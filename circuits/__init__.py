"""Attribution graphs: what made the model say this, pruned to a circuit that can be read.

The public names are listed in `__init__.pyi` and loaded on first use, so that importing this package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
