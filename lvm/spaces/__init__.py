"""Spaces: an encoder and its inverter under one name; the registry, the diagnosis, the check of foreign vectors."""

from lvm.encoding.vectors import InvalidVectors, SpaceMismatch, Vectors
from lvm.inversion.protocol import Candidate
from lvm.spaces.registry import InvalidSpaces, UnknownSpace, available_spaces, open_space
from lvm.spaces.space import Decoded, InvalidDecoding, Space

__all__ = [
    "Candidate",
    "Decoded",
    "InvalidDecoding",
    "InvalidSpaces",
    "InvalidVectors",
    "Space",
    "SpaceMismatch",
    "UnknownSpace",
    "Vectors",
    "available_spaces",
    "open_space",
]
