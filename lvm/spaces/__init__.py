"""Encoders, inverters, fingerprints, and the registry of spaces."""

from lvm.spaces.registry import InvalidSpaces, UnknownSpace, available_spaces, open_space
from lvm.spaces.space import Decoded, Space
from lvm.spaces.vectors import InvalidVectors, SpaceMismatch, Vectors

__all__ = [
    "Decoded",
    "InvalidSpaces",
    "InvalidVectors",
    "Space",
    "SpaceMismatch",
    "UnknownSpace",
    "Vectors",
    "available_spaces",
    "open_space",
]
