"""The command line `orrery`: one module a command, on top of all three packages; nothing imports it.

Modules here import torch, transformers and numba only inside the commands that compute, so that help answers at once.
"""

from circuits.cli.app import main

__all__ = ["main"]
