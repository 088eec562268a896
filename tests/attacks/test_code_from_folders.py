"""Promise: opening a folder of weights runs none of its code, asks nobody whether to, and never leaves the folder."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import T5Config

from lvm.encoding import weights
from lvm.encoding.encoder import TextEncoder
from lvm.encoding.recipe import Recipe, sentence_transformers_recipe
from lvm.encoding.weights import WeightsNotHere, WeightsUnusable
from lvm.errors import LvmError
from lvm.inversion import vec2text
from lvm.settings import Settings
from lvm.spaces.registry import InvalidSpaces, configured
from tests.attacks.folders import change_config, encoder, make

EVIL = """
from pathlib import Path
Path({marker!r}).write_text("was here")
from transformers import BertConfig, BertModel
class EvilConfig(BertConfig):
    model_type = "evil"
class EvilModel(BertModel):
    config_class = EvilConfig
class EvilTokenizer:
    pass
"""
AUTO_MAP = {
    "AutoConfig": "evil.EvilConfig",
    "AutoModel": "evil.EvilModel",
    "AutoModelForTextEncoding": "evil.EvilModel",
    "AutoModelForPreTraining": "evil.EvilModel",
    "AutoModelForSeq2SeqLM": "evil.EvilModel",
    "AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"],
}


def evil(folder: Path, marker: Path, **changes: Any) -> Path:
    """A small BERT whose configuration points to code beside it that leaves a marker."""
    make(folder, "bert")
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    change_config(folder, auto_map=AUTO_MAP, **changes)
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": AUTO_MAP, "tokenizer_class": "Evil"}))
    return folder


def test_an_architecture_that_transformers_knows_is_opened_by_its_own_code(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    assert encoder(evil(tmp_path / "encoder", marker)).encode(["a text"]).unit.shape == (1, 16)
    assert not marker.exists()


def test_an_architecture_that_needs_the_folders_code_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(WeightsUnusable):
        TextEncoder(evil(tmp_path / "encoder", marker, model_type="evil"), Recipe("evil"))
    assert not marker.exists()


def test_nobody_is_asked_at_a_terminal(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folder = evil(tmp_path / "encoder", marker, model_type="evil")
    spaces = tmp_path / "spaces.toml"
    spaces.write_text(f'[evil]\nencoder = "{folder}"\nnormalize = true\nmax_tokens = 12\n')
    ours, theirs = pty.openpty()
    os.write(ours, b"y\ny\ny\n")
    command = "import sys; sys.argv[1:] = ['encode', 'texts', '--space', 'evil']; from lvm.cli import main; main()"
    (tmp_path / "texts").write_text("a text\n")
    done = subprocess.run(
        [sys.executable, "-c", command],
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "LVM_SPACES": str(spaces), "LVM_HOME": str(tmp_path / "home"), "COLUMNS": "1000"},
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 1 and not marker.exists()
    assert "Traceback" not in done.stderr and "[y/N]" not in done.stdout + done.stderr


def test_the_t5_of_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    marker, base, checkpoint = tmp_path / "marker", tmp_path / "base", tmp_path / "checkpoint"
    opened = encoder(make(tmp_path / "encoder", "bert"))
    evil(base, marker)
    T5Config(vocab_size=50, d_model=16).save_pretrained(base)
    change_config(base, auto_map=AUTO_MAP)
    checkpoint.mkdir()
    facts = {"model_name_or_path": "t5", "max_seq_length": 32, "embedder_model_name": "gtr_base"}
    (checkpoint / "config.json").write_text(json.dumps(facts))
    with pytest.raises(WeightsUnusable):
        vec2text.Vec2TextInverter.load(checkpoint, None, opened, steps=1, beam=1, find=lambda _: base)
    assert not marker.exists()


@pytest.mark.parametrize(
    "changes",
    [{"quantization_config": {"quant_method": "bitsandbytes"}}, {"transformers_weights": "other.safetensors"}],
)
def test_a_configuration_cannot_name_other_weights(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", "bert")
    before = encoder(folder).encode(["a text"]).unit
    save_file({"nothing": torch.zeros(1)}, folder / "other.safetensors")
    change_config(folder, **changes)
    if "quantization_config" in changes:
        with pytest.raises(WeightsUnusable, match="quantised"):
            encoder(folder)
    else:
        assert (encoder(folder).encode(["a text"]).unit == before).all(), "model.safetensors, as the fingerprint says"


def test_an_adapter_is_not_loaded(tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", "bert")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/somewhere/else"}))
    with pytest.raises(WeightsUnusable, match="adapter"):
        encoder(folder)


def test_a_configuration_cannot_name_a_kernel_to_fetch(tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", "bert")
    change_config(folder, attn_implementation="somebody/kernel", _attn_implementation="somebody/kernel")
    assert encoder(folder).encode(["a text"]).unit.shape == (1, 16)


@pytest.mark.parametrize(
    "source",
    [
        "package:lvm/../../etc",
        "package:lvm/spaces/../../../x",
        "package:lvm//etc",
        "package:..",
        "package:../lvm",
        "package:",
        "package:/etc",
        "package:sys",
        "package:__main__",
        "package:lvm.spaces/minilm",
        "package:lvm/\0",
    ],
)
def test_package_names_stay_inside_the_package(source: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnusable):
        weights.find(source, tmp_path)


def test_a_package_is_not_left_by_a_link_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, marker = tmp_path / "linked_weights", tmp_path / "marker"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(marker)!r}, 'w')")
    (package / "model").symlink_to("/etc")
    (package / "here").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsUnusable, match="link"):
        weights.find("package:linked_weights/model", tmp_path)
    assert weights.find("package:linked_weights/here", tmp_path) == package / "here"
    with pytest.raises(WeightsNotHere):
        weights.find("package:linked_weights.inner/here", tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("path", ["../outside", "/etc", "a/../../b", 7, None, ["x"]])
def test_modules_json_stays_inside_the_folder(path: object, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text("{}")
    folder = tmp_path / "folder"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "1_Pooling" / "config.json").write_text("{}")
    for kind in ("Pooling", "Dense"):
        paths = {"Pooling": "1_Pooling", "Dense": "2_Dense", kind: path}
        modules = [{"type": f"sentence_transformers.models.{name}", "path": each} for name, each in paths.items()]
        (folder / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(WeightsUnusable):
            sentence_transformers_recipe(folder, "x", 12)


@pytest.mark.parametrize("name", ["../rotation.safetensors", "/tmp/rotation.safetensors", "a/../../b"])
def test_a_projection_in_a_file_of_spaces_stays_inside(name: str, tmp_path: Path) -> None:
    spaces = tmp_path / "spaces.toml"
    spaces.write_text(f'[x]\nencoder = "./x"\nnormalize = true\nmax_tokens = 12\nprojection = "{name}"\n')
    with pytest.raises(InvalidSpaces, match="inside"):
        configured(Settings(spaces=spaces))
    if not name.startswith("/"):
        with pytest.raises(WeightsUnusable, match="inside"):
            encoder(make(tmp_path / "encoder", "bert"), projection=name)


def test_a_user_may_name_a_projection_anywhere(tmp_path: Path) -> None:
    save_file({"linear.weight": torch.eye(16)}, tmp_path / "eye.safetensors")
    assert encoder(make(tmp_path / "encoder", "bert"), projection=str(tmp_path / "eye.safetensors")).dim == 16


def test_pickled_weights_that_hold_code_are_refused(tmp_path: Path) -> None:
    marker, folder = tmp_path / "marker", tmp_path / "pickled"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {marker}",))

    folder.mkdir()
    (folder / "config.json").write_text("{}")
    torch.save({"weight": torch.zeros(2), "evil": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(LvmError):
        weights.find(str(folder), tmp_path / "home")
    assert not marker.exists()
