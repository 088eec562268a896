"""The one encoding path over HTTP: ``lvm serve``, so that no client loads a model on a path of its own.

Contract: every answer carries the space's fingerprint, and a request that names another is refused. One thread works
on the models; what many clients ask for meanwhile is put together into one batch. A queue too long is answered with
503 at once, never with a crash. What is wrong with a request is said in a few words: no answer repeats the request or
names a place on this machine. If a token is set, nothing but ``{"status": "ok"}`` is said without it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lvm.errors import LvmError
from lvm.inference import NoModel, NothingToContinue, open_model, predict_next
from lvm.settings import Settings
from lvm.spaces import Decoded, InvalidVectors, Space, SpaceMismatch, Vectors, available_spaces
from lvm.spaces.registry import open_statistics
from lvm.spaces.statistics import Statistics, demand
from lvm.spaces.vectors import FloatArray
from lvm.training import TrainedModel

MAX_TEXTS, MAX_VECTORS = 512, 64  # in one request
MAX_CHARACTERS, MAX_ALL_CHARACTERS = 20_000, 400_000  # of one text, and of all in one request
MAX_DIM = 65_536  # numbers in one vector
MAX_BODY = 8 * 2**20  # bytes of one request
MAX_WAITING = 8192  # texts that wait for the encoder, from all clients
MAX_DECODES = 16  # requests that wait for the inverter
BATCH = 512  # texts that make a good batch; of more, half wait, so that there is work while answers are sent
LINGER, LINGERS = 0.005, 5  # seconds to wait for a good batch, again as long as more comes, and how often

Encoded = tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]


def _together(texts: list[str]) -> list[str]:
    if sum(map(len, texts)) > MAX_ALL_CHARACTERS:
        raise ValueError(f"the texts of a request may have {MAX_ALL_CHARACTERS} characters together")
    return texts


Texts = Annotated[
    list[Annotated[str, Field(max_length=MAX_CHARACTERS)]],
    Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True),  # of a million errors one is told
    AfterValidator(_together),
]
Row = Annotated[list[Annotated[float, Field(strict=True)]], Field(max_length=MAX_DIM, fail_fast=True)]
Rows = Annotated[list[Row], Field(max_length=MAX_VECTORS, fail_fast=True)]
Format = Literal["float", "base64"]
Fingerprint = Annotated[
    str | None,
    Field(description="fingerprint the caller expects; another one is refused", examples=["a3fd36e97df65f61"]),
]


log = logging.getLogger(__name__)


class Overloaded(LvmError):
    """More is waiting than the service takes."""


class EncodeRequest(BaseModel):
    """Texts to encode."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["The harbour froze before the last ship came in."]}]}
    )

    texts: Texts
    space: Fingerprint = None
    format: Format = Field("float", description="float: lists; base64: little-endian float32, row after row")


class EncodeAnswer(BaseModel):
    """Unit vectors, the norms the encoder gave them, and which texts were cut at the token limit."""

    space: str
    dim: int
    vectors: list[list[float]] | str
    norms: list[float]
    truncated: list[int] = Field(description="rows of texts that were longer than the space's token limit")


class DecodeRequest(BaseModel):
    """Unit vectors to decode, as /encode gives them; those that cannot be of the space named are refused."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"space": "a3fd36e97df65f61", "vectors": [[0.1, -0.2]]}]})

    vectors: Rows | str = Field(description="lists, or base64 of little-endian float32, row after row")
    space: str = Field(description="fingerprint of the space the vectors are of")


class DecodeAnswer(BaseModel):
    """Texts, and how near each text's own vector comes to the one asked for."""

    space: str
    texts: list[str]
    cosine: list[float]


class NextRequest(BaseModel):
    """Sentences to continue."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["The state of our union is strong."], "model": "gru"}]}
    )

    texts: Texts
    model: str = "gru"
    space: Fingerprint = None


class NextAnswer(BaseModel):
    """What a model says comes next: its text, its vector, and the vector to search stored chunks by."""

    space: str
    model: str
    text: str
    cosine: float
    vector: list[float]
    query: list[float]


@dataclass
class Batcher:
    """Puts the texts of requests that wait at the same time into one call of the encoder.

    Attributes:
        encode: the encoder, texts -> (unit vectors, norms, whether each text was cut).
        worker: the one thread that works on models.
        waiting: texts asked for and not encoded yet.
    """

    encode: Callable[[Sequence[str]], Encoded]
    worker: ThreadPoolExecutor
    waiting: int = 0
    _queue: list[tuple[list[str], asyncio.Future[Encoded]]] = field(default_factory=list)
    _running: asyncio.Task[None] | None = None

    async def __call__(self, texts: list[str]) -> Encoded:
        """Unit vectors (n, dim), norms (n,), and (n,) whether each text was cut.

        Raises:
            Overloaded: if too much waits already.
        """
        if self.waiting + len(texts) > MAX_WAITING:
            raise Overloaded(f"{self.waiting} texts are waiting to be encoded; ask again in a moment")
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
            texts = [text for asked, _ in batch for text in asked]
            try:
                unit, norms, cut = await asyncio.get_running_loop().run_in_executor(self.worker, self.encode, texts)
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            else:
                start = 0
                for asked, future in batch:
                    rows = slice(start, start + len(asked))
                    start = rows.stop
                    if not future.done():  # its client may have gone
                        future.set_result((unit[rows], norms[rows], cut[rows]))
            finally:
                self.waiting -= len(texts)

    async def _linger(self) -> None:
        """Clients that were answered together ask again together: a moment's patience makes one batch of them."""
        for _ in range(LINGERS):
            waiting = len(self._queue)
            if self.waiting >= BATCH:
                return
            await asyncio.sleep(LINGER)
            if len(self._queue) == waiting:
                return

    def _next(self) -> list[tuple[list[str], asyncio.Future[Encoded]]]:
        """The requests of the next batch, in the order in which they came."""
        count, texts = 0, 0
        while count < len(self._queue) and texts < max(BATCH, self.waiting / 2):
            texts += len(self._queue[count][0])
            count += 1
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch


class Bearer:
    """Answers 401 to whoever does not bear the token, before the body is read; ``scope["bearer"]`` says who does.

    ``/health`` is for everybody.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.expected = app, f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            scope["bearer"] = not self.expected or secrets.compare_digest(given, self.expected)
            if not scope["bearer"] and scope["path"] != "/health":
                refusal = {"error": "Unauthorized", "detail": "a bearer token is needed"}
                await JSONResponse(refusal, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses bodies over ``MAX_BODY`` while they arrive, whatever their length header says."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BODY:
                raise HTTPException(413, f"a request may have {MAX_BODY} bytes; send fewer texts at once")
            return message

        await self.app(scope, limited, send)


def build(space: Space, settings: Settings) -> FastAPI:
    """The application for one space.

    Args:
        space: encodes, decodes and names itself in every answer.
        settings: where models are, and ``token`` if callers must bear one.
    """
    worker = ThreadPoolExecutor(1, thread_name_prefix="models")
    models: dict[str, TrainedModel] = {}
    decodes = 0

    def encode(texts: Sequence[str]) -> Encoded:
        vectors = space.encode(texts)
        cut = np.zeros(len(texts), dtype=np.bool_)
        cut[space.over_limit(texts)] = True
        return vectors.unit, vectors.norms, cut

    batched = Batcher(encode, worker)

    @cache
    def statistics() -> Statistics:
        return open_statistics(space, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        worker.shutdown(cancel_futures=True)

    def same_space(named: str | None) -> None:
        if named is not None and named != space.fingerprint:
            raise SpaceMismatch(
                f"this service speaks space {space.name!r} ({space.fingerprint}), the request names {named[:40]!r}; "
                "vectors of one are noise to the other"
            )

    async def on_models(work: Callable[[], Any]) -> Any:
        nonlocal decodes
        if decodes >= MAX_DECODES:
            raise Overloaded(f"{decodes} requests are waiting to be decoded; ask again in a moment")
        decodes += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(worker, work)
        finally:
            decodes -= 1

    app = FastAPI(
        title="lvm",
        description="Encode, decode and continue texts in one space, by the path that training used.",
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(Bearer, token=settings.token.get_secret_value() if settings.token else "")

    @app.exception_handler(LvmError)
    def refused(_: Request, error: LvmError) -> JSONResponse:
        statuses = (
            (Overloaded, 503), (SpaceMismatch, 409), (InvalidVectors, 422), (NoModel, 422), (NothingToContinue, 422)
        )  # fmt: skip
        status = next((status for kind, status in statuses if isinstance(error, kind)), 500)
        detail = str(error)
        if status == 500:  # what is wrong here is no business of clients, and may name files
            log.error("%s: %s", type(error).__name__, error)
            detail = "the service cannot do this; its log says why"
        headers = {"Retry-After": "1"} if status == 503 else None
        return JSONResponse({"error": type(error).__name__, "detail": detail}, status, headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        detail = f"{where or 'body'}: {first['msg']}"
        return JSONResponse({"error": "InvalidRequest", "detail": detail[:500]}, 422)

    @app.get("/health")
    async def health(request: Request) -> dict[str, Any]:
        """Whether the service answers; to whoever bears the token, also in which space."""
        if not request.scope["bearer"]:
            return {"status": "ok"}
        return {"status": "ok", "space": space.fingerprint, "name": space.name, "waiting": batched.waiting}

    @app.get("/spaces")
    async def spaces() -> dict[str, Any]:
        """The space that is served, and the names of all that are configured."""
        served = {
            "name": space.name,
            "space": space.fingerprint,
            "dim": space.dim,
            "max_tokens": space.max_tokens,
            "recipe": space.recipe,
        }
        return {"served": served, "configured": available_spaces(settings)}

    @app.post("/encode")
    async def encode_(request: EncodeRequest) -> EncodeAnswer:
        """Texts to vectors."""
        same_space(request.space)
        unit, norms, cut = await batched(request.texts)
        return EncodeAnswer(
            space=space.fingerprint,
            dim=space.dim,
            vectors=_packed(unit) if request.format == "base64" else unit.tolist(),
            norms=norms.tolist(),
            truncated=np.flatnonzero(cut).tolist(),
        )

    @app.post("/decode")
    async def decode(request: DecodeRequest) -> DecodeAnswer:
        """Vectors to texts."""
        same_space(request.space)
        raw = _array(request.vectors, space.dim)
        if not 0 < len(raw) <= MAX_VECTORS:
            raise InvalidVectors(f"{len(raw)} vectors; a request decodes 1 to {MAX_VECTORS}")
        vectors = Vectors.from_raw(request.space, raw)

        def work() -> Decoded:
            demand(vectors, statistics(), space.name)  # whoever names the right space may still hold other vectors
            return space.decode(vectors, seed=settings.seed)

        decoded = await on_models(work)
        return DecodeAnswer(space=space.fingerprint, texts=decoded.texts, cosine=decoded.cosine.tolist())

    @app.post("/next")
    async def next_(request: NextRequest) -> NextAnswer:
        """What a trained model says comes after these sentences."""
        same_space(request.space)

        def work() -> Any:
            if request.model not in models:
                models[request.model] = open_model(request.model, space, settings)
            return predict_next(space, models[request.model], request.texts, settings.seed)

        found = await on_models(work)
        return NextAnswer(
            space=space.fingerprint,
            model=request.model,
            text=found.text,
            cosine=found.cosine,
            vector=found.vector.unit[0].tolist(),
            query=found.query.unit[0].tolist(),
        )

    return app


def _packed(unit: FloatArray) -> str:
    return base64.b64encode(np.ascontiguousarray(unit, "<f4").tobytes()).decode()


def _array(vectors: list[list[float]] | str, dim: int) -> FloatArray:
    """(n, dim) float32 from either form; what is no such array is named."""
    try:
        if isinstance(vectors, str):
            return np.frombuffer(base64.b64decode(vectors, validate=True), "<f4").reshape(-1, dim).astype(np.float32)
        array = np.array(vectors, dtype=np.float32)
    except ValueError as error:
        raise InvalidVectors(f"the vectors are no array of rows of {dim} numbers ({error})") from error
    if array.ndim != 2 or array.shape[1] != dim:
        raise InvalidVectors(f"the vectors have shape {array.shape}; this space has dimension {dim}")
    return array
