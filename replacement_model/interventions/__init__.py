"""Interventions: features set, scaled, added to, ablated or swapped on a prompt, and what the model then says.

The public names are listed in `__init__.pyi` and loaded on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
