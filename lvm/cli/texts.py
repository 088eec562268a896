"""Commands about texts and vectors: search, next, write, encode, decode, check, serve."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from lvm.cli.common import (
    AsJson,
    InverterFolder,
    SpaceName,
    err,
    hit_row,
    opened,
    opened_if_stored,
    out,
    path,
    show_hits,
)
from lvm.errors import LvmError, UsageError, visible
from lvm.settings import TEMPERATURE, Settings, chosen

if TYPE_CHECKING:
    from lvm.pipeline.predict import Candidate, Prediction
    from lvm.pipeline.workspace import Workspace
    from lvm.spaces import Space, Vectors
    from lvm.store import Hit
    from lvm.training import TrainedModel

Temperature = Annotated[float, typer.Option(help="of the samples, 0 to 10")]
Seed = Annotated[int | None, typer.Option(help="default: LVM_SEED")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="gru, gru@1a2b3c for a version (see `lvm models`), or shipped; default: the champion, else the best one "
        "trained here, else the shipped one",
    ),
]


class Stopped(LvmError):
    """Ctrl-C ended the writing."""

    exit_code = 130


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(search)
    app.command(name="next")(next_)
    for command in (write, encode, decode, check, serve):
        app.command()(command)


def search(
    query: Annotated[str, typer.Argument(metavar="TEXT")],
    k: Annotated[int, typer.Option(min=1, help="how many chunks")] = 5,
    skip: Annotated[int, typer.Option(min=0, help="leave out so many of the first: the pages before")] = 0,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="order by the words of the text too; they are marked with **")
    ] = False,
    exact: Annotated[bool, typer.Option("--exact", help="compare with every chunk, not by the index")] = False,
    source: Annotated[
        list[str] | None, typer.Option(help="only chunks of this source, named as in ingest; may be repeated")
    ] = None,
    document: Annotated[
        list[str] | None, typer.Option(help="only chunks of the document of this id in its source; may be repeated")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="only of documents whose metadata has this, e.g. year=1846"),
    ] = None,
    space: SpaceName = None,
    as_json: AsJson = False,
) -> None:
    """Print the stored chunks nearest to a text."""
    metadata = _metadata(where or [])
    query = _utf8(query)
    with opened(space) as work:
        from lvm.pipeline.sources import stored_name

        sources = [stored_name(work.store, each) for each in source or []]
        given = {"source": sources, "document": document, "metadata": metadata}
        hits = work.search(
            query,
            k,
            hybrid=hybrid,
            skip=skip,
            filter={key: value for key, value in given.items() if value},
            exact=exact,
        )
        show_hits(hits, as_json)
        if not hits:
            said = [f"no stored chunk matches{f', after the first {skip}' if skip else ''}", *_similar(work, metadata)]
            if not work.counts()["chunks"]:
                said += [
                    f"space {work.space.name!r} has none yet: run `lvm ingest`, or `lvm reembed` from another space"
                ]
            err.print("; ".join(said))


def _metadata(assignments: list[str]) -> dict[str, Any]:
    """What ``--where`` says about metadata. A value is JSON if it can be, else a string.

    Raises:
        UsageError: if one is not ``NAME=VALUE``, or a name is given twice.
    """
    found: dict[str, Any] = {}
    for each in map(_utf8, assignments):
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise UsageError(f"--where {each!r} is not NAME=VALUE, e.g. --where year=1846")
        if name in found:
            raise UsageError(f"--where names {name!r} twice; a document has one value of it")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _similar(work: Workspace, metadata: dict[str, Any]) -> list[str]:
    """For each value of metadata that was looked for, the stored values that are like it, if there are any."""
    found = []
    for name, value in metadata.items():
        if similar := work.store.similar_metadata(name, str(value)):
            shown = [json.dumps(each, ensure_ascii=False) for each in similar]
            of_another_type = [
                f": --where {shlex.quote(f'{name}={text}')}"
                for each, text in zip(similar, shown, strict=True)
                if str(each) == str(value) and type(each) is not type(value)
            ]
            found.append(f"{name} is {' or '.join(shown)}{''.join(of_another_type)}")
    return found


def next_(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...")],
    model: ModelName = None,
    k: Annotated[int, typer.Option(min=1, help="stored chunks to list")] = 5,
    samples: Annotated[int | None, typer.Option(help="show so many ways to go on, if the model samples")] = None,
    temperature: Temperature = TEMPERATURE,
    seed: Seed = None,
    as_json: AsJson = False,
    inverter: InverterFolder = None,
) -> None:
    """Predict what comes after these sentences: decoded, and the nearest stored chunks, if there are any."""
    texts = [_utf8(text) for text in texts]
    with opened_if_stored(inverter=inverter) as work:
        from lvm.pipeline.predict import predict, reopened_model

        trained, in_space, settings = reopened_model(work, model)
        seed = settings.seed if seed is None else seed
        found = predict(in_space, trained, texts, seed, samples=samples, temperature=temperature)
        if trained.corpus:
            err.print(_told(trained, work, model))
        one = samples is None or samples == 1
        ways = [(found, found.query)] if one else [(each, each.vector) for each in (found, *found.others)]
        if as_json:
            out.json([{**_figures(way), "nearest": [*map(hit_row, _nearest(work, at, k))]} for way, at in ways])
            return
        for way, at in ways:
            out.print(Text(trained.name if one else f"score {way.score:.3f}", "bold"), f"({way.cosine:.3f}): ", end="")
            out.print(way.text)
            show_hits(_nearest(work, at, k))


def _nearest(work: Workspace | Space, query: Vectors, k: int) -> list[Hit]:
    """The stored chunks nearest to a vector; none without a database."""
    from lvm.spaces import Space

    return [] if isinstance(work, Space) else work.search(query, k)


def _told(model: TrainedModel, work: Workspace | Space, asked: str | None) -> str:
    """Which model answers, in one line, and why it is the shipped one if nobody asked for it."""
    from lvm.models import MODELS
    from lvm.spaces import Space

    space = work if isinstance(work, Space) else work.space
    what = f" ({MODELS[model.config['model']].__name__}, {model.corpus})" if model.corpus else ""
    why = ", because none is trained here" if model.corpus and asked is None else ""
    return f"model {model.name if model.corpus else model.version}{what}, space {space.name}{why}"


def write(
    text: Annotated[str, typer.Argument(help="what to go on from; - reads standard input")],
    steps: Annotated[int, typer.Option(help="texts at most")] = 20,
    samples: Annotated[int | None, typer.Option(help="candidates for each text, if the model samples")] = None,
    temperature: Temperature = TEMPERATURE,
    seed: Seed = None,
    model: ModelName = None,
    space: SpaceName = None,
    inverter: InverterFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="a JSON object a line, with scores and candidates")] = False,
) -> None:
    """Go on from a text: predict, decode, append, again. A line a text, as soon as it is made."""
    text = _standard_input() if text == "-" else _utf8(text)
    shown = visible if sys.stdout.isatty() else str  # a pipe gets the text as it is
    with opened_if_stored(space, inverter) as work:
        from lvm.pipeline.generate import REASONS, check_writing, write

        check_writing(None, steps, samples, temperature, seed or 0)
        options: dict[str, Any] = {"steps": steps, "samples": samples, "temperature": temperature, "seed": seed}
        writing = write(work, model, text, **options)
        err.print(_told(writing.model, work, model))
        try:
            for step in writing:
                line = json.dumps(_described(len(writing.texts), step), ensure_ascii=False) if as_json else step.text
                typer.echo(shown(line))
        except KeyboardInterrupt:
            raise Stopped(
                f"{len(writing.texts)} texts are written; the same command writes them again and goes on"
            ) from None
        assert writing.ended is not None
        err.print(f"{len(writing.texts)} texts; {REASONS[writing.ended]}")


def _described(number: int, step: Prediction) -> dict[str, Any]:
    """A step as a JSON object: number, text, score and cosine, and those of the candidates that were not taken."""
    return {"step": number, **_figures(step), "candidates": [_figures(each) for each in step.others]}


def _figures(each: Candidate) -> dict[str, Any]:
    """A text that was decoded, its score and its cosine."""
    return {"text": each.text, "score": round(each.score, 4), "cosine": round(each.cosine, 4)}


def _utf8(text: str) -> str:
    """An argument of the command line.

    Raises:
        UsageError: if it is not UTF-8, so that its bytes are lone surrogates.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the text is not UTF-8 (character {error.start}); give it as UTF-8") from error
    return text


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the text is not UTF-8 (byte {error.start}); give it as UTF-8") from error


def encode(
    source: Annotated[
        Path | None, typer.Argument(parser=path, help="a file with one text per line; standard input unless given")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", parser=path, help=".safetensors or .jsonl; standard output (.jsonl) unless given"),
    ] = None,
    space: SpaceName = None,
) -> None:
    """Encode texts, one a line, to a file that carries the fingerprint of their space."""
    from lvm.cli import vectors

    vectors.encode(source, output, space, Settings())


def decode(
    source: Annotated[
        Path | None,
        typer.Argument(parser=path, help=".safetensors, .jsonl, .npy or .npz; standard input (.jsonl) unless given"),
    ] = None,
    space: SpaceName = None,
    vectors_of: Annotated[
        str | None,
        typer.Option(help="fingerprint of the space the vectors are of, for an .npy or .npz, which name no space"),
    ] = None,
    n_best: Annotated[
        int, typer.Option(help="print up to this many texts of a vector: its number, cosine and text, with tabs")
    ] = 1,
    steps_shown: Annotated[
        bool, typer.Option("--steps-shown", help="print every correction of vec2text: number, step, cosine and text")
    ] = False,
    inverter: InverterFolder = None,
) -> None:
    """Decode vectors to texts, one a line. Vectors of another space are refused."""
    from lvm.cli import vectors

    shown = visible if sys.stdout.isatty() else str  # a pipe gets the text as it is
    for line in vectors.decode(source, space, chosen(inverter), vectors_of, n_best=n_best, steps=steps_shown):
        typer.echo(shown(line))


def check(
    source: Annotated[Path, typer.Argument(parser=path, help=".safetensors, .jsonl, .npy or .npz")],
    space: SpaceName = None,
) -> None:
    """Check whether vectors can be of the space, without their texts."""
    from lvm.cli import vectors

    out.print(vectors.check(source, space, Settings()))


def serve(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    space: SpaceName = None,
    inverter: InverterFolder = None,
) -> None:
    """A page to try a model, and encode, decode and continue over HTTP. Beyond this machine it needs LVM_TOKEN."""
    from lvm.service import serve

    serve(host, port, space, chosen(inverter))
