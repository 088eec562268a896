"""Claim: two Ray workers leave what threads of one process leave, and take at most 1.5 times as long on one machine.

``lvm run`` on a few speeches, three times, each in an empty folder: one worker, two threads, and two Ray workers. All
use one core for each worker. Printed are the seconds of every stage. The rest is the time to start and stop, to which a
cluster of its own adds. Corpus revision, sequence set, gate and weights must be the same. One machine has nothing to
gain from Ray: the benchmark shows what Ray costs.

    python -m benchmarks.ray [--documents 16]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import options

RUNNERS = {
    "one worker": {"LVM_RUNNER": "threads", "LVM_WORKERS": "1"},
    "two threads": {"LVM_RUNNER": "threads", "LVM_WORKERS": "2"},
    "two Ray workers": {"LVM_RUNNER": "ray", "LVM_WORKERS": "2", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
}
LONGEST = 1.5  # times as long as threads


def run(runner: dict[str, str], documents: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Run everything once. Returns seconds by stage, and what must not depend on the runner."""
    with tempfile.TemporaryDirectory(prefix="lvm-run-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, the server runs as another user
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        environment |= {"LVM_HOME": str(folder / "home"), "LVM_ARTIFACTS": str(folder / "lvm"), "LVM_THREADS": "1"}
        environment |= runner
        environment.pop("LVM_DATABASE_URL", None)
        command = [str(Path(sys.executable).with_name("lvm")), "run", "--limit", str(documents)]
        began = time.monotonic()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        summary_file = folder / "lvm" / "summary.json"
        if not summary_file.is_file():  # it is there also if a model that was trained on so little is blocked
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
        summary = json.loads(summary_file.read_text())
    stages = dict(summary["seconds"])
    stages["the rest"] = seconds - sum(stages.values())
    stages["all"] = seconds
    same = {
        "corpus": summary["corpus"],
        "roundtrip": summary["roundtrip"]["mean"],
        "models": {model: figures["checkpoint"] for model, figures in summary["models"].items()},
    }
    return stages, same


def main() -> int:
    asked = options(__doc__, documents=16)
    seconds, outcomes = {}, {}
    for name, runner in RUNNERS.items():
        seconds[name], outcomes[name] = run(runner, asked.documents)
    stages = list(seconds["one worker"])
    print(f"{'seconds':16}" + "".join(f"{stage:>10}" for stage in stages))
    for name, taken in seconds.items():
        print(f"{name:16}" + "".join(f"{taken[stage]:10.1f}" for stage in stages))
    ratio = seconds["two Ray workers"]["all"] / seconds["two threads"]["all"]
    print(f"Ray to threads   {ratio:.2f} (claim: at most {LONGEST})")
    same = all(outcome == outcomes["one worker"] for outcome in outcomes.values())
    print(f"same results     {'yes' if same else 'NO'}")
    return int(ratio > LONGEST or not same)


if __name__ == "__main__":
    sys.exit(main())
