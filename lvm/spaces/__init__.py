"""Encoders, inverters, fingerprints, and the registry of spaces."""

from lvm.spaces.space import CANDIDATES, Decoded, Space, UnknownSpace, available_spaces, open_space
from lvm.spaces.vectors import InvalidVectors, SpaceMismatch, Vectors

__all__ = [
    "CANDIDATES",
    "Decoded",
    "InvalidVectors",
    "Space",
    "SpaceMismatch",
    "UnknownSpace",
    "Vectors",
    "available_spaces",
    "open_space",
]
