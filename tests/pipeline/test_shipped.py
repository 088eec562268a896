"""The shipped model: packed with the figures that were stored, opened for its space and inverter only, or refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

import lvm
from lvm import gates
from lvm.files import CorruptedFile
from lvm.models import UnknownModel
from lvm.pipeline.errors import GateBlocked, GateMissing, NoModel
from lvm.pipeline.pack import command_of, for_people, pack
from lvm.pipeline.predict import best_model, open_model, usable_models
from lvm.pipeline.shipped import CARD, CARD_FOR_PEOPLE, FOLDER, SHIPPED, Card, ShippedUnusable, shipped_model
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.spaces.registry import own_folder
from lvm.training import configured, describe, from_command_line
from lvm.training.checkpoints import MODEL, load_model
from tests.conftest import fresh_database
from tests.pipeline.shipping import other_inverter, ship, space_of_its_own
from tests.pipeline.small import shrink, small_corpus
from tests.service.running import untrained
from tests.spaces.fixtures import SHIPPED as MINILM
from tests.spaces.fixtures import Variant

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(minilm: Space, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a database with an evaluated ``gru``, and of a space without a shipped model."""
    folder = tmp_path_factory.mktemp("trained")
    with fresh_database(postgres) as url, pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        settings = Settings(
            database_url=SecretStr(url), home=folder / "home", artifacts=folder / "artifacts", quiet=True,
            inverter=None, spaces=space_of_its_own(folder / "own"),
        )  # fmt: skip
        with lvm.open_workspace(minilm, settings) as work:
            sequences = small_corpus(work, folder / "secret-place" / "fables")
            lvm.evaluate(work, sequences, [lvm.train(work, sequences, "gru", epochs=2, hidden=32, head_epochs=1)])
        yield settings


@pytest.fixture
def alone(tmp_path: Path) -> Settings:
    """Settings without a database, and of a space without a shipped model."""
    own = space_of_its_own(tmp_path / "own")
    return Settings(
        artifacts=tmp_path / "artifacts", home=tmp_path / "home", database_url=None, spaces=own, inverter=None
    )


# -- packing --------------------------------------------------------------------------------------------------------


def test_a_packed_model_opens_and_answers_after_trained_ones(minilm: Space, trained: Settings) -> None:
    folder = trained.spaces.parent / "minilm" / FOLDER
    with lvm.open_workspace(minilm, trained) as work:
        assert shipped_model(minilm, trained) is None
        with pytest.raises(NoModel, match="none is shipped"):
            open_model(SHIPPED, minilm, trained)
        card = pack(work, "gru", folder)
        assert sorted(each.name for each in folder.iterdir()) == [CARD_FOR_PEOPLE, CARD, MODEL]
        assert card == Card.model_validate_json((folder / CARD).read_text())
        gate = work.passing_gate()
        judged = work.store.latest_gate(work.space_id, "pipeline")
        summary = json.loads((trained.artifacts / "summary.json").read_text())
        assert judged is not None and card.pipeline.cosine == judged.value and card.roundtrip.mean == gate.value
        assert card.roundtrip.identification == gate.evidence["identify_r1"] and card.roundtrip.n == gate.evidence["n"]
        assert card.figures["retrieval"] == summary["models"]["gru"]
        assert (card.training.documents, card.held_out.windows) == (4, summary["corpus"]["sequences"]["test"])
        own = load_model(trained.artifacts / "gru")
        shipped = shipped_model(minilm, trained)
        assert shipped is not None and (shipped.name, shipped.corpus) == (SHIPPED, "fables")
        assert card.trained_checkpoint == own.sha256 and shipped.digest == card.checkpoint != own.digest
        assert card.precision == "float16" and next(shipped.model.parameters()).dtype.itemsize == 4
        assert (folder / MODEL).stat().st_size < 0.6 * (trained.artifacts / "gru" / MODEL).stat().st_size
        contexts = minilm.encode(["We met.", "The harbour froze.", "Nobody came."]).unit[None]
        for mine, theirs in zip(own.predict(contexts), shipped.predict(contexts), strict=True):
            assert np.einsum("nd,nd->n", mine, theirs).min() > 0.999
        assert best_model(work).name == "gru" and list(usable_models(minilm, trained, work)) == ["gru", SHIPPED]
        assert lvm.predict_next(work, SHIPPED, ["We met."]).text
        assert list(lvm.write(work, SHIPPED, "We met.", steps=1))
        for given in (shipped, [shipped]):
            with pytest.raises(GateMissing, match="'shipped'"):
                lvm.evaluate(work, lvm.extract(work, context=3), given)
        with pytest.raises(UnknownModel):
            lvm.train(work, lvm.extract(work, context=3), SHIPPED)
        elsewhere = trained.model_copy(update={"artifacts": trained.home / "nothing"})
        with lvm.open_workspace(minilm, elsewhere) as untrained_here:
            assert best_model(untrained_here).name == SHIPPED, "the checkpoints are gone"
        for file in folder.iterdir():
            assert b"secret-place" not in file.read_bytes() and str(Path.home()).encode() not in file.read_bytes()
        people = (folder / CARD_FOR_PEOPLE).read_text()
        assert people == for_people(card) and f"**{card.roundtrip.mean:.3f}**" in people and max(
            map(len, people.splitlines())
        ) < 400  # fmt: skip
    shutil.rmtree(folder)


def test_the_command_on_the_card_trains_this_configuration(minilm: Space, trained: Settings) -> None:
    with lvm.open_workspace(minilm, trained) as work:
        sequences = lvm.extract(work, context=3)
    for options in (
        {},
        {"epochs": 7, "hidden": 64, "seed": 3},
        {"head": "point", "text_weight": 0.0, "dropout": 0.0},
        {"loss": "cosine", "energy_samples": 4, "replicas": 2},
    ):
        wanted = describe("gru", sequences, configured(["gru"], options, fixed={})["gru"])
        *environment, command = command_of(wanted).split("lvm train --model gru --context 3")
        texts = re.findall(r"--set (\S+)", command)
        read = from_command_line(["gru"], texts, None)
        read |= {
            name.lower(): int(value) for name, value in re.findall(r"LVM_(\w+)=(\d+)", "".join(environment))
        }  # fmt: skip
        assert describe("gru", sequences, configured(["gru"], read, fixed={})["gru"]) == wanted


def test_weights_keep_their_figures_or_their_precision(
    minilm: Space, trained: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "PACKED_MAX_CHANGE", 1e-9)
    with lvm.open_workspace(minilm, trained) as work:
        card = pack(work, "gru", tmp_path / FOLDER)
        assert card.precision == "float32" and card.checkpoint == load_model(tmp_path / FOLDER).digest


def _other_summary(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def changed(path: Path) -> None:
        summary = json.loads(path.read_text())
        change(summary)
        path.write_text(json.dumps(summary))

    return changed


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (Path.unlink, GateMissing, "run `lvm evaluate`"),
        (lambda path: path.write_text("{"), CorruptedFile, "cannot be read"),
        (lambda path: path.write_text("[]"), CorruptedFile, "has no space"),
        (_other_summary(lambda summary: summary.pop("leads")), CorruptedFile, "has no leads"),
        (_other_summary(lambda summary: summary.update(on="x")), GateMissing, "not about gru"),
        (_other_summary(lambda summary: summary["corpus"].update(revision="x")), GateMissing, "not about gru"),
        (_other_summary(lambda summary: summary["space"].update(inverter="x")), GateMissing, "not about gru"),
        (_other_summary(lambda summary: summary["models"].pop("gru")), GateMissing, "not about gru"),
        (
            _other_summary(lambda summary: summary["models"]["gru"].update(pipeline_cosine=0.99)),
            GateMissing, "not about gru",
        ),
        (_other_summary(lambda summary: summary["models"]["gru"].update(r10=0.9)), GateMissing, "not about gru"),
        (_other_summary(lambda summary: summary["models"]["gru"].update(norm_error=0.1)), GateBlocked, "not packed"),
    ],
)  # fmt: skip
def test_figures_of_something_else_are_not_packed(
    change: Callable[[Path], None],
    error: type[lvm.LvmError],
    said: str,
    minilm: Space,
    trained: Settings,
    tmp_path: Path,
) -> None:
    artifacts = tmp_path / "artifacts"
    shutil.copytree(trained.artifacts, artifacts)
    change(artifacts / "summary.json")
    settings = trained.model_copy(update={"artifacts": artifacts})
    with lvm.open_workspace(minilm, settings) as work, pytest.raises(error, match=said):
        pack(work, "gru", tmp_path / FOLDER)
    assert not (tmp_path / FOLDER).exists()


def test_a_model_without_passing_gates_is_not_packed(
    minilm: Space, trained: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lvm.open_workspace(minilm, trained) as work:
        with pytest.raises(UnknownModel):
            pack(work, "gpt", tmp_path / FOLDER)
        with pytest.raises(GateMissing, match="no finished lstm"):
            pack(work, "lstm", tmp_path / FOLDER)
        monkeypatch.setattr(type(work.store), "pipeline_verdict", lambda *_: None)
        with pytest.raises(GateMissing, match="lvm evaluate"):
            pack(work, "gru", tmp_path / FOLDER)
        monkeypatch.undo()
        for name, gate in (("ROUNDTRIP_MIN_COSINE", "roundtrip"), ("PIPELINE_MIN_COSINE", "pipeline")):
            with monkeypatch.context() as patch, pytest.raises(GateBlocked, match=f"{gate} gate blocked"):
                patch.setattr(gates, name, 0.999)
                pack(work, "gru", tmp_path / FOLDER)
        with monkeypatch.context() as patch, pytest.raises(GateMissing, match="lvm validate"):
            patch.setattr(type(work), "verdict", lambda _: None)
            pack(work, "gru", tmp_path / FOLDER)
    assert not (tmp_path / FOLDER).exists()


# -- opening --------------------------------------------------------------------------------------------------------


def test_without_a_database_a_space_alone_has_the_shipped_model(
    minilm: Space, alone: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ship(alone.spaces, minilm)
    monkeypatch.chdir(tmp_path)
    for name in ("home", "artifacts", "spaces"):
        monkeypatch.setenv(f"LVM_{name.upper()}", str(getattr(alone, name)))
    monkeypatch.delenv("LVM_DATABASE_URL", raising=False)
    untrained(alone.artifacts, minilm, 4, "gru")
    written = [step.text for step in lvm.write(minilm, SHIPPED, "We met.", steps=2, seed=0)]
    assert written == [step.text for step in lvm.write(minilm, None, "We met.", steps=2)]
    assert lvm.predict_next(minilm, None, ["We met."]).text == written[0]
    with pytest.raises(NoModel, match="'gru'"):
        lvm.write(minilm, "gru", "We met.")
    assert not alone.home.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": "0" * 16}, "another encoder"),
        ({"inverter": "0" * 64}, "another inverter.*install lvm again"),
        ({"roundtrip": {"mean": 0.62}}, "mean roundtrip cosine 0.620 < 0.63"),
        ({"roundtrip": {"mean": 0.62, "threshold": 0.1}}, "0.620 < 0.63"),
        ({"roundtrip": {"identification": 0.5}}, "identification"),
        ({"roundtrip": {"n": gates.GATE_MIN_SAMPLES - 1}}, "sampled chunks"),
        ({"roundtrip": {"inverter_encoder": "0" * 16}}, "inverter trained for this encoder"),
        ({"pipeline": {"cosine": 0.3}}, "pipeline cosine 0.300"),
        ({"pipeline": {"norm_error": 0.01}}, "output norm"),
    ],
)
def test_a_model_that_does_not_fit_or_pass_is_refused(changes: dict, said: str, minilm: Space, alone: Settings) -> None:
    ship(alone.spaces, minilm, **changes)
    with pytest.raises(ShippedUnusable, match=said) as refused:
        shipped_model(minilm, alone)
    assert str(alone.home.parent) not in str(refused.value), "the service shows this message"
    assert usable_models(minilm, alone) == {}


def test_another_inverter_or_encoder_is_refused(
    minilm: Space, variant: Variant, alone: Settings, tmp_path: Path
) -> None:
    ship(alone.spaces, minilm)
    assert shipped_model(minilm, alone) is not None
    other = alone.model_copy(update={"inverter": other_inverter(tmp_path)})
    with pytest.raises(ShippedUnusable, match="unset LVM_INVERTER"):
        shipped_model(open_space("minilm", other), other)
    with pytest.raises(ShippedUnusable, match="another encoder"):
        shipped_model(variant(pooling="cls"), alone)
    same = alone.model_copy(update={"inverter": MINILM})
    assert shipped_model(open_space("minilm", same), same) is not None


def test_it_counts_for_the_space_of_its_folder_only(minilm: Space, alone: Settings) -> None:
    folder = ship(alone.spaces, minilm)
    entry = alone.spaces.read_text()
    for other in ("", 'inverter = "/no/such/folder"', 'inverter = "jxm/gtr__nq__32"'):
        alone.spaces.write_text(re.sub(r"^inverter = .*$", other, entry, flags=re.M))
        assert shipped_model(minilm, alone) is None
    alone.spaces.write_text(entry)
    assert shipped_model(minilm, alone) is not None and own_folder("minilm", alone) == folder.parent
    assert own_folder("no such space", alone) is None and not alone.home.exists(), "nothing is fetched"


def _reseal(folder: Path, space: Space) -> None:
    """Another checkpoint, whole by itself."""
    untrained(folder / "other", space, 3, "gru", "energy")
    shutil.move(folder / "other" / "gru" / MODEL, folder / MODEL)


def _of_the_card(**changes: object) -> Callable[[Path, Space], None]:
    def changed(folder: Path, _: Space) -> None:
        (folder / CARD).write_text(json.dumps({**json.loads((folder / CARD).read_text()), **changes}))

    return changed


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder, _: (folder / CARD).unlink(), "card.json cannot be read"),
        (lambda folder, _: (folder / MODEL).unlink(), "cannot be used"),
        (lambda folder, _: (folder / CARD).write_text("{"), "card.json"),
        (lambda folder, _: (folder / CARD).write_text("[1]"), "card.json"),
        (lambda folder, _: (folder / CARD).write_bytes(b"\xff"), "card.json"),
        (lambda folder, _: (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-9]), "cannot be used"),
        (_reseal, "not the checkpoint that its card names"),
        (_of_the_card(checkpoint="0" * 64), "not the checkpoint"),
        (_of_the_card(model="lstm"), "not the checkpoint"),
        (_of_the_card(pipeline={"cosine": float("nan"), "threshold": 0.6, "norm_error": 0}), "pipeline.cosine"),
        (_of_the_card(pipeline={"cosine": "good", "threshold": 0.6, "norm_error": 0}), "pipeline.cosine"),
        (_of_the_card(licence="none"), "licence"),
    ],
)
def test_a_damaged_folder_is_one_line(
    harm: Callable[[Path, Space], None], said: str, minilm: Space, alone: Settings
) -> None:
    harm(ship(alone.spaces, minilm), minilm)
    with pytest.raises(CorruptedFile, match=said) as refused:
        shipped_model(minilm, alone)
    assert "install lvm again" in str(refused.value) and "\n" not in str(refused.value)
    assert usable_models(minilm, alone) == {}


# -- what the package has -------------------------------------------------------------------------------------------


def test_the_shipped_model_of_the_package_fits_its_space(minilm: Space) -> None:
    folder = MINILM / FOLDER
    if not folder.is_dir():
        pytest.skip("no model is shipped yet")
    shipped = shipped_model(minilm, Settings(inverter=None))
    card = Card.model_validate_json((folder / CARD).read_text())
    assert shipped is not None and shipped.digest == card.checkpoint and shipped.context == card.context
    assert (folder / CARD_FOR_PEOPLE).read_text() == for_people(card)
    assert not re.search(r"/(?:home|root|tmp|work|Users)/", (folder / CARD).read_text() + json.dumps(shipped.config))
    assert list(lvm.write(minilm, SHIPPED, "The state of our union is strong.", steps=1))


def test_a_wheel_carries_the_folder() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["packages"] == ["lvm"], "with every file below it that git does not ignore"
    assert build.keys() == {"targets"} and build["targets"]["wheel"].keys() == {"packages", "force-include"}
    files = [f"lvm/spaces/minilm/{FOLDER}/{name}" for name in (MODEL, CARD, CARD_FOR_PEOPLE)]
    ignored = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout == ""
