"""Claim: ``lvm serve`` with 16 clients encodes at least 0.8 times as many texts a second as the library by itself.

The service runs in a process of its own, as a user would start it; 16 clients each send one request after another and
check that the vectors are the library's. Both sides run in turns on the same texts, each counted by its fastest run.

    python -m benchmarks.serving [--texts 4096] [--clients 16] [--each 64] [--runs 3]
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np

from benchmarks.common import compare, options
from benchmarks.encoding import texts_of
from lvm.settings import Settings
from lvm.spaces import open_space


@contextmanager
def service() -> Iterator[str]:
    """Address of a service on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from lvm.cli import main; main()", "serve", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "LVM_TOKEN"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                httpx.get(f"{address}/health").raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None, "the service did not start"
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait()


async def ask(address: str, texts: list[str], clients: int, each: int) -> np.ndarray:
    """Unit vectors of all texts, asked for by ``clients`` at once, ``each`` texts a request."""
    parts = iter(range(0, len(texts), each))
    rows: dict[int, np.ndarray] = {}

    async def client() -> None:
        async with httpx.AsyncClient(timeout=600, verify=False) as session:
            for start in parts:
                body = {"texts": texts[start : start + each], "format": "base64"}
                answer = (await session.post(f"{address}/encode", json=body)).raise_for_status().json()
                rows[start] = np.frombuffer(base64.b64decode(answer["vectors"]), "<f4").reshape(-1, answer["dim"])

    await asyncio.gather(*(client() for _ in range(clients)))
    return np.concatenate([rows[start] for start in sorted(rows)])


def main() -> int:
    asked = options(__doc__, texts=4096, clients=16, each=64, runs=3)
    space = open_space("minilm", Settings())
    texts = texts_of(space, asked.texts)
    mine, library = [], []
    with service() as address:
        asyncio.run(ask(address, texts[:256], asked.clients, asked.each))
        space.encode(texts[:256])
        for _ in range(asked.runs):
            began = time.perf_counter()
            found = asyncio.run(ask(address, texts, asked.clients, asked.each))
            mine.append(time.perf_counter() - began)
            began = time.perf_counter()
            unit = space.encode(texts).unit
            library.append(time.perf_counter() - began)
    held = compare("texts", len(texts), mine, "library", library, 0.8)
    assert np.einsum("nd,nd->n", unit, found).min() > 0.9999, "both must make the same vectors"
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
