"""Claim: ``lvm run`` on its default corpus takes under 6 minutes and 5 GB on 2 cores; under 4 with bfloat16.

A second run, with nothing to do, takes under a quarter of a minute. Seconds of each stage are printed too; the rest is
the time to start and stop. A run is a process of its own in an empty folder. Memory is the proportional set size
(shared pages counted once) of all that it starts: itself, Prefect's server and the embedded Postgres. It is looked at
every two seconds only: looking takes time from the run.

    python -m benchmarks.run
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from lvm.devices import bf16_available

MINUTES, AGAIN, GIGABYTES = 4.0 if bf16_available() else 6.0, 0.25, 5.0


def processes(run: int, home: Path) -> list[psutil.Process]:
    """The run, what it started, and the Postgres that detached itself."""
    roots = [run]
    with suppress(OSError, ValueError, IndexError):
        roots.append(abs(int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])))
    found: dict[int, psutil.Process] = {}
    for root in roots:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(root)
            found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    return list(found.values())


def timed(folder: Path, environment: dict[str, str]) -> tuple[float, int]:
    """Run once. Returns minutes, and the largest number of bytes.

    Raises:
        CalledProcessError: if the run fails.
    """
    began, peak = time.monotonic(), 0
    command = [str(Path(sys.executable).with_name("lvm")), "run"]
    run = subprocess.Popen(command, cwd=folder, env=environment)
    while run.poll() is None:
        now = 0
        for process in processes(run.pid, folder / ".lvm"):
            with suppress(psutil.Error):
                now += process.memory_full_info().pss
        peak = max(peak, now)
        time.sleep(2)
    if run.returncode:
        raise subprocess.CalledProcessError(run.returncode, command)
    return (time.monotonic() - began) / 60, peak


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="lvm-run-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, the server runs as another user
        environment = {**os.environ, "LVM_HOME": str(folder / ".lvm"), "LVM_ARTIFACTS": str(folder / "artifacts")}
        environment.pop("LVM_DATABASE_URL", None)
        minutes, peak = timed(folder, environment)
        again, _ = timed(folder, environment)
        stages = json.loads((folder / "artifacts" / "summary.json").read_text())["seconds"]
    stages["the rest"] = 60 * minutes - sum(stages.values())
    for stage, seconds in stages.items():
        print(f"{stage:9} {seconds:6.1f} s")
    print(f"minutes   {minutes:5.2f}, ratio to {MINUTES:.0f}: {minutes / MINUTES:.2f}")
    print(f"again     {again:5.2f}, ratio to {AGAIN}: {again / AGAIN:.2f}")
    print(f"peak GB   {peak / 1e9:5.2f}, ratio to {GIGABYTES:.0f}: {peak / 1e9 / GIGABYTES:.2f}")
    return int(minutes > MINUTES or again > AGAIN or peak / 1e9 > GIGABYTES)


if __name__ == "__main__":
    sys.exit(main())
