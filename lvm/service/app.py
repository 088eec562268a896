"""The web application: encode, decode and continue texts in one space. Clients need no model of their own.

Contract: every answer has the space's fingerprint, and a request that names another space is refused. One thread runs
the models. If the queue is full, the answer is 503. A writing gets the thread for one text at a time, so it does not
keep others waiting. Error messages are short: they do not repeat the request and do not
name paths of the server. If a token is set, callers without it get only ``{"status": "ok"}`` of ``/health``, and the
page, which is the same for all services. Whatever a client sends is answered with JSON ``{"error", "detail"}`` and a
status from 400 to 499; one of 500 is a fault of the service.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from lvm.arrays import FloatArray
from lvm.corpus.readable import UnreadableText
from lvm.errors import LvmError, UsageError, one_line
from lvm.pipeline.alone import settings_alone
from lvm.pipeline.errors import GateMissing, NoModel
from lvm.pipeline.generate import REASONS, Writing
from lvm.pipeline.predict import (
    Candidate,
    InvalidOption,
    NothingToContinue,
    Prediction,
    exact_name,
    open_model,
    predict,
    usable_models,
)
from lvm.pipeline.shipped import SHIPPED
from lvm.pipeline.workspace import Workspace, open_workspace
from lvm.service import page
from lvm.service.batching import Batcher, Encoded, Overloaded
from lvm.service.events import EventStream, event
from lvm.service.limits import Bearer, BodyLimit
from lvm.service.messages import (
    MAX_VECTORS,
    CandidateAnswer,
    ContinueRequest,
    DecodeAnswer,
    DecodedCandidate,
    DecodeRequest,
    EncodeAnswer,
    EncodeRequest,
    Failure,
    ModelAnswer,
    ModelsAnswer,
    NextAnswer,
    NextCandidate,
    NextRequest,
    StoredChunk,
    WriteEnd,
    WriteRequest,
    WriteText,
)
from lvm.settings import Settings
from lvm.spaces import Decoded, InvalidDecoding, InvalidVectors, Space, SpaceMismatch, Vectors, available_spaces
from lvm.spaces.check import demand
from lvm.spaces.registry import open_statistics
from lvm.spaces.statistics import Statistics
from lvm.store import DatabaseUnavailable, Hit, server
from lvm.training import NoSamples, TrainedModel

MAX_DECODES = 16  # requests that may wait for the inverter
MAX_MODELS = 8  # open at a time; promotions and trainings bring new ones
MAX_WRITINGS = 4  # streams at a time: the others' requests wait for one text of each

log = logging.getLogger(__name__)


class NoDatabase(UsageError):
    """Stored chunks are asked of a service without a database."""


def build(space: Space, settings: Settings) -> FastAPI:
    """Build the application for one space.

    Args:
        space: the space.
        settings: names the folder of the models, and the token if callers must send one.
    """
    settings = settings_alone(settings)
    worker = ThreadPoolExecutor(1, thread_name_prefix="models")
    searcher = ThreadPoolExecutor(1, thread_name_prefix="search")  # a search of a large database takes seconds
    models: dict[str, TrainedModel] = {}  # by exact name, the one used last at the end
    meant: dict[str | None, str] = {}  # by name, what it meant the last time
    best: str | None = None  # name of the best trained model, once there is one
    workspaces: list[Workspace] = []
    decodes = writings = 0

    def encode(texts: Sequence[str]) -> Encoded:
        vectors = space.encode(texts)
        cut = np.zeros(len(texts), dtype=np.bool_)
        cut[space.over_limit(texts)] = True
        unreadable = np.zeros(len(texts), dtype=np.bool_)
        unreadable[space.unreadable(texts)] = True
        return vectors.unit, vectors.norms, cut, unreadable

    batched = Batcher(encode, worker)

    @cache
    def statistics() -> Statistics:
        return open_statistics(space, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for executor in (worker, searcher):
            executor.shutdown(cancel_futures=True)
        for work in workspaces:
            work.close()

    def same_space(named: str | None) -> None:
        if named is not None and named != space.fingerprint:
            raise SpaceMismatch(
                f"this service serves space {space.name!r} ({space.fingerprint}), the request names {named[:40]!r}; "
                "vectors of one space mean nothing in another: use a service of the right space"
            )

    async def on_models(work: Callable[[], Any]) -> Any:
        nonlocal decodes
        if decodes >= MAX_DECODES:
            raise Overloaded(f"{decodes} requests are waiting for the models; send the request again in a moment")
        decodes += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(worker, work)
        finally:
            decodes -= 1

    def workspace() -> Workspace | None:
        """The database, opened once; None if there is none. Only the thread of the models calls it."""
        if not workspaces and server.exists(settings):
            workspaces.append(open_workspace(space, settings))
        return workspaces[0] if workspaces else None

    def model(name: str | None) -> TrainedModel:
        """A model, opened once; unless named, the champion or else the best one. The thread of the models calls it.

        A name may mean another version than before: after a promotion or a training. Without its database, the service
        goes on with the version that it knows.
        """
        nonlocal best
        try:
            opened = workspace()
            exact = exact_name(name, opened)
            if exact is None:
                best = best or next(iter(usable_models(space, settings, opened)), SHIPPED)
                exact = exact_name(best, opened) or SHIPPED
                best = best if best != SHIPPED else None  # one may be trained later
        except DatabaseUnavailable:
            if name not in meant:
                raise
            exact, opened = meant[name], None
        found = models.pop(exact, None) or open_model(exact, space, settings, opened)
        models[exact], meant[name] = found, exact  # only what opened: a client may name anything
        while len(models) > MAX_MODELS:
            del models[next(iter(models))]
        return found

    def options(request: ContinueRequest) -> dict[str, Any]:
        seed = settings.seed if request.seed is None else request.seed
        return {"samples": request.samples, "temperature": request.temperature, "seed": seed}

    app = FastAPI(
        title="lvm",
        description="Encode, decode and continue texts in one space, by the path that training used.",
        lifespan=lifespan,
        redirect_slashes=False,  # its redirects would name the host that the request names
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(Bearer, token=settings.token.get_secret_value() if settings.token else "")

    @app.exception_handler(LvmError)
    def refused(_: Request, error: LvmError) -> JSONResponse:
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
        headers = {"Retry-After": "1"} if status == 503 else None
        internal = status == 500 or isinstance(error, DatabaseUnavailable)  # its message names the server
        failure = _failure(error) if internal else Failure(error=type(error).__name__, detail=str(error))
        return JSONResponse(failure.model_dump(), status, headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        detail = one_line(f"{where or 'body'}: {first['msg']}")
        return JSONResponse({"error": "InvalidRequest", "detail": detail[:500]}, 422)

    @app.exception_handler(HTTPException)
    def not_served(_: Request, error: HTTPException) -> JSONResponse:
        name, detail = _UNANSWERED.get(error.status_code, ("InvalidRequest", str(error.detail)))
        return JSONResponse({"error": name, "detail": detail}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    def failed(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(_failed(error).model_dump(), 500)  # the server logs the traceback

    @app.get("/", include_in_schema=False)
    async def page_() -> HTMLResponse:
        return HTMLResponse(page.HTML, headers=page.HEADERS)

    @app.get("/health")
    async def health(request: Request) -> dict[str, Any]:
        """Whether the service runs; with a valid token, also its space and the length of its queue."""
        if not request.scope["bearer"]:
            return {"status": "ok"}
        return {"status": "ok", "space": space.fingerprint, "name": space.name, "waiting": batched.waiting}

    @app.get("/spaces")
    async def spaces() -> dict[str, Any]:
        """The served space, and the names of all configured spaces."""
        served = {
            "name": space.name,
            "space": space.fingerprint,
            "dim": space.dim,
            "max_tokens": space.max_tokens,
            "recipe": space.recipe,
        }
        return {"served": served, "configured": available_spaces(settings)}

    @app.get("/models")
    async def models_() -> ModelsAnswer:
        """The models of the served space, the best first, the shipped one last."""

        def work() -> ModelsAnswer:
            opened = workspace()
            found = [
                ModelAnswer(name=name, samples=each.samples, context=each.context)
                for name, each in usable_models(space, settings, opened).items()
            ]
            return ModelsAnswer(space=space.fingerprint, name=space.name, models=found, database=opened is not None)

        answer: ModelsAnswer = await on_models(work)
        return answer

    @app.post("/encode")
    async def encode_(request: EncodeRequest) -> EncodeAnswer:
        """Encode texts to vectors. A text in a writing system that the encoder does not know is refused."""
        same_space(request.space)
        unit, norms, cut, unreadable = await batched(request.texts)
        if unreadable.any():
            space.require_readable(request.texts)
        return EncodeAnswer(
            space=space.fingerprint,
            dim=space.dim,
            vectors=_packed(unit) if request.format == "base64" else unit.tolist(),
            norms=norms.tolist(),
            truncated=np.flatnonzero(cut).tolist(),
        )

    @app.post("/decode", response_model_exclude_none=True)
    async def decode(request: DecodeRequest) -> DecodeAnswer:
        """Decode vectors to texts, with up to ``n_best`` candidates per vector."""
        same_space(request.space)
        raw = _array(request.vectors, space.dim)
        if not 0 < len(raw) <= MAX_VECTORS:
            raise InvalidVectors(f"the request has {len(raw)} vectors; send 1 to {MAX_VECTORS}")
        vectors = Vectors.from_raw(request.space, raw)

        def work() -> Decoded:
            demand(vectors, statistics(), space.name)  # a request may name the right space and send other vectors
            return space.decode(vectors, request.n_best, seed=settings.seed)

        decoded = await on_models(work)
        candidates = decoded.candidates and [
            [DecodedCandidate(text=each.text, cosine=each.cosine) for each in of_vector]
            for of_vector in decoded.candidates
        ]
        return DecodeAnswer(
            space=space.fingerprint, texts=decoded.texts, cosine=decoded.cosine.tolist(), candidates=candidates
        )

    @app.post("/next", response_model_exclude_none=True)
    async def next_(request: NextRequest) -> NextAnswer:
        """Predict the text after the given texts."""
        same_space(request.space)

        def work() -> tuple[Prediction, TrainedModel, Workspace | None]:
            opened = workspace() if request.nearest else None
            if request.nearest and opened is None:
                raise NoDatabase("this service has no database, so there are no stored chunks; leave nearest out")
            trained = model(request.model)
            return predict(space, trained, request.texts, **options(request)), trained, opened

        predicted, trained, stored = await on_models(work)
        ways: list[Candidate] = [predicted, *predicted.others]
        answers = [NextCandidate(**_figures(each)) for each in ways]
        if stored is not None:
            queries = [each.vector for each in ways] if trained.samples else [predicted.query]
            search = partial(stored.search, k=request.nearest)
            found = await asyncio.get_running_loop().run_in_executor(searcher, lambda: [*map(search, queries)])
            for answer, hits in zip(answers, found, strict=True):
                answer.nearest = [StoredChunk(**_chunk(hit)) for hit in hits]
        return NextAnswer(
            **dict(answers[0]),
            space=space.fingerprint,
            model=trained.name,
            sha256=trained.sha256,
            vector=predicted.vector.unit[0].tolist(),
            query=predicted.query.unit[0].tolist(),
            candidates=answers[1:],
        )

    @app.post("/write", status_code=200, response_class=EventStream)
    async def write(request: WriteRequest) -> EventStream:
        """Go on from the given texts: an event `text` for every text as it is made, and at last an event `end`.

        A failure on the way is an event `error`. Who closes the connection ends the writing.
        """
        nonlocal writings
        same_space(request.space)
        if writings >= MAX_WRITINGS:
            raise Overloaded(f"{writings} texts are being written; send the request again in a moment")
        writings += 1

        def finished() -> None:
            nonlocal writings
            writings -= 1

        try:
            opened = await on_models(
                lambda: Writing(space, model(request.model), request.texts, steps=request.steps, **options(request))
            )
        except BaseException:
            finished()
            raise
        return EventStream(events(opened), finished)

    async def events(writing: Writing) -> AsyncIterator[bytes]:
        following = partial(next, writing, None)
        try:
            while (step := await asyncio.get_running_loop().run_in_executor(worker, following)) is not None:
                others = [CandidateAnswer(**_figures(each)) for each in step.others]
                number = len(writing.texts)
                yield event(
                    "text", WriteText(space=space.fingerprint, step=number, **_figures(step), candidates=others)
                )
        except Exception as error:  # the status was sent
            yield event("error", _failure(error))
            return
        assert writing.ended is not None
        end = WriteEnd(
            space=space.fingerprint,
            model=writing.model.name,
            sha256=writing.model.sha256,
            texts=len(writing.texts),
            reason=writing.ended,
            detail=REASONS[writing.ended],
        )
        yield event("end", end)

    return app


_STATUSES: tuple[tuple[type[LvmError], int], ...] = (
    (Overloaded, 503),
    (DatabaseUnavailable, 503),
    (SpaceMismatch, 409),
    (GateMissing, 409),
    (InvalidVectors, 422),
    (InvalidDecoding, 422),
    (NoModel, 422),
    (NothingToContinue, 422),
    (UnreadableText, 422),
    (InvalidOption, 422),
    (NoSamples, 422),
    (NoDatabase, 422),
)


_UNANSWERED = {
    400: (
        "InvalidRequest",
        "the body is not JSON in UTF-8, or is nested too deeply; send an object as /docs describes",
    ),
    404: ("NotFound", "there is no such path; /docs lists them"),
    405: ("MethodNotAllowed", "this path takes another method; /docs names it"),
}
"""Error and detail by status, where the framework's own words say too little."""


def _failure(error: Exception) -> Failure:
    """The same as ``_failed``, with a line in the log."""
    log.error("%s: %s", type(error).__name__, one_line(str(error)))
    return _failed(error)


def _failed(error: Exception) -> Failure:
    """What a client gets to know of a failure of the service. The message may name files of the server."""
    name = type(error).__name__ if isinstance(error, LvmError) else "Failed"
    return Failure(error=name, detail="the service cannot do this; its log has the reason")


def _figures(each: Candidate) -> dict[str, Any]:
    return {"text": each.text, "score": each.score, "cosine": each.cosine}


def _chunk(hit: Hit) -> dict[str, Any]:
    return {"text": hit.text, "title": hit.title, "position": hit.position, "cosine": hit.cosine}


def _packed(unit: FloatArray) -> str:
    return base64.b64encode(np.ascontiguousarray(unit, "<f4").tobytes()).decode()


def _array(vectors: list[list[float]] | str, dim: int) -> FloatArray:
    """The vectors of a request as (n, dim) float32.

    Raises:
        InvalidVectors: if they do not form such an array.
    """
    try:
        if isinstance(vectors, str):
            return np.frombuffer(base64.b64decode(vectors, validate=True), "<f4").reshape(-1, dim).astype(np.float32)
        array = np.array(vectors, dtype=np.float32)
    except ValueError as error:
        raise InvalidVectors(
            f"the vectors are not rows of {dim} numbers ({error}); send them as /encode does"
        ) from error
    if array.ndim != 2 or array.shape[1] != dim:
        raise InvalidVectors(f"the vectors have shape {array.shape}; send rows of {dim} numbers")
    return array
