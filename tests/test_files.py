"""Files are whole or absent, whoever writes them and however many at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.numpy

from lvm.files import CannotWrite, in_order, replacing

WRITER = """
import sys, time
from pathlib import Path
from lvm.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"first half, ")
    print("writing", flush=True)
    time.sleep(float(sys.argv[2]))
    file.write(b"second half")
"""


def writer(path: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    return process


def test_a_second_writer_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    process = writer(path, 2)
    with pytest.raises(CannotWrite, match="another process is writing"), replacing(path) as file:
        file.write(b"something else")
    assert process.wait(20) == 0
    assert path.read_bytes() == b"first half, second half"
    with replacing(path) as file:
        file.write(b"now it may")
    assert path.read_bytes() == b"now it may"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "file"
    process = writer(path, 60)
    process.kill()
    process.wait()
    assert not path.exists()
    with replacing(path) as file:
        file.write(b"short")
    assert path.read_bytes() == b"short"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_header_in_order_is_the_same_file() -> None:
    import numpy as np

    tensors = {"b": np.ones((3, 2), np.float32), "a": np.arange(5)}
    metadata = {str(i): f"välue {i}" for i in range(9)}
    files = {in_order(safetensors.numpy.save(tensors, {**metadata})) for _ in range(5)}
    assert len(files) == 1
    (file,) = files
    found = safetensors.numpy.load(file)
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)
    assert int.from_bytes(file[:8], "little") % 8 == 0
