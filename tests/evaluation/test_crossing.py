"""The disaster, replayed as docs/disaster.md does it: each space comes back through its own inverter only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lvm.encoding.encoder import TextEncoder
from lvm.evaluation.crossing import Crossing, cross, unseen
from lvm.inversion.inverter import Card, PrefixInverter
from lvm.inversion.network import DecoderConfig, VectorDecoder
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.spaces.diagnosis import diagnose

PAGE = Path(__file__).parents[2] / "docs" / "disaster.md"


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Space]]:
    """The spaces that the page's script makes, decoding greedily: quick, and as blind."""
    folder = tmp_path_factory.mktemp("replay")
    [script] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(script, "replay.py", "exec"), {})
        opened = {name: open_space(name, Settings()) for name in ("minilm", "rotated")}
        for space in opened.values():
            assert isinstance(space.inverter, PrefixInverter)
            space.inverter.candidates = 1
        yield opened


@pytest.fixture(scope="module")
def texts(spaces: dict[str, Space]) -> list[str]:
    return unseen(spaces.values(), "sotu", 60, 0)


@pytest.fixture(scope="module")
def cells(spaces: dict[str, Space], texts: list[str]) -> dict[tuple[str, str], Crossing]:
    return {(cell.encoded_by, cell.decoded_by): cell for cell in cross(spaces, texts)}


def test_texts_are_new_to_every_inverter(spaces: dict[str, Space], texts: list[str]) -> None:
    assert len(set(texts)) == 60
    for space in spaces.values():
        assert not space.was_trained_on(texts).any()


@pytest.mark.parametrize("name", ["minilm", "rotated"])
def test_each_comes_back_through_its_own_inverter(name: str, cells: dict[tuple[str, str], Crossing]) -> None:
    found = cells[name, name].roundtrip
    assert found is not None and found.verdict.passed, found and found.verdict.message
    assert found.mean > 0.7


@pytest.mark.parametrize(("encoded", "decoded"), [("minilm", "rotated"), ("rotated", "minilm")])
def test_neither_comes_back_through_the_other(
    encoded: str, decoded: str, cells: dict[tuple[str, str], Crossing]
) -> None:
    found = cells[encoded, decoded].roundtrip
    assert found is not None and not found.verdict.passed
    assert found.mean < found.chance + 0.2, "nothing came through"
    assert "mean roundtrip cosine" in found.verdict.message and "inverter trained for" in found.verdict.message


def test_diagnosis_names_the_layer(spaces: dict[str, Space]) -> None:
    found = diagnose(spaces["minilm"].encoder, spaces["rotated"].encoder, ("minilm", "rotated"))
    assert found.parts_at is not None and found.parts_at.name == "projection"
    assert "mean nothing to the inverter" in found.message


def test_equal_directions_of_other_lengths_are_told_as_such(spaces: dict[str, Space]) -> None:
    encoder = spaces["minilm"].encoder
    longer = TextEncoder(encoder.folder, replace(encoder.recipe, normalize=False))
    found = diagnose(encoder, longer, ("minilm", "longer"))
    assert found.parts_at is not None and found.parts_at.name == "normalisation"
    assert "directions agree" in found.message and not found.compatible


def test_an_inverter_of_another_dimension_reads_nothing(
    spaces: dict[str, Space], texts: list[str], tmp_path: Path
) -> None:
    minilm = spaces["minilm"]
    assert isinstance(minilm.inverter, PrefixInverter)
    save_file({"linear.weight": torch.randn(8, 384)}, tmp_path / "narrow.safetensors")
    recipe = replace(minilm.encoder.recipe, projection=str(tmp_path / "narrow.safetensors"))
    encoder = TextEncoder(minilm.encoder.folder, recipe)
    network = VectorDecoder(DecoderConfig(dim=8, vocabulary=100, width=16, layers=1, heads=2, feedforward=16))
    card = Card(encoder.fingerprint, "", "", 0, [], [], {}, {})
    random = PrefixInverter(network, minilm.inverter.tokenizer, card, np.empty(0, np.int64))
    crossed = cross({"minilm": minilm, "narrow": Space("narrow", encoder, lambda: random)}, texts[:4])
    found = {(cell.encoded_by, cell.decoded_by): cell.roundtrip for cell in crossed}
    assert found["minilm", "narrow"] is None and found["narrow", "minilm"] is None
    assert found["minilm", "minilm"] is not None and found["narrow", "narrow"] is not None
