"""Reports of studies: Markdown for a repository, one HTML file to read or print, figures as SVG and PDF.

The public names are listed in `__init__.pyi` and loaded on first use, so that importing this package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
