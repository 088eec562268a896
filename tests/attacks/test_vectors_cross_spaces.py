"""The promise: vectors of one space never reach the inverter, the index or the models of another.

The attack is the disaster itself: CLS vectors of the very weights that ``minilm`` opens, of the same dimension and the
same length, handed in by array, by file, over HTTP and as a search.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from lvm.cli import vectors as door
from lvm.corpus.documents import Document
from lvm.encoding import vector_files
from lvm.encoding.encoder import TextEncoder
from lvm.pipeline.predict import predict
from lvm.pipeline.workspace import register
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import InvalidVectors, Space, SpaceMismatch, Vectors, open_space
from lvm.spaces.check import ForeignVectors
from lvm.store import IngestedDocument, Store

TEXTS = [
    "The harbour froze before the last ship came in.",
    "Her report names every street of the old town.",
    "Prices of bread and coal rose again in the spring.",
]


@pytest.fixture(scope="module")
def space() -> Space:
    return open_space("minilm", Settings(inverter=None))


@pytest.fixture(scope="module")
def cls(space: Space) -> Vectors:
    """What another library makes of the same weights."""
    return TextEncoder(space.encoder.folder, replace(space.encoder.recipe, pooling="cls")).encode(TEXTS)


@pytest.fixture
def quiet(tmp_path: Path) -> Settings:
    return Settings(quiet=True, inverter=None, home=tmp_path, artifacts=tmp_path)


@pytest.fixture
def client(space: Space, quiet: Settings) -> Iterator[TestClient]:
    with TestClient(build(space, quiet), raise_server_exceptions=False) as client:
        yield client


def one_line(error: BaseException, *said: str) -> None:
    assert "\n" not in str(error)
    for each in said:
        assert each in str(error)


def test_by_array(space: Space, cls: Vectors) -> None:
    with pytest.raises(InvalidVectors, match="not a bare ndarray") as caught:
        space.decode(cls.unit)  # type: ignore[arg-type]
    one_line(caught.value)
    with pytest.raises(SpaceMismatch) as refused:
        space.decode(cls)
    one_line(refused.value, cls.fingerprint, space.fingerprint, "minilm")


@pytest.mark.parametrize("suffix", [".safetensors", ".jsonl"])
def test_by_file_that_names_its_space(suffix: str, cls: Vectors, quiet: Settings, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    vector_files.write(path, cls, "minilm:pooling=cls", TEXTS)
    for work in (lambda: list(door.decode(path, None, quiet)), lambda: door.check(path, None, quiet)):
        with pytest.raises(SpaceMismatch) as caught:
            work()
        one_line(caught.value, cls.fingerprint, "minilm")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_by_file_that_names_none(
    suffix: str, cls: Vectors, space: Space, quiet: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"v{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, cls.unit)  # type: ignore[operator]
    with pytest.raises(SpaceMismatch, match="--vectors-of"):
        list(door.decode(path, None, quiet))
    with pytest.raises(ForeignVectors) as caught:  # the right fingerprint typed out, the wrong vectors
        list(door.decode(path, None, quiet, vectors_of=space.fingerprint))
    one_line(caught.value, "3 of 3 lie beyond", "pooling=cls", space.fingerprint)
    with pytest.raises(ForeignVectors, match="not of 'minilm'"):
        door.check(path, None, quiet)
    assert not capsys.readouterr().out, "nothing was decoded"


def test_over_http(client: TestClient, cls: Vectors, space: Space) -> None:
    forms: tuple[Any, ...] = (cls.unit.tolist(), base64.b64encode(cls.unit.astype("<f4").tobytes()).decode())
    for form in forms:
        assert client.post("/decode", json={"vectors": form}).status_code == 422, "they must be named"
        for named, error in ((cls.fingerprint, "SpaceMismatch"), (space.fingerprint, "ForeignVectors")):
            answer = client.post("/decode", json={"vectors": form, "space": named})
            assert (answer.status_code, answer.json()["error"]) == (409, error)
            assert "\n" not in answer.json()["detail"] and space.fingerprint in answer.json()["detail"]


def test_by_search(database: Store, space: Space, cls: Vectors) -> None:
    number = register(database, space)
    with pytest.raises(SpaceMismatch) as caught:
        database.search(number, cls[:1], 3)
    one_line(caught.value, cls.fingerprint, space.fingerprint, "minilm")
    with pytest.raises(InvalidVectors, match="bare"):
        database.search(number, cls.unit[0], 3)  # type: ignore[arg-type]
    with pytest.raises(InvalidVectors, match="takes one"):
        database.search(number, space.encode(TEXTS), 3)


def test_by_ingestion(database: Store, space: Space, cls: Vectors) -> None:
    number, before = register(database, space), database.contents()
    item = IngestedDocument(Document("test", "one", "", " ".join(TEXTS)).info, TEXTS, [9] * len(TEXTS), cls)
    with database.writer(number) as writer, pytest.raises(SpaceMismatch) as caught:
        writer.write_documents([item])
    one_line(caught.value, cls.fingerprint, space.fingerprint, "minilm")
    assert database.contents() == before


def test_by_a_model_of_another_space(space: Space) -> None:
    model: Any = SimpleNamespace(name="gru", space_name="other", space="0" * 16, context=5)
    with pytest.raises(SpaceMismatch) as caught:
        predict(space, model, TEXTS)
    one_line(caught.value, "other", "0" * 16, space.fingerprint)


def test_a_stream_cannot_mix_spaces(cls: Vectors, space: Space, quiet: Settings, tmp_path: Path) -> None:
    right = list(vector_files.lines(space.encode(TEXTS), TEXTS))
    (tmp_path / "mixed.jsonl").write_text("\n".join([right[0], *vector_files.lines(cls, TEXTS)]))
    with pytest.raises(InvalidVectors, match="line 2"):
        list(door.decode(tmp_path / "mixed.jsonl", None, quiet))


def test_a_false_name_is_seen_by_the_check(cls: Vectors, space: Space, quiet: Settings, tmp_path: Path) -> None:
    """Whoever writes a false fingerprint into a file is believed by decode, and not by ``lvm check``."""
    rows = [{**json.loads(line), "space": space.fingerprint} for line in vector_files.lines(cls, TEXTS)]
    (tmp_path / "false.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ForeignVectors, match="pooling=cls"):
        door.check(tmp_path / "false.jsonl", None, quiet)
