"""Promise: whatever the bytes of a sealed file, opening it works or ends in a named error of one line."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm.files import UNSEALED, CorruptedFile, verify
from lvm.models import MODELS
from lvm.sequences import load
from lvm.sequences.sequence_set import FORMAT
from lvm.training import load_model, train
from tests.attacks.hostile import ENDLESS, JSON, LONG, mutated, opens_or_is_refused, refused
from tests.training.toy import CONFIG, corpus

HYPER = {"mamba2": {"hidden": 16, "head_width": 8, "state": 4}, "transformer": {"hidden": 16, "heads": 2}}

# -- sealed files: whoever changes one can seal it again ---------------------------------------------------------


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def sealed(header: dict[str, Any], data: bytes) -> bytes:
    """A file with this header and data whose seal is right. That of a sequence set does not cover the vectors."""
    covered = data
    with suppress(KeyError, TypeError, ValueError):
        if header["__metadata__"]["format"] == FORMAT:
            begin, end = header["unit"]["data_offsets"]
            covered = data[:begin] + data[end:]
    header = {**header, "__metadata__": {**header["__metadata__"], "sha256": UNSEALED}}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw = len(raw).to_bytes(8, "little") + raw
    digest = hashlib.sha256(raw + covered).hexdigest()
    return raw.replace(UNSEALED.encode(), digest.encode()) + data


@pytest.fixture(scope="module")
def sequence_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sequences") / "s.safetensors"
    corpus(path, documents=6, length=9)
    return path


def test_a_file_sealed_again_without_a_change_opens(sequence_file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    again.write_bytes(sealed(*split(sequence_file.read_bytes())))
    assert load(again).counts() == load(sequence_file).counts()


Change = Callable[[dict[str, Any], np.ndarray], object]


def metadata(**changes: Any) -> Change:
    def change(header: dict[str, Any], _: np.ndarray) -> None:
        for key, value in changes.items():
            if value is None:
                del header["__metadata__"][key]
            else:
                header["__metadata__"][key] = value

    return change


def entry(name: str, **changes: Any) -> Change:
    def change(header: dict[str, Any], _: np.ndarray) -> None:
        header[name].update(changes)

    return change


def lacking(name: str) -> Change:
    return lambda header, _: header.pop(name)


def numbers(name: str, dtype: str, change: Callable[[np.ndarray], None]) -> Change:
    def changed(header: dict[str, Any], data: np.ndarray) -> None:
        begin, end = header[name]["data_offsets"]
        change(data[begin:end].view(dtype))

    return changed


def put(place: int, value: int) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[place] = value

    return change


STARTS = ("starts_train", "starts_validation", "starts_test")

RESEALED: dict[str, Change] = {
    **{
        f"no {key}": metadata(**{key: None})
        for key in ("context", "space", "space_name", "inverter", "corpus_revision")
    },
    **{f"context {value}": metadata(context=value) for value in ("0", "-3", "x", LONG, ENDLESS, "2", "1e3", "")},
    "context a number": metadata(context=3),
    "metadata nested": metadata(space={"a": [1]}),
    "space no Unicode": metadata(space="\ud800"),
    "other format": metadata(format="lvm-sequences-9"),
    "format without checksums": metadata(format="lvm-sequences-2"),
    "no format": metadata(format=None),
    **{
        f"no {name}": lacking(name)
        for name in ("unit", "blocks", *(f"document_{each}" for each in ("starts", "splits")), *STARTS)
    },
    "an unknown part": lambda header, _: header.update(more={"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}),
    "dtype unknown": entry("unit", dtype="F99"),
    "dtype of starts": entry("starts_train", dtype="F32"),
    "dtype a list": entry("unit", dtype=["F32"]),
    "shape flat": entry("unit", shape=[54 * 12]),
    "shape negative": entry("unit", shape=[-54, -12]),
    "shape NaN": entry("unit", shape=[float("nan"), 12]),
    "shape floats": entry("unit", shape=[54.0, 12.0]),
    "shape huge": entry("unit", shape=[2**62, 12]),
    "shape of 400 digits": entry("unit", shape=[int(LONG), 12]),
    "shape text": entry("unit", shape="54"),
    "shape nothing": entry("unit", shape=None),
    "no vectors": entry("unit", shape=[0, 12], data_offsets=[0, 0]),
    "no dimension": entry("unit", shape=[54, 0], data_offsets=[0, 0]),
    "offsets beyond the file": entry("unit", data_offsets=[2**40, 2**40 + 54 * 48]),
    "offsets negative": entry("unit", data_offsets=[-54 * 48, 0]),
    "offsets backwards": entry("unit", data_offsets=[54 * 48, 0]),
    "offsets one": entry("unit", data_offsets=[0]),
    "offsets text": entry("unit", data_offsets="ab"),
    "checksums flat": entry("blocks", shape=[32]),
    "checksums of more blocks": entry("blocks", shape=[2, 16]),
    "no checksums": entry("blocks", shape=[0, 32], data_offsets=[0, 0]),
    "dtype of checksums": entry("blocks", dtype="F32", shape=[1, 8]),
    "entry a number": lambda header, _: header.update(unit=7),
    "first document elsewhere": numbers("document_starts", "<i8", put(0, 1)),
    "documents not in order": numbers("document_starts", "<i8", put(2, 5)),
    "documents end early": numbers("document_starts", "<i8", put(-1, 53)),
    "documents end late": numbers("document_starts", "<i8", put(-1, 55)),
    "documents overflow": numbers("document_starts", "<i8", put(2, -(2**63))),
    "a document of another split": numbers("document_splits", "u1", put(0, 1)),
    "a split out of range": numbers("document_splits", "u1", put(0, 3)),
    "a window across two documents": numbers("starts_train", "<i8", put(0, 7)),
    "a window of another split": numbers("starts_train", "<i8", put(0, 50)),
    "a window twice": numbers("starts_train", "<i8", put(0, 1)),
    "a negative window": numbers("starts_train", "<i8", put(0, -1)),
    "a window beyond the end": numbers("starts_train", "<i8", put(-1, 2**62)),
}


@pytest.mark.parametrize("change", RESEALED.values(), ids=RESEALED)
def test_a_sequence_set_sealed_again_is_checked(change: Change, sequence_file: Path, tmp_path: Path) -> None:
    header, data = split(sequence_file.read_bytes())
    changed = np.frombuffer(data, np.uint8).copy()
    change(header, changed)
    path = tmp_path / "changed.safetensors"
    path.write_bytes(sealed(header, changed.tobytes()))
    refused(lambda: load(path), CorruptedFile)


def test_vectors_of_a_sequence_set_sealed_again_are_checked(sequence_file: Path, tmp_path: Path) -> None:
    header, data = split(sequence_file.read_bytes())
    changed = np.frombuffer(data, np.uint8).copy()
    numbers("unit", "<f4", put(7, 1))(header, changed)
    path = tmp_path / "changed.safetensors"
    path.write_bytes(sealed(header, changed.tobytes()))
    unit = load(path).unit
    refused(lambda: unit[:1], CorruptedFile)
    refused(unit.check, CorruptedFile)


@pytest.mark.parametrize("size", [0, 2**63, 2**64 - 1, 100 * 2**20 + 1, 100 * 2**20, 5])
def test_the_length_of_a_header_is_not_believed(size: int, sequence_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + sequence_file.read_bytes()[8:])
    refused(lambda: load(path), CorruptedFile)


@pytest.mark.parametrize(
    "text", [*JSON, '{"__metadata__":' * 50_000, '{"__metadata__":7}', '{"__metadata__":{"sha256":[]}}']
)
def test_a_header_of_anything_is_refused(text: str, tmp_path: Path) -> None:
    path, raw = tmp_path / "s.safetensors", text.encode("utf-8", "surrogatepass")
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    refused(lambda: verify(path), CorruptedFile)


@pytest.fixture(scope="module")
def trained(sequence_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder by architecture, trained for an epoch."""
    root = tmp_path_factory.mktemp("trained")
    for name in MODELS:
        config = replace(CONFIG, epochs=1, hyper=HYPER.get(name, {"hidden": 16}))
        train(name, load(sequence_file), config, root / name)
    return {name: root / name for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_a_trained_model_opens(name: str, trained: dict[str, Path]) -> None:
    assert load_model(trained[name]).name == name


CONFIGS: dict[str, Any] = {
    **{text[:20]: text for text in JSON},
    **{f"no {key}": {key: ...} for key in ("model", "dim", "context", "hyper", "loss", "space", "space_name")},
    **{
        f"{key} {str(value)[:20]}": {key: value}
        for key in ("dim", "context")
        for value in (0, -1, "12", 2**62, 13, 12.5, float("nan"), None, True, [12], int(LONG))
    },
    **{f"model {value!r}": {"model": value} for value in ("", "lstm", "none", 7, None, ["gru"], "../gru")},
    **{f"loss {value!r}": {"loss": value} for value in ("", "mse", None, ["mix"])},
    **{f"space {value!r}": {"space": value} for value in (7, None, "\ud800")},
    **{
        f"hyper {str(value)[:40]}": {"hyper": value}
        for value in (
            [], 7, {"hidden": 2**40}, {"hidden": 17}, {"hidden": -1}, {"hidden": "16"}, {"hidden": None}, {"self": 1},
            {"layers": 10**9}, {"hidden": 0}, {"evil": 1}, {"dim": 12}, {"hidden": True}, {"dropout": "x"},
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("change", CONFIGS.values(), ids=CONFIGS)
def test_a_checkpoint_sealed_again_is_checked(change: Any, trained: dict[str, Path], tmp_path: Path) -> None:
    header, data = split((trained["gru"] / "model.safetensors").read_bytes())
    about = header["__metadata__"]
    if isinstance(change, dict):
        config = {**json.loads(about["config"]), **change}
        change = json.dumps({key: value for key, value in config.items() if value is not ...})
    about["config"] = change
    (tmp_path / "model.safetensors").write_bytes(sealed(header, data))
    refused(lambda: load_model(tmp_path), CorruptedFile)


@pytest.mark.parametrize("hyper", [{"heads": 0}, {"heads": 3}, {"heads": 2**40}, {"layers": 0}, {"layers": 10**9}])
def test_sizes_of_a_transformer_are_checked(hyper: dict[str, int], trained: dict[str, Path], tmp_path: Path) -> None:
    header, data = split((trained["transformer"] / "model.safetensors").read_bytes())
    config = json.loads(header["__metadata__"]["config"])
    header["__metadata__"]["config"] = json.dumps({**config, "hyper": {**config["hyper"], **hyper}})
    (tmp_path / "model.safetensors").write_bytes(sealed(header, data))
    refused(lambda: load_model(tmp_path), CorruptedFile)


@pytest.mark.parametrize("key", ["config", "format"])
def test_a_checkpoint_without_its_metadata_is_refused(key: str, trained: dict[str, Path], tmp_path: Path) -> None:
    header, data = split((trained["gru"] / "model.safetensors").read_bytes())
    del header["__metadata__"][key]
    (tmp_path / "model.safetensors").write_bytes(sealed(header, data))
    refused(lambda: load_model(tmp_path), CorruptedFile)


def test_weights_that_are_no_numbers_are_refused(trained: dict[str, Path], tmp_path: Path) -> None:
    header, data = split((trained["gru"] / "model.safetensors").read_bytes())
    changed = np.frombuffer(data, "<f4").copy()
    changed[3] = np.nan
    (tmp_path / "model.safetensors").write_bytes(sealed(header, changed.tobytes()))
    refused(lambda: load_model(tmp_path), CorruptedFile)


STATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no history": lambda header: header["__metadata__"].pop("history"),
    **{
        f"history {text[:20]!r}": lambda header, text=text: header["__metadata__"].update(history=text)  # type: ignore[misc]
        for text in [*JSON, '[{"epoch": 1}]', '[{"evil": 1}]', "[7]"]
    },
    "a weight missing": lambda header: header.pop("model.recency"),
    "a slot missing": lambda header: header.pop("optimizer.0.exp_avg"),
    "a parameter's slots missing": lambda header: [
        header.pop(f"optimizer.0.{slot}") for slot in ("exp_avg", "exp_avg_sq", "step")
    ],
    "an unknown name": lambda header: header.update({"evil": header.pop("model.recency")}),
    "an unknown slot": lambda header: header.update({"optimizer.0.evil": header.pop("optimizer.0.step")}),
    "a slot of another shape": lambda header: header.update({"optimizer.0.exp_avg": header["optimizer.1.exp_avg"]}),
}


@pytest.mark.parametrize("change", STATES.values(), ids=STATES)
def test_the_state_of_a_run_sealed_again_is_checked(
    change: Callable[[dict[str, Any]], object], trained: dict[str, Path], sequence_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gru"
    shutil.copytree(trained["gru"], folder)
    header, data = split((folder / "last.safetensors").read_bytes())
    change(header)
    (folder / "last.safetensors").write_bytes(sealed(header, data))
    config = replace(CONFIG, epochs=1, hyper={"hidden": 16})
    refused(lambda: train("gru", load(sequence_file), config, folder), CorruptedFile)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), again=st.booleans())
def test_any_changed_bytes_of_a_sequence_set(
    seed: int, again: bool, sequence_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    data = mutated(sequence_file.read_bytes(), random.Random(seed))
    if again:
        try:
            data = sealed(*split(data))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
    path.write_bytes(data)
    opens_or_is_refused(lambda: load(path).unit.check())


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), again=st.booleans())
def test_any_changed_bytes_of_a_checkpoint(
    seed: int, again: bool, trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    dice = random.Random(seed)
    data = mutated((trained[dice.choice(sorted(MODELS))] / "model.safetensors").read_bytes(), dice)
    if again:
        try:
            data = sealed(*split(data))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
    (folder / "model.safetensors").write_bytes(data)
    opens_or_is_refused(lambda: load_model(folder))
