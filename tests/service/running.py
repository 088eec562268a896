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
    untrained(artifacts, space, context, "gru")


def untrained(artifacts: Path, space: Space, context: int, model: str, head: str = "point") -> None:
    """Write a model that was never trained. With the head ``energy`` its samples differ."""
    about = {
        "model": model, "dim": space.dim, "context": context, "hyper": hyperparameters(model), "loss": "mix",
        "space_name": space.name, "space": space.fingerprint, "head": head,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = build_model(model, space.dim, context, head)
        if built.sampler is not None:  # its last layer is zero before training, so all samples would be one
            torch.nn.init.normal_(built.sampler.out.weight, std=0.005)
    checkpoints.write(artifacts / model / checkpoints.MODEL, built.state_dict(), {"config": json.dumps(about)})


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
