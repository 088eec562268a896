"""Texts to vectors: the recipe, the encoder, sources of weights, and ``Vectors``, which name their space."""

from lvm.encoding.vectors import InvalidVectors, SpaceMismatch, Vectors
from lvm.encoding.weights import WeightsNotHere, WeightsUnusable

__all__ = ["InvalidVectors", "SpaceMismatch", "Vectors", "WeightsNotHere", "WeightsUnusable"]
