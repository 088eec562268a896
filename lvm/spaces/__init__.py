"""Spaces: an encoder and its inverter under one name; the registry, the diagnosis, the check of foreign vectors."""

from lvm.encoding.vectors import InvalidVectors, SpaceMismatch, Vectors
from lvm.spaces.registry import InvalidSpaces, UnknownSpace, available_spaces, open_space
from lvm.spaces.space import Decoded, Space

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
