"""Latent vector models: text to vectors, vectors to predictions, predictions to text, on one encoding path."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lvm")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
