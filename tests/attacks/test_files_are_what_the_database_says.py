"""Promise: sequence sets, checkpoints and inverters in use are those that the database recorded and a gate measured."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import make_url

from flows.evaluate import evaluate_flow
from flows.extract import extract_flow
from flows.ingest import ingest_flow
from flows.train import train_flow
from flows.validate import validate_flow
from lvm.cli.doctor import examine_all
from lvm.errors import LvmError
from lvm.files import CorruptedFile
from lvm.inversion.inverter import PrefixInverter
from lvm.pipeline.errors import GateMissing
from lvm.pipeline.predict import open_model
from lvm.pipeline.workspace import open_workspace
from lvm.settings import Settings
from lvm.store import Store, open_store
from lvm.training import checkpoints, train
from tests.conftest import fresh_database
from tests.flows.conftest import prefect_server, small  # noqa: F401  fixtures
from tests.flows.corpora import write_unseen
from tests.pipeline.small import shrink
from tests.spaces.fixtures import permuted_inverter
from tests.store.toy import set_gate_size

pytestmark = pytest.mark.usefixtures("small")

CONTEXT = 5  # the documents are short


@pytest.fixture(scope="module")
def validated(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a database with a corpus behind a passing gate. Every test has a copy of it."""
    folder = write_unseen(tmp_path_factory.mktemp("corpus") / "texts", documents=6, characters=1200)
    with fresh_database(postgres) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LVM_DATABASE_URL", url)
        patch.setenv("LVM_HOME", str(folder.parent / "home"))
        patch.setenv("LVM_ARTIFACTS", str(folder.parent / "artifacts"))
        patch.setenv("LVM_QUIET", "1")
        shrink(patch)
        with open_store(Settings()) as store:
            set_gate_size(store, 30)
        ingest_flow(source=str(folder))
        validate_flow()
        yield str(make_url(url).database)


@pytest.fixture
def database_url(postgres: str, validated: str) -> Iterator[str]:
    """URL of a database with a corpus behind a passing gate."""
    with fresh_database(postgres, template=validated) as url:
        yield url


def resealed(path: Path, change: str) -> None:
    """Another content under a seal that is right."""
    tensors, metadata = checkpoints.read(path)
    for name, tensor in tensors.items():
        if name == change or (change == "weights" and tensor.ndim > 1):
            tensors[name] = tensor[torch.randperm(len(tensor))]
    metadata = {key: value for key, value in metadata.items() if key not in ("format", "sha256")}
    checkpoints.write(path, tensors, metadata)


def reseal_sequences(path: Path) -> None:
    """Another content of a sequence set: its rows in another order, its checksums and its seal recomputed."""
    from lvm.files import UNSEALED
    from lvm.sequences.rows import BlockDigests

    data = bytearray(path.read_bytes())
    size = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:size])
    (begin, end), (first, last) = (
        [size + offset for offset in header[name]["data_offsets"]] for name in ("unit", "blocks")
    )
    rows, dim = header["unit"]["shape"]
    unit = np.frombuffer(bytes(data[begin:end]), "<f4").reshape(rows, dim)
    data[begin:end] = unit[::-1].tobytes()
    digests = BlockDigests(dim)
    digests.update(memoryview(data)[begin:end])
    data[first:last] = digests.finish().tobytes()
    old = header["__metadata__"]["sha256"].encode()
    blank = bytes(data).replace(old, UNSEALED.encode(), 1)
    seal = hashlib.sha256(blank[:begin] + blank[end:]).hexdigest()
    path.write_bytes(blank.replace(UNSEALED.encode(), seal.encode(), 1))


def test_another_inverter_than_the_measured_one_trains_nothing(
    database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_flow(CONTEXT)
    monkeypatch.setenv("LVM_INVERTER", str(permuted_inverter(tmp_path / "permuted")))
    for flow in (
        lambda: extract_flow(CONTEXT),
        lambda: train_flow(model="gru", context=CONTEXT, epochs=1),
        lambda: evaluate_flow(CONTEXT),
    ):
        with pytest.raises(GateMissing, match="lvm validate"):
            flow()
    with pytest.raises(LvmError, match="roundtrip gate blocked"):
        validate_flow()
    with pytest.raises(GateMissing):
        train_flow(model="gru", context=CONTEXT, epochs=1)
    assert database.training_runs() == []
    monkeypatch.delenv("LVM_INVERTER")
    assert validate_flow().reused  # the verdict about the shipped one stands
    train_flow(model="gru", context=CONTEXT, epochs=1)


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json"])
def test_an_inverter_is_all_of_its_files(tmp_path: Path, file: str) -> None:
    """Its tokenizer writes the texts, and its card says on which documents it may not be measured."""
    import lvm.spaces

    folder = tmp_path / "copy"
    shutil.copytree(Path(lvm.spaces.__file__).parent / "minilm", folder)
    before = PrefixInverter.load(folder).sha256
    path = folder / file
    if file == "config.json":
        config = json.loads(path.read_text())
        config["card"]["trained_documents"] = []
        path.write_text(json.dumps(config))
    else:
        path.write_text(path.read_text() + "\n")
    assert PrefixInverter.load(folder).sha256 != before


def test_a_sequence_set_with_other_vectors_is_written_again(settings: Settings) -> None:
    first = extract_flow(CONTEXT)
    reseal_sequences(first.path)
    with pytest.raises(GateMissing, match="not what the database recorded"):
        train_flow(model="gru", context=CONTEXT, epochs=1)
    with pytest.raises(GateMissing, match="not what the database recorded"):
        evaluate_flow(CONTEXT)
    assert extract_flow(CONTEXT).sha256 == first.sha256
    train_flow(model="gru", context=CONTEXT, epochs=1)


def test_an_older_sequence_set_is_not_evaluated(tmp_path: Path) -> None:
    """Ingest, validate, extract, train; ingest more, validate, evaluate: the set is of another corpus."""
    extract_flow(CONTEXT)
    train_flow(model="gru", context=CONTEXT, epochs=1)
    write_unseen(tmp_path / "more", documents=2, characters=1200)
    ingest_flow(source=str(tmp_path / "more"))
    validate_flow()
    for flow in (lambda: evaluate_flow(CONTEXT), lambda: train_flow(model="gru", context=CONTEXT, epochs=1)):
        with pytest.raises(GateMissing, match="corpus revision"):
            flow()


def test_a_checkpoint_with_other_weights_is_not_used(settings: Settings, database: Store, database_url: str) -> None:
    extract_flow(CONTEXT)
    train_flow(model="gru", context=CONTEXT, epochs=1)
    with open_workspace(settings=settings) as work:
        assert open_model("gru", work.space, settings, work).name == "gru"
        resealed(settings.artifacts / "gru" / "model.safetensors", "weights")
        [run] = database.training_runs()
        assert open_model("gru", work.space, settings, work).sha256 == run.sha256, "its version is what it was"
        [version] = (settings.artifacts / "gru" / checkpoints.VERSIONS).iterdir()
        resealed(version, "weights")
        with pytest.raises(CorruptedFile, match="not one that a finished training run recorded"):
            open_model("gru", work.space, settings, work)
    for flow in (lambda: evaluate_flow(CONTEXT), lambda: train_flow(model="gru", context=CONTEXT, epochs=1)):
        with pytest.raises(CorruptedFile, match="not one that a finished training run recorded"):
            flow()
    shutil.rmtree(settings.artifacts / "gru")
    train_flow(model="gru", context=CONTEXT, epochs=1)  # what the message says
    assert [run.status for run in database.training_runs()] == ["finished"] * 2
    assert evaluate_flow(CONTEXT).models


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sequence_set_changed_while_it_is_read_leaves_no_run(
    when: str, settings: Settings, database: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = extract_flow(CONTEXT).path

    def beside(*arguments: object) -> object:
        if when == "before":
            reseal_sequences(path)
        result = train(*arguments)  # type: ignore[arg-type]
        if when == "after":
            reseal_sequences(path)
        return result

    with monkeypatch.context() as patched:
        patched.setattr("lvm.pipeline.train.fit", beside)
        with pytest.raises(CorruptedFile, match=r"changed since they|changed while gru was trained"):
            train_flow(model="gru", context=CONTEXT, epochs=1)
    extract_flow(CONTEXT)
    assert train_flow(model="gru", context=CONTEXT, epochs=1)["gru"].note == "anew"
    assert [run.status for run in database.training_runs()] == ["finished"]


def test_a_checkpoint_changed_while_its_run_is_interrupted_is_not_recorded(
    settings: Settings, database: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_flow(CONTEXT)

    def killed(*arguments: object) -> None:
        train(*arguments)  # type: ignore[arg-type]
        raise RuntimeError("killed after the last epoch")

    with monkeypatch.context() as patched:
        patched.setattr("lvm.pipeline.train.fit", killed)
        with pytest.raises(RuntimeError):
            train_flow(model="gru", context=CONTEXT, epochs=2)
    resealed(settings.artifacts / "gru" / "model.safetensors", "weights")
    with pytest.raises(CorruptedFile, match="not what the best epoch of this run left"):
        train_flow(model="gru", context=CONTEXT, epochs=2)
    assert [run.status for run in database.training_runs()] == ["failed"]


def test_doctor_compares_files_and_rows(settings: Settings, database: Store) -> None:
    path = extract_flow(CONTEXT).path

    def problems() -> list[str]:
        found = examine_all(settings, {}, deep=True)
        return [f"{each.name}: {each.found}" for each in found if each.verdict != "ok"]

    assert problems() == []
    with database.engine.begin() as connection:  # the owner of the tables, past the triggers
        connection.exec_driver_sql("ALTER TABLE embedding DISABLE TRIGGER ALL")
        connection.exec_driver_sql(
            "UPDATE embedding SET vector = -vector WHERE chunk_id = (SELECT min(id) FROM chunk)".replace(
                "-vector", "(SELECT vector FROM embedding ORDER BY chunk_id DESC LIMIT 1)"
            )
        )
    found = problems()
    assert any("embedding_in" in each for each in found)
    assert any("rows were written without the triggers" in each for each in found)
    assert any(each.startswith(f"{path.name}: 1 of ") for each in found)


def test_a_changed_byte_of_a_vector_is_named_and_extract_writes_it_again(settings: Settings) -> None:
    first = extract_flow(CONTEXT)
    good = first.path.read_bytes()
    data = bytearray(good)
    data[8 + int.from_bytes(data[:8], "little") + 5] ^= 1
    first.path.write_bytes(data)
    with pytest.raises(CorruptedFile, match="changed since they were written"):
        train_flow(model="gru", context=CONTEXT, epochs=1)
    found = [each for each in examine_all(settings, {}, deep=True) if each.name == first.path.name]
    assert [(each.verdict, each.advice) for each in found] == [("problem", "lvm extract")]
    assert extract_flow(CONTEXT).sha256 == first.sha256
    assert first.path.read_bytes() == good
