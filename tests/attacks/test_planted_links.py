"""Promise: writing a file changes that file only, whatever somebody planted beside it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lvm.files import CannotWrite, replacing


def link(at: Path, victim: Path) -> None:
    at.symlink_to(victim)


def dangling(at: Path, victim: Path) -> None:
    at.symlink_to(victim.with_name("not-there-yet"))


def hard_link(at: Path, victim: Path) -> None:
    at.hardlink_to(victim)


def pipe(at: Path, victim: Path) -> None:
    os.mkfifo(at)


def unix_socket(at: Path, victim: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(at))


def folder(at: Path, victim: Path) -> None:
    at.mkdir()


@pytest.mark.parametrize("plant", [link, dangling, hard_link, pipe, unix_socket, folder])
def test_what_was_planted_is_refused_and_its_target_is_intact(
    tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "artifacts" / "report.html"
    path.parent.mkdir()
    path.write_text("the last one")
    plant(path.with_name(".report.html.tmp"), victim)
    with pytest.raises(CannotWrite) as refused, replacing(path) as file:
        file.write(b"overwritten")
    assert "\n" not in str(refused.value) and "report.html" in str(refused.value)
    assert victim.read_text() == "precious" and path.read_text() == "the last one"
    assert not (tmp_path / "not-there-yet").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    planted = tmp_path / ".report.html.tmp"
    planted.touch()
    os.chown(planted, 65534, 65534)
    with pytest.raises(CannotWrite, match="another user's"), replacing(tmp_path / "report.html"):
        pass
    assert not (tmp_path / "report.html").exists()


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "report.html"
    path.symlink_to(victim)
    with replacing(path) as file:
        file.write(b"new")
    assert victim.read_text() == "precious"
    assert path.read_text() == "new" and not path.is_symlink()


def test_folders_that_writing_makes_are_their_owners_only_and_others_keep_their_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    with replacing(shared / "artifacts" / "lvm" / "gru" / "model.safetensors") as file:
        file.write(b"x")
    for made in ("artifacts", "artifacts/lvm", "artifacts/lvm/gru"):
        assert stat.S_IMODE((shared / made).stat().st_mode) == 0o700, made
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
