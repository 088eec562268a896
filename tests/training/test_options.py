"""What a user gives becomes one configuration for each architecture, or one line that says what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lvm.models import MODELS, UnknownModel, hyperparameters
from lvm.options import BadConfig
from lvm.sequences import SequenceSet
from lvm.training import TrainConfig, configured, from_command_line, train
from lvm.training.checkpoints import what_differs
from lvm.training.options import FIXED, names_of
from tests.training.toy import CONFIG, corpus

ALL = list(MODELS)

FILE = """
learning_rate = 1
hidden = 128
layers = 2
epochs = 7
[gru]
hidden = 640
epochs = 3
[transformer]
heads = 8
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.toml"
    path.write_text(FILE)
    return path


def test_a_file_on_top_and_by_architecture(file: Path) -> None:
    found = configured(ALL, from_command_line(ALL, file=file))
    assert {name: config.epochs for name, config in found.items()} == {
        "lstm": 7, "gru": 3, "mamba2": 7, "transformer": 7,
    }  # fmt: skip
    assert {name: config.hyper for name, config in found.items()} == {
        "lstm": {"hidden": 128},
        "gru": {"hidden": 640},
        "mamba2": {"hidden": 128, "layers": 2},
        "transformer": {"hidden": 128, "layers": 2, "heads": 8},
    }
    assert all(type(config.learning_rate) is float for config in found.values())


def test_the_command_wins_over_the_file_and_the_file_over_defaults(file: Path) -> None:
    options = from_command_line(ALL, ["hidden=320", "gru.dropout=0"], file, epochs=4, loss=None)
    found = configured(ALL, options)
    assert {config.epochs for config in found.values()} == {4}, "also over the table of an architecture"
    assert {config.hyper["hidden"] for config in found.values()} == {320}
    assert found["gru"].hyper == {"hidden": 320, "dropout": 0.0}
    assert {(config.learning_rate, config.loss, config.batch_size) for config in found.values()} == {(1, "mix", 1024)}
    alone = from_command_line(ALL, ["gru.hidden=32", "hidden=64"])
    assert [config.hyper["hidden"] for config in configured(ALL, alone).values()] == [64, 32, 64, 64]


def test_nothing_given_is_the_default() -> None:
    assert from_command_line(ALL) == {}
    assert configured(["gru"], {})["gru"] == TrainConfig()
    start = replace(CONFIG, device="cuda")
    assert configured(["gru"], {"hidden": 8}, start)["gru"] == replace(start, hyper={**start.hyper, "hidden": 8})


def test_every_name_can_be_set_to_its_default() -> None:
    default = TrainConfig()
    for name in names_of(["gru"]):
        value = getattr(default, name) if hasattr(default, name) else hyperparameters("gru", "energy")[name]
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        found = configured(["gru"], from_command_line(["gru"], [f"{name}={text}"]))["gru"]
        assert replace(found, hyper={}) == default, name
    assert not set(FIXED) & set(names_of(ALL)) and "hyper" not in names_of(ALL)


@pytest.mark.parametrize(
    ("models", "texts", "said"),
    [
        (["gru"], ["hidden"], "is not NAME=VALUE"),
        (["gru"], ["hiden=3"], "no hyperparameter 'hiden' of gru; did you mean hidden? There are epochs, loss"),
        (["gru"], ["layers=2"], "layers is a hyperparameter of mamba2, transformer, and of no model that is trained"),
        (["gru"], ["gru.layers=2"], "layers is a hyperparameter of mamba2, transformer"),
        (ALL, ["leyers=2"], "did you mean layers?"),
        (ALL, ["gpt.hidden=2"], "there is no model 'gpt'; there is lstm, gru"),
        (ALL, ["a.b.hidden=2"], "there is no model 'a.b'"),
        (ALL, ["gru=2"], "--set gru: gru is no value"),
        (ALL, ["hyper=2"], "--set hyper: hyper is no value"),
        (["gru"], ["hidden=fast"], "hidden is 'fast'; it must be a whole number"),
        (["gru"], ["hidden=0"], "hidden is 0; it must be from 1 to"),
        (["gru"], ["hidden=65536"], "weights; at most"),
        (["gru"], ["dropout=1"], "dropout is 1.0"),
        (["transformer"], ["heads=3"], "hidden 128 is no multiple of heads 3"),
        (["transformer"], ["layers=1000000000"], "layers is 1000000000; it must be from 1 to 128"),
        (["mamba2"], ["head_width=63"], "no multiple of head_width 63"),
        (ALL, ["mamba2.state=0"], "state is 0"),
        (ALL, ["learning_rate=0"], "learning_rate is 0.0; it must be above 0"),
        (ALL, ["loss=mse"], "loss is 'mse'; it must be one of mix, cosine, infonce, text"),
        (ALL, ["hidden=3", "hidden=4"], "hidden twice, 3 and 4"),
        (ALL, ["seed=1"], "seed cannot be set here; set it by LVM_SEED"),
        (ALL, ["device=cuda"], "--device or LVM_DEVICE"),
        (ALL, ["gru.replicas=2"], "LVM_REPLICAS"),
    ],
)
def test_wrong_assignments(models: list[str], texts: list[str], said: str) -> None:
    with pytest.raises(BadConfig) as caught:
        from_command_line(models, texts)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("hiden = 3", "did you mean hidden?"),
        ("hidden = true", "hidden is True"),
        ("learning_rate = '5e-4'", "learning_rate is '5e-4'; it must be a finite number"),
        ("gru = 3", "gru is 3; it must be a table"),
        ("hyper = 3", "hyper is 3; it must be a table"),
        ("[gpt]\nhidden = 3", "there is no model 'gpt' to have a table"),
        ("[lstm]\nhiden = 3", "'hiden' of lstm"),
        ("[lstm]\nhidden = 0", "hidden is 0"),
        ("[transformer]\nheads = 3", "no multiple of heads"),
        ("[gru]\nseed = 3", "LVM_SEED"),
        ("[gru]\nhyper = {hidden = 3}", "no hyperparameter 'hyper'"),
        ("hidden = 3\n[hyper]\nhidden = 4", "hidden is given twice"),
        ("[gru]\nhidden = 3\n[hyper.gru]\nhidden = 4", "gru is given twice"),
    ],
)
def test_wrong_files(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(content)
    with pytest.raises(BadConfig) as caught:  # the tables of models that are not trained are checked too
        from_command_line(["gru"], file=path)
    assert said in str(caught.value) and str(caught.value).startswith(f"{path}: ")


def test_an_option_of_its_own_and_set_are_not_both_taken() -> None:
    with pytest.raises(BadConfig, match="epochs is given twice"):
        from_command_line(ALL, ["epochs=3"], epochs=4)


def test_only_the_front_door_sets_what_settings_have() -> None:
    assert configured(["gru"], {"seed": 3}, fixed={})["gru"].seed == 3
    with pytest.raises(BadConfig, match="LVM_SEED"):
        configured(["gru"], {"hyper": {"seed": 3}})


def test_the_start_is_checked_too() -> None:
    with pytest.raises(BadConfig, match="'heads' of gru"):
        configured(["gru"], {}, TrainConfig(hyper={"heads": 2}))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SequenceSet:
    return corpus(tmp_path_factory.mktemp("toy") / "toy.safetensors", documents=8)


def test_a_run_that_starts_anew_names_what_differs(toy: SequenceSet, tmp_path: Path) -> None:
    base = replace(CONFIG, epochs=1)
    train("gru", toy, base, tmp_path)
    changes: dict[str, Any] = {"learning_rate": 1e-3, "hyper": {**base.hyper, "hidden": 8}}
    note = train("gru", toy, replace(base, **changes), tmp_path).note
    assert note == (
        "anew: the earlier run there had another configuration (hidden 16, now 8; learning_rate 0.005, now 0.001)"
    )
    other = corpus(tmp_path / "other.safetensors", seed=1, documents=8)
    assert train("gru", other, replace(base, **changes), tmp_path).note.endswith("(another sequence set)")


@pytest.mark.parametrize("earlier", [None, "", "[]", "3", "{}", '{"hyper": 3}', "[" * 99_999])
def test_an_earlier_configuration_that_cannot_be_read_differs_somehow(earlier: str | None) -> None:
    assert what_differs(earlier, {"hyper": {"hidden": 3}}) == ""


def test_what_an_earlier_configuration_says_is_safe_to_print() -> None:
    assert what_differs('{"hyper": {}, "loss": "\\u001b[2J\\n"}', {"hyper": {}}) == "loss \\x1b[2J\\x0a, now -"


def test_the_sampling_head_has_hyperparameters_and_a_point_model_has_none_of_them() -> None:
    found = configured(["gru"], from_command_line(["gru"], ["sampler_width=64"]))["gru"]
    assert found.hyper == {"sampler_width": 64}
    with pytest.raises(BadConfig, match="'sampler_width' of gru with the head point"):
        configured(["gru"], {"head": "point", "sampler_width": 64})
    with pytest.raises((BadConfig, UnknownModel), match="mean"):
        configured(["gru"], {"head": "mean"})
