"""Claim: ``lvm check`` names every wrong path of MiniLM's weights in 200 vectors, and no text on the right path.

The peers are the paths themselves: the right one on other text than the statistics were measured on, the wrong ones of
docs/disaster.md, and what can happen to an array on its way (permuted, cut, centred, quantised). Of every kind, random
batches of 1, 5, 20 and 200 vectors are checked. Figures are shares of batches that were refused: false alarms of the
first table, hits of the others. Where LVM_ARTIFACTS holds a sequence set and models, their predictions are checked too;
nothing is claimed of them, nor of the arrays that changed on the way. The claims are judged on the batches of 200
vectors.

    python -m benchmarks.checking [SOURCE ...] [--chunks 2000] [--batches 1000]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.encoding.encoder import TextEncoder
from lvm.models import MODELS
from lvm.sequences import load
from lvm.settings import Settings
from lvm.spaces import Space, Vectors, open_space
from lvm.spaces.check import check
from lvm.spaces.registry import open_statistics
from lvm.training import load_model

SIZES = (1, 5, 20, 200)
PATHS = {
    "CLS": {"pooling": "cls"},
    "max": {"pooling": "max"},
    "pooler": {"pooling": "pooler"},
    "layer 5": {"layer": 5},
    "layer 3": {"layer": 3},
    "not normalised": {"normalize": False},
    "rotated": {"projection": "rotation.safetensors"},
}


def chunks_of(space: Space, source: str, count: int) -> list[str]:
    """Random chunks of a source, of documents that the inverter was not trained on."""
    texts = [
        chunk.text
        for document in open_source(source)
        if isinstance(document, Document) and document.sha256 not in space.trained_documents
        for chunk in space.chunker().split(document.text)[0]
    ]
    return [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:count]]


def odd_texts(texts: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Text unlike any corpus."""
    random, words = np.random.default_rng(0), sorted({word for text in texts for word in text.split()})
    yield "single words", [words[row] for row in random.permutation(len(words))[:1000]]
    yield "numbers", [" ".join(map(str, random.integers(0, 100_000, 6))) for _ in range(1000)]
    yield "random letters", ["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz   "), 60)) for _ in range(1000)]
    lines = {line.strip() for file in sorted(Path("lvm").rglob("*.py")) for line in file.read_text().splitlines()}
    yield "Python", [line for line in sorted(lines) if len(line) > 20][:1000]


def changed(vectors: Vectors) -> Iterator[tuple[str, Vectors]]:
    """What may happen to right vectors on their way."""
    random, unit = np.random.default_rng(0), vectors.unit
    half = unit.copy()
    half[:, unit.shape[1] // 2 :] = 0
    centred = unit - unit.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(unit.T))
    noise = random.normal(size=unit.shape)
    for name, raw in (
        ("dimensions permuted", unit[:, random.permutation(unit.shape[1])]),
        ("signs flipped at random", unit * random.choice([-1.0, 1.0], unit.shape[1])),
        ("moved by one dimension", np.roll(unit, 1, axis=1)),
        ("whitened", centred @ axes / np.sqrt(variances + 1e-8)),
        ("half of the dimensions zero", half),
        ("positive random numbers", random.random(unit.shape)),
        ("random directions", noise),
        ("centred", centred),
        ("negated", -unit),
        ("signs only", np.sign(unit)),
        ("8 bits", np.round(unit * 127 / np.abs(unit).max())),
        ("16 bits", unit.astype(np.float16)),
        ("noise at cosine 0.7", unit + noise / np.linalg.norm(noise, axis=1, keepdims=True)),
        ("two dimensions swapped", unit[:, [1, 0, *range(2, unit.shape[1])]]),
    ):
        directions = np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), np.float32)
        yield name, Vectors.from_raw(vectors.fingerprint, directions)


def predictions(settings: Settings) -> Iterator[tuple[str, Vectors]]:
    """What the models in the artifacts predict on held-out windows: to decode, and to rank by."""
    for path in sorted(settings.artifacts.glob("*.safetensors")):
        sequences = load(path)
        contexts = sequences.contexts(sequences.starts["test"][:5000])
        for name in MODELS:
            if (settings.artifacts / name / "model.safetensors").is_file():
                found = load_model(settings.artifacts / name).predict(contexts)
                for head, raw in zip(("vector", "query"), found, strict=True):
                    yield f"{name}, {head}", Vectors.from_raw(sequences.space, raw)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", help="other text: folders or .jsonl files")
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--batches", type=int, default=1000)
    asked = parser.parse_args()
    settings = Settings()
    space = open_space("minilm", Settings(inverter=None))
    statistics = open_statistics(space, settings)
    random = np.random.default_rng(0)

    broken = []

    def row(name: str, vectors: Vectors, claim: float | None = None) -> None:
        whole = check(vectors, statistics, space.name)
        refused = []
        for size in SIZES:
            batches = (random.choice(len(vectors), size, replace=False).tolist() for _ in range(asked.batches))
            refused.append(np.mean([not check(vectors[rows], statistics, space.name).passed for rows in batches]))
        if claim is not None and refused[-1] != claim:
            broken.append(name)
        shares = " | ".join(f"{100 * share:.1f}" for share in refused)
        foreign = 100 * len(whole.foreign) / len(vectors)
        print(f"| {name} | {len(vectors)} | {whole.distance:.2f} | {foreign:.1f} | {shares} |", flush=True)

    def table(title: str) -> None:
        print(
            f"\n| {title} | vectors | mean distance | foreign, % | refused of {asked.batches} batches of 1, % |", end=""
        )
        print(" of 5 | of 20 | of 200 |\n|" + " --- |" * 8)

    texts = {Path(source).stem: chunks_of(space, source, asked.chunks) for source in ("sotu", *asked.sources)}
    right = {name: space.encode(each) for name, each in texts.items()}
    table("right path")
    for name, vectors in right.items():
        row(name, vectors, claim=0.0)
    for name, each in odd_texts([text for source in texts.values() for text in source]):
        row(name, space.encode(each), claim=0.0)
    for name, vectors in predictions(settings):
        row(name, vectors)
    table("wrong paths")
    with tempfile.TemporaryDirectory() as folder:
        rotation = torch.linalg.qr(torch.randn(space.dim, space.dim, generator=torch.Generator().manual_seed(0))).Q
        for file in space.encoder.folder.iterdir():
            (Path(folder) / file.name).symlink_to(file)
        save_file({"linear.weight": rotation.contiguous()}, Path(folder) / "rotation.safetensors")
        for path, changes in PATHS.items():
            encoder = TextEncoder(Path(folder), replace(space.encoder.recipe, **changes))  # type: ignore[arg-type]
            for name, each in texts.items():
                row(f"{path}, {name}", encoder.encode(each), claim=1.0)
    table("changed on the way")
    for name, vectors in right.items():
        for change, other in changed(vectors):
            row(f"{change}, {name}", other)
    print(f"\nthe claim does not hold for {', '.join(broken)}" if broken else "\nall claims hold")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
