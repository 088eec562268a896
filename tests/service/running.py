"""A model to serve, and the service on a real socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI

from lvm.models import build as build_model
from lvm.models import hyperparameters
from lvm.service.connections import BoundedConnection
from lvm.spaces import Space
from lvm.training import checkpoints


def untrained_gru(artifacts: Path, space: Space, context: int) -> None:
    """Write a model ``gru`` that was never trained."""
    about = {
        "model": "gru", "dim": space.dim, "context": context, "hyper": hyperparameters("gru"), "loss": "mix",
        "space_name": space.name, "space": space.fingerprint,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = build_model("gru", space.dim, context).state_dict()
    checkpoints.write(artifacts / "gru" / checkpoints.MODEL, weights, {"config": json.dumps(about)})


@contextmanager
def listening(app: FastAPI) -> Iterator[tuple[uvicorn.Server, int]]:
    """The service as ``lvm serve`` starts it, on a free port."""
    config = uvicorn.Config(app, port=0, log_config=None, http=BoundedConnection, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
