"""Promise: whatever the bytes of a file, opening it works or ends in a named error of one line."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from lvm.errors import LvmError
from lvm.files import UNSEALED, CorruptedFile, verify
from lvm.models import MODELS
from lvm.sequences import load
from lvm.spaces import weights
from lvm.spaces.corrector import Corrector
from lvm.spaces.decoder import DecoderConfig, VectorCorrector, VectorDecoder
from lvm.spaces.encoder import TextEncoder
from lvm.spaces.inverter import Card, Inverter
from lvm.spaces.vec2text import Vec2TextInverter
from lvm.spaces.weights import WeightsUnusable
from lvm.training import load_model, train
from tests.attacks.folders import RECIPE, encoder, make
from tests.training.toy import CONFIG, corpus

HYPER = {"mamba2": {"hidden": 16, "head_width": 8, "state": 4}, "transformer": {"hidden": 16, "heads": 2}}
DEEP = "[" * 100_000
LONG = "9" * 400
ENDLESS = "9" * 5000  # Python refuses to read a number of more than 4,300 digits

JSON = [
    "", "{}", "[]", "7", "null", '"text"', "NaN", DEEP, '{"a":' * 100_000, LONG, ENDLESS, "{", "\ud800", "\0", "[{}]",
]  # fmt: skip
"""What may stand where a JSON object is expected."""


def one_line(error: BaseException) -> None:
    assert isinstance(error, LvmError), repr(error)
    assert "\n" not in str(error) and 20 < len(str(error)) < 1000, str(error)


def refused(open_it: Callable[[], object], kind: type[LvmError] = LvmError) -> None:
    with pytest.raises(LvmError) as caught:
        open_it()
    one_line(caught.value)
    assert isinstance(caught.value, kind)


def opens_or_is_refused(open_it: Callable[[], object]) -> None:
    try:
        open_it()
    except LvmError as error:
        one_line(error)


def write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


# -- sealed files: whoever changes one can seal it again ---------------------------------------------------------


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def sealed(header: dict[str, Any], data: bytes) -> bytes:
    """A file with this header and data whose seal is right."""
    header = {**header, "__metadata__": {**header["__metadata__"], "sha256": UNSEALED}}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw = len(raw).to_bytes(8, "little") + raw
    digest = hashlib.sha256(raw + data).hexdigest()
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
    "no format": metadata(format=None),
    **{
        f"no {name}": lacking(name)
        for name in ("unit", "document_starts", "document_splits", "starts_train", "starts_validation", "starts_test")
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
    opens_or_is_refused(lambda: load(path))


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


def mutated(data: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, cut out or put in, most of them where the structure is: at the beginning."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = min(int(dice.expovariate(1 / 600)), len(changed) - 1)
        what = dice.choice(["change", "cut", "insert", "digit", "end"])
        if what == "change":
            changed[place] = dice.randrange(256)
        elif what == "cut":
            del changed[place : place + dice.randint(1, 40)]
        elif what == "insert":
            changed[place:place] = dice.choice([b"9", b"-", b"[", b"}", b"null", b"1e400", b"\xff", bytes(8)])
        elif what == "digit":
            places = [at for at, byte in enumerate(changed[:4000]) if 48 <= byte < 58]
            if places:
                changed[dice.choice(places)] = dice.choice(b"0123456789")
        else:
            del changed[dice.randrange(len(changed)) :]
        if not changed:
            changed = bytearray(b"\0")
    return bytes(changed)


# -- folders of encoders and inverters ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("bert"), "bert")


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return to


@pytest.mark.parametrize("text", JSON)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_an_encoders_folder_of_anything_is_refused(name: str, text: str, bert: Path, tmp_path: Path) -> None:
    folder = copied(bert, tmp_path / "encoder")
    write(folder / name, text)
    refused(lambda: TextEncoder(folder, RECIPE).model, WeightsUnusable)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 17}, {"hidden_size": -16}, {"hidden_size": "16"}, {"hidden_size": None}, {"hidden_size": 2**40},
        {"hidden_size": int(LONG)}, {"hidden_size": float("nan")}, {"hidden_size": [16]}, {"hidden_size": True},
        {"num_hidden_layers": 10**9}, {"num_hidden_layers": 0}, {"num_hidden_layers": "2"}, {"num_hidden_layers": 1.5},
        {"num_attention_heads": 0}, {"num_attention_heads": 3}, {"vocab_size": 2**40}, {"vocab_size": "x"},
        {"vocab_size": 100}, {"model_type": 7}, {"model_type": "none"}, {"model_type": "gpt2"}, {"model_type": None},
        {"hidden_act": "evil"}, {"intermediate_size": -1}, {"max_position_embeddings": 4}, {"architectures": 7},
        {"dtype": "evil"}, {"attention_probs_dropout_prob": "x"}, {"layer_norm_eps": "x"}, {"type_vocab_size": -1},
        {"pad_token_id": 10**9}, {"auto_map": 7}, {"auto_map": ["a"]},
    ],
    ids=lambda changes: str(changes)[:50],
)  # fmt: skip
def test_a_configuration_of_wrong_values_is_no_traceback(changes: dict[str, Any], bert: Path, tmp_path: Path) -> None:
    folder = copied(bert, tmp_path / "encoder")
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**facts, **changes}))
    opens_or_is_refused(lambda: encoder(folder).encode(["a text"]))


def pickle_of_tensors(path: Path) -> None:
    torch.save({"embeddings.word_embeddings.weight": torch.zeros(2, 2)}, path)


@pytest.mark.parametrize("name", ["model.safetensors", "wide.safetensors"])
def test_a_pickle_under_another_name_is_refused(name: str, bert: Path, tmp_path: Path) -> None:
    folder = copied(bert, tmp_path / "encoder")
    pickle_of_tensors(folder / name)
    projection = {"projection": name} if name.startswith("wide") else {}
    refused(lambda: encoder(folder, **projection), WeightsUnusable)
    if not projection:
        refused(lambda: weights.load(folder), WeightsUnusable)


INDEXES: list[object] = [
    *JSON, {"weight_map": 7}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 7}}, {"weight_map": None},
    {"weight_map": {"a": ["x"], "b": {"y": 1}}}, {"weight_map": {"a": "x.safetensors", "b": 7}}, [{"weight_map": {}}],
    {"weight_map": {"a": "../outside.safetensors"}}, {"weight_map": {"a": "/etc/passwd"}}, {"weight_map": {"a": ""}},
    {"weight_map": {"a": "."}}, {"weight_map": {"a": "missing.safetensors"}}, {"weight_map": {"a": "a\0b"}},
    {"weight_map": {"a": "x" * 5000}}, {"weight_map": {"a": "\ud800"}},
]  # fmt: skip


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: str(index)[:40].encode("ascii", "replace").decode())
@pytest.mark.parametrize("name", [weights.INDEX, weights.PICKLED_INDEX])
def test_an_index_of_anything_is_refused(name: str, index: object, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "outside.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    write(folder / name, index if isinstance(index, str) else json.dumps(index))
    if name == weights.INDEX:
        refused(lambda: weights.load(folder), WeightsUnusable)
    else:
        refused(lambda: weights.find(str(folder), tmp_path / "home"), WeightsUnusable)


@pytest.mark.parametrize("what", [torch.zeros(2), [torch.zeros(2)], {"a": 7}, {7: torch.zeros(2)}, 7, None], ids=str)
def test_a_pickle_of_other_things_is_not_converted(what: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    torch.save(what, tmp_path / weights.PICKLED)
    refused(lambda: weights.find(str(tmp_path), tmp_path / "home"), WeightsUnusable)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(["config.json", "model.safetensors"]))
def test_any_changed_bytes_of_an_encoder(
    seed: int, name: str, bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = copied(bert, tmp_path_factory.getbasetemp() / "fuzzed-encoder")
    (folder / name).write_bytes(mutated((bert / name).read_bytes(), random.Random(seed)))
    opens_or_is_refused(lambda: encoder(folder).encode(["a text", "another one"]))


def small_tokenizer() -> Tokenizer:
    vocabulary = ["[PAD]", "[UNK]", "[END]", *"abcdefgh"]
    tokenizer = Tokenizer(models.WordPiece({word: id for id, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


SIZES = DecoderConfig(
    dim=16, vocabulary=11, width=16, layers=1, heads=2, feedforward=16, prefix=2, bottleneck=8, max_length=6
)
CARD = Card("0" * 16, "a corpus", "a command", 0, ["ab"], ["a title"], {}, {})
OPENED: dict[str, type[Inverter] | type[Corrector]] = {"inverter": Inverter, "corrector": Corrector}


@pytest.fixture(scope="module")
def inverters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small folders of both kinds, not trained."""
    torch.manual_seed(0)
    root, seen = tmp_path_factory.mktemp("inverters"), np.array([3, 5])
    for kind, of in (("inverter", VectorDecoder), ("corrector", VectorCorrector)):
        OPENED[kind](of(SIZES), small_tokenizer(), CARD, seen).save(root / kind)
    return {kind: root / kind for kind in OPENED}


@pytest.mark.parametrize("kind", OPENED)
def test_a_small_inverter_opens(kind: str, inverters: dict[str, Path]) -> None:
    assert OPENED[kind].load(inverters[kind]).dim == 16


@pytest.mark.parametrize("kind", OPENED)
@pytest.mark.parametrize("text", JSON)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_an_inverters_folder_of_anything_is_refused(
    name: str, text: str, kind: str, inverters: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(inverters[kind], tmp_path / kind)
    write(folder / name, text)
    refused(lambda: OPENED[kind].load(folder), WeightsUnusable)


PARTS: dict[str, tuple[str, Any]] = {
    **{f"decoder {value!r}"[:40]: ("decoder", value) for value in (7, [], None, "x", {"evil": 1})},
    **{
        f"decoder.{key} {str(value)[:12]}": (f"decoder.{key}", value)
        for key in ("dim", "vocabulary", "width", "layers", "heads", "prefix", "max_length")
        for value in (0, -1, "6", 1.5, None, True, 2**40, float("nan"), [16], int(LONG))
    },
    **{f"card {value!r}"[:40]: ("card", value) for value in (7, [], None, {})},
    **{
        f"card.{key} {value!r}"[:40]: (f"card.{key}", value)
        for key in ("encoder", "trained_documents", "held_out_documents", "training", "figures", "corpus")
        for value in (7, None, [[]], [{}], True)
    },
}


@pytest.mark.parametrize("change", PARTS.values(), ids=PARTS)
def test_an_inverter_of_wrong_values_is_refused(
    change: tuple[str, Any], inverters: dict[str, Path], tmp_path: Path
) -> None:
    where, value = change
    folder = copied(inverters["inverter"], tmp_path / "inverter")
    config = json.loads((folder / "config.json").read_text())
    *outer, last = where.split(".")
    (config[outer[0]] if outer else config)[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused(lambda: Inverter.load(folder), WeightsUnusable)


def test_a_tokenizer_of_more_words_than_the_network_is_refused(inverters: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(inverters["inverter"], tmp_path / "inverter")
    tokenizer = small_tokenizer()
    tokenizer.add_tokens(["one more"])
    tokenizer.save(str(folder / "tokenizer.json"))
    refused(lambda: Inverter.load(folder), WeightsUnusable)


def test_a_pickled_inverter_is_refused(inverters: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(inverters["inverter"], tmp_path / "inverter")
    pickle_of_tensors(folder / "inverter.safetensors")
    refused(lambda: Inverter.load(folder), WeightsUnusable)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(sorted(OPENED)),
    name=st.sampled_from(["config.json", "tokenizer.json", "weights"]),
)
def test_any_changed_bytes_of_an_inverter(
    seed: int, kind: str, name: str, inverters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = f"{kind}.safetensors" if name == "weights" else name
    folder = copied(inverters[kind], tmp_path_factory.getbasetemp() / f"fuzzed-{kind}")
    (folder / name).write_bytes(mutated((inverters[kind] / name).read_bytes(), random.Random(seed)))
    opens_or_is_refused(lambda: OPENED[kind].load(folder))


@pytest.mark.parametrize(
    "config",
    [
        *JSON,
        {"model_name_or_path": 7},
        {"model_name_or_path": "t5", "max_seq_length": "x"},
        {"model_name_or_path": "t5", "max_seq_length": 32, "embedder_model_name": 7},
        {"model_name_or_path": "t5", "max_seq_length": 32, "embedder_model_name": "gtr_base"},
        {"model_name_or_path": ["t5"], "max_seq_length": 32, "embedder_model_name": "gtr_base"},
    ],
    ids=lambda config: str(config)[:60].encode("ascii", "replace").decode(),
)
def test_vec2texts_configuration_of_anything_is_refused(config: object, bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write(folder / "config.json", config if isinstance(config, str) else json.dumps(config))
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    opened = TextEncoder(bert, RECIPE)
    refused(lambda: Vec2TextInverter.load(folder, None, opened, steps=1, beam=1, find=lambda _: bert), WeightsUnusable)
