"""``lvm encode`` and ``lvm decode``: files and pipes, row i for line i, and the fingerprint with every vector."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lvm import cli
from lvm.cli import vectors as commands
from lvm.cli.vectors import UnusableFile
from lvm.encoding.vector_files import UnreadableVectors, read, write
from lvm.errors import UsageError
from lvm.service import CannotListen, serve
from lvm.settings import Settings
from lvm.spaces import Candidate, Decoded, InvalidVectors, SpaceMismatch, Vectors, open_space

TEXTS = ["The harbour froze before the last ship came in.", "Her report names every street of the old town."]


@pytest.fixture
def quiet() -> Settings:
    return Settings(quiet=True, inverter=None)


def test_texts_to_vectors_to_texts(quiet: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = open_space("minilm", quiet)
    (tmp_path / "texts.txt").write_text("\n".join([*TEXTS, "word " * 60]) + "\n")
    for name in ("v.safetensors", "v.jsonl"):
        commands.encode(tmp_path / "texts.txt", tmp_path / name, None, quiet)
        assert "line 3" in capsys.readouterr().err, "what was cut is said"
    expected = space.encode(TEXTS)
    for name in ("v.safetensors", "v.jsonl"):
        with (tmp_path / name).open("rb") as file:
            held = read(tmp_path / name, file)
        vectors = held.vectors(space.fingerprint)
        assert held.fingerprint == space.fingerprint and not held.foreign and len(vectors) == 3
        np.testing.assert_allclose(vectors.unit[:2], expected.unit, atol=1e-6)
        np.testing.assert_allclose(vectors.norms[:2], expected.norms, rtol=1e-6)
        texts = list(commands.decode(tmp_path / name, None, quiet))
        assert np.einsum("nd,nd->n", space.encode(texts[:2]).unit, expected.unit).min() > 0.5
        assert "3 vectors can be of 'minilm'" in commands.check(tmp_path / name, None, quiet)
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows[:2]] == TEXTS and {row["space"] for row in rows} == {space.fingerprint}


def test_arrays_from_elsewhere_need_their_fingerprint_typed_out(quiet: Settings, tmp_path: Path) -> None:
    space = open_space("minilm", quiet)
    unit = space.encode(TEXTS).unit
    np.save(tmp_path / "v.npy", unit.astype(np.float64))
    np.savez(tmp_path / "v.npz", anything=np.asfortranarray(unit), ids=np.arange(2))
    for name in ("v.npy", "v.npz"):
        with pytest.raises(SpaceMismatch, match=r"does not say which space.*--vectors-of"):
            list(commands.decode(tmp_path / name, None, quiet))
        with pytest.raises(SpaceMismatch, match=space.fingerprint):
            list(commands.decode(tmp_path / name, None, quiet, vectors_of="0" * 16))
        texts = list(commands.decode(tmp_path / name, None, quiet, vectors_of=space.fingerprint))
        assert np.einsum("nd,nd->n", space.encode(texts).unit, unit).min() > 0.5
        assert "2 vectors can be of 'minilm'" in commands.check(tmp_path / name, None, quiet)


def test_an_export_of_ours_names_its_space(quiet: Settings, tmp_path: Path) -> None:
    space = open_space("minilm", quiet)
    unit = space.encode(TEXTS).unit
    arrays = {"context_sequences": np.stack([unit, unit]), "target_vectors": unit, "target_chunk_ids": np.arange(2)}
    np.savez(tmp_path / "ours.npz", space=np.array(space.fingerprint), **arrays)
    assert len(list(commands.decode(tmp_path / "ours.npz", None, quiet))) == 2
    np.savez(tmp_path / "other.npz", space=np.array("0" * 16), **arrays)
    for typed in (None, space.fingerprint):
        with pytest.raises(SpaceMismatch, match="the file says"):
            list(commands.decode(tmp_path / "other.npz", None, quiet, vectors_of=typed))


def test_pipes(quiet: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode())))
    commands.encode(None, None, None, quiet)
    piped = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped.encode())))
    assert len(list(commands.decode(None, None, quiet))) == 2


def test_candidates_are_lines_of_number_cosine_and_text(quiet: Settings, tmp_path: Path) -> None:
    space = open_space("minilm", quiet)
    write(tmp_path / "v.safetensors", space.encode(TEXTS), "minilm", TEXTS)
    plain = list(commands.decode(tmp_path / "v.safetensors", None, quiet))
    rows = [line.split("\t") for line in commands.decode(tmp_path / "v.safetensors", None, quiet, n_best=4)]
    assert [number for number, _, _ in rows] == ["1"] * 4 + ["2"] * 4
    assert [rows[0][2], rows[4][2]] == plain and len({text for _, _, text in rows}) == 8
    expected = space.decode(space.encode(TEXTS), 4, seed=quiet.seed).candidates
    assert expected is not None
    assert [cosine for _, cosine, _ in rows] == [f"{each.cosine:.3f}" for part in expected for each in part]


def test_candidates_of_later_vectors_are_numbered_on(
    quiet: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "VECTORS_AT_ONCE", 1)
    write(tmp_path / "v.jsonl", open_space("minilm", quiet).encode(TEXTS), "minilm", TEXTS)
    lines = list(commands.decode(tmp_path / "v.jsonl", None, quiet, n_best=2))
    assert [line.split("\t")[0] for line in lines] == ["1", "1", "2", "2"]


def test_steps_are_lines_of_number_step_cosine_and_text(
    quiet: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = open_space("minilm", quiet)
    vectors = space.encode(TEXTS)
    write(tmp_path / "v.jsonl", vectors, "minilm", TEXTS)
    path = [Candidate("a first try", 0.25), Candidate("a correction", 0.98765)]

    def decode(given: Vectors, n_best: int, *, steps: bool, **_: object) -> Decoded:
        assert n_best == 1 and steps
        return Decoded([path[-1].text] * len(given), given, np.ones(len(given), np.float32), steps=[path] * len(given))

    monkeypatch.setattr(space, "decode", decode)
    monkeypatch.setattr(space.inverter, "corrections", 1)
    monkeypatch.setattr(commands, "open_space", lambda *_: space)
    lines = list(commands.decode(tmp_path / "v.jsonl", None, quiet, steps=True))
    assert lines == [f"{row}\t{line}" for row in (1, 2) for line in ("0\t0.250\ta first try", "1\t0.988\ta correction")]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no text"), (b"one\n\ntwo\n", "line 2 is empty"), (b"caf\xe9\n", "UTF-8")],
    ids=["empty", "gap", "latin"],
)
def test_bad_texts(content: bytes, said: str, quiet: Settings, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        commands.encode(tmp_path / "t.txt", tmp_path / "v.safetensors", None, quiet)
    assert not (tmp_path / "v.safetensors").exists()


def test_an_array_without_a_fingerprint_is_not_written(quiet: Settings, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(TEXTS))
    with pytest.raises(UnusableFile, match=r"\.safetensors or \.jsonl"):
        commands.encode(tmp_path / "t.txt", tmp_path / "v.npy", None, quiet)
    assert not (tmp_path / "v.npy").exists()


def test_bad_vectors(quiet: Settings, tmp_path: Path) -> None:
    fingerprint = open_space("minilm", quiet).fingerprint

    def tried(name: str, array: object) -> None:
        np.save(tmp_path / name, array)  # type: ignore[arg-type]
        list(commands.decode(tmp_path / name, None, quiet, vectors_of=fingerprint))

    for number, array in enumerate([np.zeros((2, 384)), np.ones((2, 3)), np.ones((0, 384)), np.full((1, 384), np.nan)]):
        with pytest.raises(InvalidVectors):
            tried(f"{number}.npy", array)
    with pytest.raises(UnreadableVectors, match="shape"):
        tried("flat.npy", np.ones(384))
    with pytest.raises(UnusableFile, match="nowhere"):
        list(commands.decode(tmp_path / "nowhere.npy", None, quiet))
    with pytest.raises(UnreadableVectors, match=r"\.safetensors, \.jsonl"):
        (tmp_path / "v.csv").write_text("0.1,0.2")
        list(commands.decode(tmp_path / "v.csv", None, quiet))
    line = {"text": "x", "space": "0" * 16, "norm": 1.0, "vector": [1.0] * 384}
    (tmp_path / "other.jsonl").write_text(json.dumps(line))
    with pytest.raises(SpaceMismatch, match=fingerprint):
        list(commands.decode(tmp_path / "other.jsonl", None, quiet))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["check", "right.npy"], 0, "2 vectors can be of 'minilm'"),
        (["check", "wrong.npy"], 1, "ForeignVectors: these 2 vectors are not of 'minilm'"),
        (["check", "wide.npy"], 1, "3 dimensions and 'minilm' has 384"),
        (["check", "broken.npz"], 2, "UnreadableVectors"),
        (["check", "nowhere.npy"], 2, "UnusableFile"),
        (["check", "cut.safetensors"], 1, "CorruptedFile"),
        (["decode", "right.npy"], 1, "SpaceMismatch"),
        (["decode", "wrong.npy", "--vectors-of", "FINGERPRINT"], 1, "ForeignVectors"),
        (["decode", "right.npy", "--vectors-of", "FINGERPRINT"], 0, ""),
        (["decode", "broken.npz"], 2, "UnreadableVectors"),
        (["decode", "deep.jsonl"], 2, "line 1 is not a vector"),
        (["decode", "cut.safetensors"], 1, "CorruptedFile"),
        (["decode", "ours.jsonl", "--n-best", "2"], 0, "2\t0."),
        (["decode", "ours.jsonl", "--n-best", "0"], 2, "InvalidDecoding: n_best is 0; it must be an integer"),
        (["decode", "ours.jsonl", "--n-best", "17"], 2, "makes at most 10 texts of a vector"),
        (["decode", "ours.jsonl", "--steps-shown"], 2, "InvalidDecoding: the inverter of space 'minilm' has no"),
        (["decode", "ours.jsonl", "--n-best", "2", "--steps-shown"], 2, "give one of them"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_commands(
    arguments: list[str],
    code: int,
    said: str,
    quiet: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One line and an exit code; what was refused leaves nothing on standard output."""
    space = open_space("minilm", quiet)
    unit = space.encode(TEXTS).unit
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LVM_QUIET", "1")
    np.save("right.npy", unit)
    np.save("wrong.npy", unit[:, ::-1])
    np.save("wide.npy", unit[:, :3])
    Path("broken.npz").write_bytes(b"PK\x03\x04 and no more")
    Path("deep.jsonl").write_text("[" * 100_000)
    write(Path("cut.safetensors"), space.encode(TEXTS), "minilm", TEXTS)
    write(Path("ours.jsonl"), space.encode(TEXTS), "minilm", TEXTS)
    Path("cut.safetensors").write_bytes(Path("cut.safetensors").read_bytes()[:-9])
    typed = [space.fingerprint if each == "FINGERPRINT" else each for each in arguments]
    monkeypatch.setattr(sys, "argv", ["lvm", *typed])
    if code:
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == code
    else:
        cli.main()
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err and printed.err.count("\n") == (1 if code else 0)
    assert said in (printed.err if code else printed.out)
    assert bool(printed.out) == (code == 0)


def test_the_world_is_not_served_without_a_token(quiet: Settings) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "example.org"):
        with pytest.raises(CannotListen, match="LVM_TOKEN"):
            serve(host, 8765, None, quiet)


def test_a_port_in_use_is_one_line(quiet: Settings) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotListen, match="cannot be listened on"):
            serve("127.0.0.1", taken.getsockname()[1], None, quiet)
