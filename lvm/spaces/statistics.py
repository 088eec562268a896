"""Statistics of an encoder's vectors: mean, covariance, norms, and the mean directions of other encoding paths.

Contract: statistics are measured once per encoder, on chunks of the sample corpus, and stored in a sealed file. An
"other path" uses the same weights with another pooling or another layer. ``lvm.spaces.check`` compares vectors with
the statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from lvm.arrays import FloatArray
from lvm.corpus.chunker import Chunker
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.encoding.encoder import TextEncoder
from lvm.encoding.recipe import Pooling, Recipe
from lvm.errors import first_line
from lvm.files import UNSEALED, CorruptedFile, verify, write_sealed
from lvm.progress import Progress

FILE = "statistics.safetensors"
FORMAT = "lvm-statistics-1"

CORPUS = "sotu"
"""The sample corpus. All encoders are measured on it, so that one threshold fits all."""

CHUNKS, PATH_CHUNKS = 10_000, 500
"""Chunks for mean, covariance and norms; chunks for the mean direction of another path."""

_FLOOR = 0.045  # added to every variance, as a share of the mean variance: 1e-4 for MiniLM
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Statistics:
    """Distribution of the vectors of one encoder.

    Attributes:
        fingerprint: fingerprint of the encoder.
        mean: (dim,) mean of its unit vectors.
        covariance: (dim, dim) covariance of its unit vectors.
        norms: (3,) 1st percentile, median and 99th percentile of its norms.
        paths: (p, dim) unit vectors, mean directions of other paths.
        path_names: p names of the other paths: what differs in the recipe.
        chunks: number of measured chunks.
    """

    fingerprint: str
    mean: FloatArray
    covariance: FloatArray
    norms: FloatArray
    paths: FloatArray
    path_names: tuple[str, ...]
    chunks: int

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return len(self.mean)

    @cached_property
    def _inverse_root(self) -> npt.NDArray[np.float64]:
        """(dim, dim) matrix W: W Wᵀ is the inverse of the covariance, after the floor is added to its variances."""
        covariance = self.covariance.astype(np.float64)
        floor = _FLOOR * np.trace(covariance) / self.dim
        variances, directions = np.linalg.eigh(covariance)
        root: npt.NDArray[np.float64] = directions / np.sqrt(np.maximum(variances, 0) + floor)
        return root

    def distances(self, unit: FloatArray) -> npt.NDArray[np.float64]:
        """Distances of vectors to the distribution: squared Mahalanobis distance divided by the dimension.

        Args:
            unit: (n, dim) unit vectors.

        Returns:
            (n,) distances; about 1 for vectors of the encoder.
        """
        parts = [
            (((unit[at : at + _ROWS_AT_ONCE] - self.mean) @ self._inverse_root) ** 2).mean(axis=1)
            for at in range(0, len(unit), _ROWS_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    @cached_property
    def own_distance(self) -> float:
        """Mean distance of the measured vectors."""
        return float(((self.covariance @ self._inverse_root) * self._inverse_root).sum() / self.dim)

    @cached_property
    def any_distance(self) -> float:
        """Mean distance of random directions. If it is small, a rotated space cannot be detected."""
        spread, offset = (self._inverse_root**2).sum() / self.dim, ((self.mean @ self._inverse_root) ** 2).sum()
        return float((spread + offset) / self.dim)

    @property
    def chance(self) -> float:
        """Chance cosine: mean cosine between two vectors of the space."""
        return float(self.mean.astype(np.float64) @ self.mean)

    def save(self, path: Path) -> None:
        """Write the statistics to a sealed file.

        Raises:
            CannotWrite: if the disk is full or the folder cannot be written.
        """
        names = ("mean", "covariance", "norms", "paths")
        tensors = {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in names}
        metadata = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "paths": ";".join(self.path_names),
            "chunks": str(self.chunks),
            "corpus": CORPUS,
            "sha256": UNSEALED,
        }
        write_sealed(path, safetensors.numpy.save(tensors, metadata))

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Open a file of statistics.

        Raises:
            CorruptedFile: if the file is missing, damaged or of another format.
        """
        header, _ = verify(path)
        metadata = header["__metadata__"]
        try:
            if metadata["format"] != FORMAT:
                raise ValueError(f"format {metadata['format']!r}")
            tensors = safetensors.numpy.load_file(path)
            names = tuple(filter(None, metadata["paths"].split(";")))
            fields = (tensors["mean"], tensors["covariance"], tensors["norms"], tensors["paths"])
            statistics = cls(metadata["fingerprint"], *fields, names, int(metadata["chunks"]))
            dim = statistics.dim
            shapes = [(dim,), (dim, dim), (3,), (len(names), dim)]
            if [field.shape for field in fields] != shapes or not all(np.isfinite(field).all() for field in fields):
                raise ValueError("its arrays do not fit each other")
        except (KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
            raise CorruptedFile(
                f"{path} holds no statistics ({first_line(error)}); delete it, and they are measured again"
            ) from error
        return statistics


def measure(encoder: TextEncoder, progress: Progress | None = None) -> Statistics:
    """Measure an encoder on the sample corpus.

    Args:
        encoder: the encoder.
        progress: called with the number of encoded texts: ``CHUNKS``, and ``PATH_CHUNKS`` for every other path.
    """
    texts = _sample(Chunker(encoder.tokenizer, encoder.recipe.max_tokens))
    vectors = encoder.encode(texts, progress)
    paths = {}
    for name, recipe in _other_paths(encoder):
        path = TextEncoder(encoder.folder, recipe, str(encoder.device))
        mean = path.encode(texts[:PATH_CHUNKS], progress).unit.mean(axis=0)
        paths[name] = mean / np.linalg.norm(mean)
    return Statistics(
        encoder.fingerprint,
        vectors.unit.mean(axis=0, dtype=np.float64).astype(np.float32),
        np.cov(vectors.unit.T.astype(np.float64)).astype(np.float32),
        np.quantile(vectors.norms, (0.01, 0.5, 0.99)).astype(np.float32),
        np.array(list(paths.values()), np.float32).reshape(len(paths), encoder.dim),
        tuple(paths),
        len(texts),
    )


def _sample(chunker: Chunker) -> list[str]:
    """Shuffled chunks of the sample corpus. Encoders with the same chunks get the same sample."""
    texts = [
        chunk.text
        for document in open_source(CORPUS)
        if isinstance(document, Document)
        for chunk in chunker.split(document.text)[0]
    ]
    return [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:CHUNKS]]


def _other_paths(encoder: TextEncoder) -> Iterator[tuple[str, Recipe]]:
    """Recipes that differ from the encoder's in the pooling or in the layer only, with their names."""
    recipe, config = encoder.recipe, cast(Any, encoder.model.config)
    for pooling in get_args(Pooling):
        if pooling != recipe.pooling and (pooling != "pooler" or getattr(encoder.model, "pooler", None) is not None):
            yield f"pooling={pooling}", replace(recipe, pooling=pooling)
    for layer in (*range(config.num_hidden_layers), -1):
        if layer != recipe.layer:
            yield f"layer={layer}", replace(recipe, layer=layer)
