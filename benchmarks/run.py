"""Claim: ``lvm run`` on its default corpus takes under 15 minutes and 4 GB on 2 cores.

The run is a process of its own in an empty folder. Memory is the proportional set size (shared pages counted once)
of all that it starts: itself, Prefect's server and the embedded Postgres, looked at twice a second.

    python -m benchmarks.run
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

MINUTES, GIGABYTES = 15.0, 4.0


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


def main() -> int:
    peak = 0
    with tempfile.TemporaryDirectory(prefix="lvm-run-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, the server runs as another user
        home = folder / ".lvm"
        environment = {**os.environ, "LVM_HOME": str(home), "LVM_ARTIFACTS": str(folder / "artifacts")}
        environment.pop("LVM_DATABASE_URL", None)
        began = time.monotonic()
        run = subprocess.Popen([Path(sys.executable).with_name("lvm"), "run"], cwd=folder, env=environment)
        while run.poll() is None:
            now = 0
            for process in processes(run.pid, home):
                with suppress(psutil.Error):
                    now += process.memory_full_info().pss
            peak = max(peak, now)
            time.sleep(0.5)
        minutes = (time.monotonic() - began) / 60
    print(f"exit code {run.returncode}")
    print(f"minutes   {minutes:5.1f}, ratio to {MINUTES:.0f}: {minutes / MINUTES:.2f}")
    print(f"peak GB   {peak / 1e9:5.2f}, ratio to {GIGABYTES:.0f}: {peak / 1e9 / GIGABYTES:.2f}")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
