"""The number by which the existing front-ends know a feature."""

__all__ = ["cantor_pair"]


def cantor_pair(layer: int, feature_idx: int) -> int:
    """One integer for a layer and a feature's index, as the front-ends compute it."""
    return (layer + feature_idx) * (layer + feature_idx + 1) // 2 + feature_idx
