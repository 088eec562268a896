"""Batching: texts of concurrent requests go to the encoder in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lvm.arrays import FloatArray
from lvm.errors import LvmError

MAX_WAITING = 8192  # texts of all clients that may wait for the encoder
BATCH = 512  # texts in a good batch; a longer queue is halved, so that the encoder has work while answers are sent
LINGER, LINGERS = 0.005, 5  # seconds to wait for more texts before a batch starts, and how often at most

Encoded = tuple[FloatArray, FloatArray, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
"""Unit vectors (n, dim), norms (n,), whether a text was cut at the token limit (n,), and whether the encoder does not
know its words (n,)."""


class Overloaded(LvmError):
    """The queue of the service is full."""


@dataclass
class Batcher:
    """Encodes the texts of concurrent requests together.

    Attributes:
        encode: the encoder.
        worker: the thread that runs the models.
        waiting: number of texts that are not encoded yet.
    """

    encode: Callable[[Sequence[str]], Encoded]
    worker: ThreadPoolExecutor
    waiting: int = 0
    _queue: list[tuple[list[str], asyncio.Future[Encoded]]] = field(default_factory=list)
    _running: asyncio.Task[None] | None = None

    async def __call__(self, texts: list[str]) -> Encoded:
        """Encode the n texts of one request.

        Raises:
            Overloaded: if too many texts are waiting.
        """
        if self.waiting + len(texts) > MAX_WAITING:
            raise Overloaded(f"{self.waiting} texts are waiting to be encoded; send the request again in a moment")
        future: asyncio.Future[Encoded] = asyncio.get_running_loop().create_future()
        self._queue.append((texts, future))
        self.waiting += len(texts)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._queue:
            await self._linger()
            batch = self._next()
            texts = [text for request, _ in batch for text in request]
            try:
                unit, norms, cut, unreadable = await asyncio.get_running_loop().run_in_executor(
                    self.worker, self.encode, texts
                )
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            else:
                start = 0
                for request, future in batch:
                    rows = slice(start, start + len(request))
                    start = rows.stop
                    if not future.done():  # the client may have disconnected
                        future.set_result((unit[rows], norms[rows], cut[rows], unreadable[rows]))
            finally:
                self.waiting -= len(texts)

    async def _linger(self) -> None:
        """Wait shortly for more requests. Clients that got answers together send their next requests together."""
        for _ in range(LINGERS):
            waiting = len(self._queue)
            if self.waiting >= BATCH:
                return
            await asyncio.sleep(LINGER)
            if len(self._queue) == waiting:
                return

    def _next(self) -> list[tuple[list[str], asyncio.Future[Encoded]]]:
        """The requests of the next batch, in order of arrival."""
        count, texts = 0, 0
        while count < len(self._queue) and texts < max(BATCH, self.waiting / 2):
            texts += len(self._queue[count][0])
            count += 1
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch
