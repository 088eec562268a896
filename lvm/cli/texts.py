"""Commands about texts and vectors: search, next, write, encode, decode, check, serve."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from lvm.cli.common import InverterFolder, SpaceName, err, opened, opened_if_stored, out, show_hits
from lvm.errors import LvmError, UsageError, visible
from lvm.settings import TEMPERATURE, Settings, chosen

if TYPE_CHECKING:
    from lvm.pipeline.predict import Candidate, Prediction
    from lvm.pipeline.workspace import Workspace
    from lvm.spaces import Space, Vectors
    from lvm.training import TrainedModel

Temperature = Annotated[float, typer.Option(help="of the samples, 0 to 10")]
Seed = Annotated[int | None, typer.Option(help="default: LVM_SEED")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="gru, ..., or shipped; default: the best one trained here, else the shipped one"),
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


def search(query: Annotated[str, typer.Argument(metavar="TEXT")], k: Annotated[int, typer.Option(min=1)] = 5) -> None:
    """Print the stored chunks nearest to a text."""
    with opened() as work:
        show_hits(work.search(query, k))


def next_(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...")],
    model: ModelName = None,
    k: Annotated[int, typer.Option(min=1, help="stored chunks to list")] = 5,
    samples: Annotated[int | None, typer.Option(help="show so many ways to go on, if the model samples")] = None,
    temperature: Temperature = TEMPERATURE,
    seed: Seed = None,
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
            err.print(_told(trained, work, model), soft_wrap=True)
        if samples is None or samples == 1:
            out.print(Text(trained.name, "bold"), f"({found.cosine:.3f}): ", end="")
            out.print(found.text)
            _show_nearest(work, found.query, k)
            return
        for each in (found, *found.others):
            out.print(Text(f"score {each.score:.3f}", "bold"), f"({each.cosine:.3f}): ", end="")
            out.print(each.text)
            _show_nearest(work, each.vector, k)


def _show_nearest(work: Workspace | Space, query: Vectors, k: int) -> None:
    """Print the stored chunks nearest to a vector; nothing if none is stored."""
    from lvm.spaces import Space

    if not isinstance(work, Space) and (hits := work.search(query, k)):
        show_hits(hits)


def _told(model: TrainedModel, work: Workspace | Space, asked: str | None) -> str:
    """Which model answers, in one line, and why it is the shipped one if nobody asked for it."""
    from lvm.models import MODELS
    from lvm.spaces import Space

    space = work if isinstance(work, Space) else work.space
    what = f" ({MODELS[model.config['model']].__name__}, {model.corpus})" if model.corpus else ""
    why = ", because none is trained here" if model.corpus and asked is None else ""
    return f"model {model.name}{what}, space {space.name}{why}"


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
        err.print(_told(writing.model, work, model), soft_wrap=True)
        try:
            for step in writing:
                line = json.dumps(_described(len(writing.texts), step), ensure_ascii=False) if as_json else step.text
                typer.echo(shown(line))
        except KeyboardInterrupt:
            raise Stopped(
                f"{len(writing.texts)} texts are written; the same command writes them again and goes on"
            ) from None
        assert writing.ended is not None
        err.print(f"{len(writing.texts)} texts; {REASONS[writing.ended]}", soft_wrap=True)


def _described(number: int, step: Prediction) -> dict[str, Any]:
    """A step as a JSON object: number, text, score and cosine, and those of the candidates that were not taken."""

    def figures(each: Candidate) -> dict[str, Any]:
        return {"text": each.text, "score": round(each.score, 4), "cosine": round(each.cosine, 4)}

    return {"step": number, **figures(step), "candidates": [figures(each) for each in step.others]}


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
        Path | None, typer.Argument(help="a file with one text per line; standard input unless given")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help=".safetensors or .jsonl; standard output (.jsonl) unless given")
    ] = None,
    space: SpaceName = None,
) -> None:
    """Encode texts, one a line, to a file that carries the fingerprint of their space."""
    from lvm.cli import vectors

    vectors.encode(source, output, space, Settings())


def decode(
    source: Annotated[
        Path | None,
        typer.Argument(help=".safetensors, .jsonl, .npy or .npz; standard input (.jsonl) unless given"),
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
    source: Annotated[Path, typer.Argument(help=".safetensors, .jsonl, .npy or .npz")],
    space: SpaceName = None,
) -> None:
    """Check whether vectors can be of the space, without their texts."""
    from lvm.cli import vectors

    typer.echo(vectors.check(source, space, Settings()))


def serve(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    space: SpaceName = None,
    inverter: InverterFolder = None,
) -> None:
    """A page to try a model, and encode, decode and continue over HTTP. Beyond this machine it needs LVM_TOKEN."""
    from lvm.service import serve

    serve(host, port, space, chosen(inverter))
