"""``lvm encode`` and ``lvm decode``: files and pipes, row i for line i, and the fingerprint with every vector."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lvm import door
from lvm.door import CannotListen, NoSuchFile
from lvm.errors import UsageError
from lvm.settings import Settings
from lvm.spaces import InvalidVectors, SpaceMismatch, open_space

TEXTS = ["The harbour froze before the last ship came in.", "Her report names every street of the old town."]


@pytest.fixture
def quiet() -> Settings:
    return Settings(quiet=True, inverter=None)


def test_texts_to_vectors_to_texts(quiet: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = open_space("minilm", quiet)
    (tmp_path / "texts.txt").write_text("\n".join([*TEXTS, "word " * 60]) + "\n")
    for name in ("v.npy", "v.jsonl"):
        door.encode(tmp_path / "texts.txt", tmp_path / name, None, quiet)
        assert "line 3" in capsys.readouterr().err, "what was cut is said"
    unit = np.load(tmp_path / "v.npy")
    np.testing.assert_allclose(unit[:2], space.encode(TEXTS).unit, atol=1e-6)
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows[:2]] == TEXTS and {row["space"] for row in rows} == {space.fingerprint}
    np.save(tmp_path / "two.npy", unit[:2])
    texts = list(door.decode(tmp_path / "two.npy", None, quiet))
    assert np.einsum("nd,nd->n", space.encode(texts).unit, unit[:2]).min() > 0.5


def test_pipes(quiet: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode())))
    door.encode(None, None, None, quiet)
    piped = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped.encode())))
    assert len(list(door.decode(None, None, quiet))) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no text"), (b"one\n\ntwo\n", "line 2 is empty"), (b"caf\xe9\n", "UTF-8")],
    ids=["empty", "gap", "latin"],
)
def test_bad_texts(content: bytes, said: str, quiet: Settings, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        door.encode(tmp_path / "t.txt", tmp_path / "v.npy", None, quiet)
    assert not (tmp_path / "v.npy").exists()


def test_bad_vectors(quiet: Settings, tmp_path: Path) -> None:
    def tried(name: str, array: object) -> None:
        np.save(tmp_path / name, array)  # type: ignore[arg-type]
        list(door.decode(tmp_path / name, None, quiet))

    for number, array in enumerate([np.zeros((2, 384)), np.ones((2, 3)), np.ones(384), np.ones((0, 384))]):
        with pytest.raises(InvalidVectors):
            tried(f"{number}.npy", array)
    with pytest.raises(InvalidVectors):
        tried("nan.npy", np.full((1, 384), np.nan))
    with pytest.raises(NoSuchFile, match="nowhere"):
        list(door.decode(tmp_path / "nowhere.npy", None, quiet))
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(NoSuchFile, match=r"no \.npy"):
        list(door.decode(tmp_path / "text.npy", None, quiet))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(NoSuchFile):
        list(door.decode(tmp_path / "objects.npy", None, quiet))
    line = {"text": "x", "space": "0" * 16, "norm": 1.0, "vector": [1.0] * 384}
    (tmp_path / "other.jsonl").write_text(json.dumps(line))
    with pytest.raises(SpaceMismatch, match="line 1"):
        list(door.decode(tmp_path / "other.jsonl", None, quiet))


def test_the_world_is_not_served_without_a_token(quiet: Settings) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "example.org"):
        with pytest.raises(CannotListen, match="LVM_TOKEN"):
            door.serve(host, 8765, None, quiet)


def test_a_port_in_use_is_one_line(quiet: Settings) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotListen, match="cannot be listened on"):
            door.serve("127.0.0.1", taken.getsockname()[1], None, quiet)
