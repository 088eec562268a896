"""Can these vectors be of this space at all? Judged from the numbers alone, without the texts.

Contract: ``Statistics`` say how an encoder's vectors lie: mean, covariance, norms, and the mean direction of each other
path through the same weights (another pooling, another layer). They are measured once on chunks of the sample corpus
and kept in a sealed file. ``check`` compares a batch with them. A batch that fails is not of the space; one that
passes can be. docs/spaces.md has what was measured, and what cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast, get_args

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from transformers import PretrainedConfig

from lvm import gates
from lvm.corpus.chunker import Chunker
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.errors import first_line
from lvm.files import UNSEALED, CorruptedFile, verify, write_sealed
from lvm.spaces.encoder import Pooling, Recipe, TextEncoder
from lvm.spaces.vectors import FloatArray, SpaceMismatch, Vectors

FILE = "statistics.safetensors"
FORMAT = "lvm-statistics-1"

CORPUS = "sotu"
"""The sample corpus. Every encoder is measured on it, so that one threshold serves all."""

CHUNKS, PATH_CHUNKS = 10_000, 500
"""Chunks that statistics are measured on; chunks that suffice for the mean direction of another path."""

_FLOOR = 0.045  # of the mean variance, added to every variance: 1e-4 for MiniLM
_RECOGNISED = 0.8  # cosine to the mean direction of a path at which the path is named
_CROWD = 20  # vectors from which their mean cosine to each other says something
_ROWS = 8192

Progress = Callable[[int], None]


class ForeignVectors(SpaceMismatch):
    """Vectors that cannot be of the space they are said to be of."""


@dataclass(frozen=True)
class Statistics:
    """How the vectors of one encoder lie.

    Attributes:
        fingerprint: of the encoder.
        mean: (dim,) mean of its unit vectors; covariance: (dim, dim) of them.
        norms: (3,) 1st percentile, median and 99th percentile of the norms it gives.
        paths: (p, dim) mean directions of other paths through the same weights; ``path_names`` are their changes.
        chunks: how many were measured.
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
        return len(self.mean)

    @cached_property
    def _inverse_root(self) -> npt.NDArray[np.float64]:
        """(dim, dim) W with W Wᵀ the inverse of the covariance, its variances raised by the floor."""
        covariance = self.covariance.astype(np.float64)
        floor = _FLOOR * np.trace(covariance) / self.dim
        variances, directions = np.linalg.eigh(covariance)
        root: npt.NDArray[np.float64] = directions / np.sqrt(np.maximum(variances, 0) + floor)
        return root

    def distances(self, unit: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) squared Mahalanobis distance for each dimension, of unit rows (n, dim); about 1 for the space's own."""
        parts = [
            (((unit[at : at + _ROWS] - self.mean) @ self._inverse_root) ** 2).mean(axis=1)
            for at in range(0, len(unit), _ROWS)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    @cached_property
    def own_distance(self) -> float:
        """Mean distance of the vectors that were measured."""
        return float(((self.covariance @ self._inverse_root) * self._inverse_root).sum() / self.dim)

    @cached_property
    def any_distance(self) -> float:
        """Mean distance of directions drawn at random: where it is small, a rotation of the space cannot be told."""
        spread, offset = (self._inverse_root**2).sum() / self.dim, ((self.mean @ self._inverse_root) ** 2).sum()
        return float((spread + offset) / self.dim)

    @property
    def chance(self) -> float:
        """Mean cosine between two vectors of the space."""
        return float(self.mean.astype(np.float64) @ self.mean)

    def save(self, path: Path) -> None:
        """Write the sealed file.

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
            CorruptedFile: if it is missing, damaged or of another format.
        """
        header, _ = verify(path)
        metadata = header["__metadata__"]
        try:
            if metadata["format"] != FORMAT:
                raise ValueError(f"format {metadata['format']!r}")
            tensors = safetensors.numpy.load_file(path)
            names = tuple(filter(None, metadata["paths"].split(";")))
            fields = (tensors["mean"], tensors["covariance"], tensors["norms"], tensors["paths"])
            found = cls(metadata["fingerprint"], *fields, names, int(metadata["chunks"]))
            shapes = [(found.dim,), (found.dim, found.dim), (3,), (len(names), found.dim)]
            if [field.shape for field in fields] != shapes or not all(np.isfinite(field).all() for field in fields):
                raise ValueError("its arrays do not fit each other")
        except (KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
            raise CorruptedFile(
                f"{path} holds no statistics ({first_line(error)}); delete it, and they are measured anew"
            ) from error
        return found


def measure(encoder: TextEncoder, progress: Progress | None = None) -> Statistics:
    """Measure an encoder on the sample corpus.

    Args:
        encoder: its vectors, and those of the other paths through its weights, are measured.
        progress: called with the number of texts encoded, ``CHUNKS`` and some more in all.
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
    """Chunks of the sample corpus: the same for every encoder that cuts texts alike, in a shuffled order."""
    texts = [
        chunk.text
        for document in open_source(CORPUS)
        if isinstance(document, Document)
        for chunk in chunker.split(document.text)[0]
    ]
    return [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:CHUNKS]]


def _other_paths(encoder: TextEncoder) -> Iterator[tuple[str, Recipe]]:
    """Each recipe that differs in the pooling or in the layer only."""
    recipe, config = encoder.recipe, cast(PretrainedConfig, encoder.model.config)
    for pooling in get_args(Pooling):
        if pooling != recipe.pooling and (pooling != "pooler" or getattr(encoder.model, "pooler", None) is not None):
            yield f"pooling={pooling}", replace(recipe, pooling=pooling)
    for layer in (*range(config.num_hidden_layers), -1):
        if layer != recipe.layer:
            yield f"layer={layer}", replace(recipe, layer=layer)


@dataclass(frozen=True)
class Check:
    """What a comparison found.

    Attributes:
        n: vectors compared.
        distance: their mean distance.
        foreign: rows beyond ``gates.FOREIGN_DISTANCE``.
        faults: why they are not of the space, in words; empty if they can be.
        message: one line.
    """

    n: int
    distance: float
    foreign: tuple[int, ...]
    faults: tuple[str, ...]
    message: str

    @property
    def passed(self) -> bool:
        return not self.faults


def check(vectors: Vectors, statistics: Statistics, space_name: str) -> Check:
    """Whether a batch can be of a space: directions, norms, and dimensions that say nothing.

    Args:
        vectors: at least one; their fingerprint is not believed, only their numbers count.
        statistics: of the space's encoder.
        space_name: for the message.
    """
    space, n = f"{space_name!r} ({statistics.fingerprint})", len(vectors)
    if vectors.unit.shape[1] != statistics.dim:
        fault = f"they have {vectors.unit.shape[1]} dimensions and {space_name!r} has {statistics.dim}"
        return Check(n, float("nan"), tuple(range(n)), (fault,), _refused(space, n, [fault], space_name))
    distances = statistics.distances(vectors.unit)
    foreign, mean = np.flatnonzero(distances > gates.FOREIGN_DISTANCE), float(distances.mean())
    faults = [*_norms(vectors.norms, statistics), *_zeros(vectors.unit)]
    if len(foreign) > gates.FOREIGN_MAX_SHARE * n:
        faults.append(
            f"{len(foreign)} of {n} lie beyond distance {gates.FOREIGN_DISTANCE:g} (mean {mean:.2f}, "
            f"{space_name!r} itself {statistics.own_distance:.2f}){_likeness(vectors.unit[foreign], statistics)}"
        )
    if faults:
        message = _refused(space, n, faults, space_name)
    else:
        message = f"these {n} vectors can be of {space}: mean distance {mean:.2f}"
        message += f" ({space_name!r} itself {statistics.own_distance:.2f}, foreign from {gates.FOREIGN_DISTANCE:g})"
        if len(foreign):
            message += f"; {len(foreign)} of them lie beyond, the first is row {foreign[0]}"
        if statistics.any_distance < gates.FOREIGN_DISTANCE:
            message += "; a rotation of this space could not be told from it"
    return Check(n, mean, tuple(foreign.tolist()), tuple(faults), message)


def demand(vectors: Vectors, statistics: Statistics, space_name: str) -> Check:
    """``check``, with vectors that cannot be of the space refused.

    Raises:
        ForeignVectors: saying which way they are off.
    """
    found = check(vectors, statistics, space_name)
    if not found.passed:
        raise ForeignVectors(found.message)
    return found


def _refused(space: str, n: int, faults: Sequence[str], space_name: str) -> str:
    return (
        f"these {n} vectors are not of {space}: {'; '.join(faults)}. "
        f"Encode the texts with `lvm encode --space {space_name}`"
    )


def _norms(norms: FloatArray, statistics: Statistics) -> Iterator[str]:
    """Unit length is a direction given by itself, as every space takes it; any other must be the encoder's."""
    low, median, high = (float(norm) for norm in statistics.norms)
    found, margin = float(np.median(norms)), gates.FOREIGN_NORM_MARGIN
    if abs(found - 1) > margin and not low * (1 - margin) <= found <= high * (1 + margin):
        unlike = "not normalised" if abs(median - 1) < margin else "scaled or of another path"
        yield f"their median length is {found:.3g} where the encoder gives {median:.3g}: {unlike}"


def _zeros(unit: FloatArray) -> Iterator[str]:
    zero = int((~unit.any(axis=0)).sum())
    if zero > gates.FOREIGN_ZERO_SHARE * unit.shape[1]:
        yield f"{zero} of {unit.shape[1]} dimensions are zero in all of them: cut or padded"


def _likeness(unit: FloatArray, statistics: Statistics) -> str:
    """What foreign vectors look like, as far as numbers tell."""
    total = unit.sum(axis=0, dtype=np.float64)
    length, n = float(np.linalg.norm(total)), len(unit)
    if len(statistics.paths) and length > 0:
        cosines = statistics.paths @ total / length
        if cosines.max() >= _RECOGNISED:
            name = statistics.path_names[int(cosines.argmax())]
            return f", and point where the same weights with {name} do (cosine {cosines.max():.2f})"
    if n < _CROWD:
        return ""
    crowd = (length**2 - n) / (n * (n - 1))
    if abs(crowd - statistics.chance) < 0.1:
        return (
            f", though among themselves they lie as close as its own (mean cosine {crowd:.2f}): as after a rotation, "
            "a permutation, a linear layer, or from another model"
        )
    return f", and among themselves at mean cosine {crowd:.2f} where its own lie at {statistics.chance:.2f}"
