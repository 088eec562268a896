"""Promise: files of version 0.1.0 open with the same content, and what was unfinished goes on from where it stood."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lvm.encoding.vector_files import read
from lvm.encoding.weights import find
from lvm.files import file_sha256
from lvm.gates import PROBE_MIN_COSINE
from lvm.inversion.config import InverterTraining
from lvm.inversion.data import Silent, TrainingText
from lvm.inversion.inverter import PrefixInverter
from lvm.inversion.training import train
from lvm.sequences import load
from lvm.spaces import Space
from lvm.spaces.statistics import FILE, Statistics
from lvm.training import EpochReport, TrainConfig, load_model
from lvm.training import train as train_model
from tests.compatibility.made import AS_BEFORE, CONTEXT, EXPECTED, FOLDER, documents

SEQUENCES = FOLDER / "lvm" / "sequences" / f"ctx{CONTEXT}.safetensors"

SHIPPED = {
    "CARD.md": "87223e9e6938046895cd0957a1d3db317f31a323331202102045e92338215204",
    "config.json": "d228a1689a7366079782d4bc67ef09106a5ffdd2beff7679d20cbaa467db1887",
    "inverter.safetensors": "236c687e8c79e621c562e0bb4ea5e3b7dceb90489f5ac6088bae34d556eb3f4e",
    "statistics.safetensors": "62c47cfd01646b83a041398bf1c52447339bf2ad74ad4d08ddfcd7fa37361e20",
    "tokenizer.json": "004642a4b194d3e0e35f273a66570ff50d23a497c36f88fdf80141d5416e4daa",
}
"""sha256 of the files of the inverter that is shipped: what people's verdicts are about."""


class Told(Silent):
    """Remembers the stages of a training, and how far each came."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.advances: dict[str, list[int]] = {}
        self.now = ""

    def stage(self, name: str, total: int) -> None:
        self.now = name
        self.totals[name] = total
        self.advances[name] = []

    def advance(self, count: int) -> None:
        self.advances[self.now].append(count)


def test_a_sequence_set_opens() -> None:
    sequences, expected = load(SEQUENCES), EXPECTED["sequences"]
    assert sequences.sha256 == expected["sha256"] and sequences.counts() == expected["counts"]
    assert (sequences.space_name, sequences.space, sequences.context) == ("toy", EXPECTED["fingerprint"], CONTEXT)
    assert (sequences.inverter, sequences.corpus_revision) == (EXPECTED["inverter"], EXPECTED["corpus_revision"])


def test_a_finished_model_predicts_what_it_predicted() -> None:
    sequences, expected = load(SEQUENCES), EXPECTED["model"]
    model = load_model(FOLDER / "lvm" / "gru")
    assert (model.name, model.digest, model.space) == ("gru", expected["sha256"], EXPECTED["fingerprint"])
    count = len(expected["vector"])
    vector, query = model.predict(sequences.contexts(sequences.starts["test"][:count]))
    np.testing.assert_allclose(vector, expected["vector"], atol=1e-5)
    np.testing.assert_allclose(query, expected["query"], atol=1e-5)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / "lvm" / "gru", tmp_path / "gru")
    config = TrainConfig(**EXPECTED["model"]["config"], **AS_BEFORE)
    result = train_model("gru", load(SEQUENCES), config, folder)
    assert result.note == f"resumed after epoch {config.epochs}" and len(result.history) == config.epochs
    assert load_model(folder).digest == EXPECTED["model"]["sha256"] and load_model(folder).sha256 == result.sha256
    for file in folder.iterdir():
        assert file.read_bytes() == (FOLDER / "lvm" / "gru" / file.name).read_bytes()


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / "interrupted" / "gru", tmp_path / "gru")
    before = [EpochReport(**report) for report in EXPECTED["interrupted"]["history"]]
    assert len(before) == 2
    result = train_model("gru", load(SEQUENCES), TrainConfig(**EXPECTED["interrupted"]["config"], **AS_BEFORE), folder)
    assert result.note == "resumed after epoch 2"
    assert result.history[:2] == before and [report.epoch for report in result.history] == [1, 2, 3, 4]
    assert load_model(folder).sha256 == result.sha256


def test_an_encoder_and_its_inverter_are_who_they_were(old_space: Space) -> None:
    assert old_space.fingerprint == EXPECTED["fingerprint"]
    assert old_space.inverter.sha256 == EXPECTED["inverter"]
    assert old_space.inverter_encoder == old_space.fingerprint
    assert old_space.trained_documents == {each.sha256 for each in documents()[:9]}
    encoded = old_space.encode(EXPECTED["texts"])
    cosines = np.einsum("nd,nd->n", encoded.unit, np.array(EXPECTED["vectors"]["unit"]))
    assert cosines.min() >= PROBE_MIN_COSINE  # bfloat16 differs a little
    assert len(old_space.decode(encoded).texts) == len(EXPECTED["texts"])


def test_an_unfinished_training_of_an_inverter_goes_on(old_space: Space, tmp_path: Path) -> None:
    scratch = shutil.copytree(FOLDER / "scratch", tmp_path / "scratch")
    text, told = TrainingText.collect(documents(), old_space.chunker(), Silent()), Told()
    assert isinstance(old_space.inverter, PrefixInverter)
    made = train(
        old_space.encoder, text, "toy", tmp_path / "tuned", scratch,
        InverterTraining(**EXPECTED["training"], noise=0.0, splices=0.0, dropout=0.0),
        "lvm inverter finetune", tmp_path / "not used", start=old_space.inverter, progress=told,
    )  # fmt: skip
    assert list(told.totals) == ["train"]  # the vectors were kept, nothing is encoded again
    first, *later = told.advances["train"]
    assert first == 400 and set(later) == {1}
    assert first + len(later) == told.totals["train"] == made.card.training["steps"]
    assert PrefixInverter.load(tmp_path / "tuned").sha256 == made.sha256 != EXPECTED["inverter"]
    assert set(made.card.trained_documents) > set(old_space.trained_documents)


@pytest.mark.parametrize("suffix", [".safetensors", ".jsonl"])
def test_vectors_in_files_are_read(suffix: str, old_space: Space) -> None:
    path = FOLDER / f"vectors{suffix}"
    with path.open("rb") as file:
        held = read(path, file)
    assert held.fingerprint == EXPECTED["fingerprint"] == old_space.fingerprint and not held.foreign
    vectors = held.vectors(old_space.fingerprint)
    np.testing.assert_array_equal(held.raw, np.array(EXPECTED["vectors"]["unit"], np.float32))
    np.testing.assert_array_equal(vectors.norms, np.array(EXPECTED["vectors"]["norms"], np.float32))
    assert len(old_space.decode(vectors).texts) == len(EXPECTED["texts"])


def test_the_shipped_inverter_is_what_it_was() -> None:
    folder = find("package:lvm/spaces/minilm", Path())
    assert {file.name: file_sha256(file) for file in folder.iterdir() if file.is_file()} == SHIPPED
    inverter = PrefixInverter.load(folder)
    assert inverter.sha256 == "d930a086208f363f596c56f1f590f10a4fe9bc4bd17b267b18cdf4338c980218"
    assert Statistics.load(folder / FILE).fingerprint == inverter.encoder
