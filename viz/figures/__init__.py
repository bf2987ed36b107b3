"""Figures for papers: sizes, fonts and colours that fit a page, and the plots that are drawn with them.

The public names are listed in `__init__.pyi` and loaded on first use, so that importing this package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
