"""Commands about texts and vectors: search, next, encode, decode, check, serve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from lvm.cli.common import SpaceName, opened, out, show_hits
from lvm.errors import visible
from lvm.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(search)
    app.command(name="next")(next_)
    for command in (encode, decode, check, serve):
        app.command()(command)


def search(query: Annotated[str, typer.Argument(metavar="TEXT")], k: Annotated[int, typer.Option(min=1)] = 5) -> None:
    """Print the stored chunks nearest to a text."""
    with opened() as work:
        show_hits(work.search(query, k))


def next_(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...")],
    model: Annotated[str, typer.Option(help="which trained model")] = "gru",
    k: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """Predict what comes after these sentences: decoded, and the nearest stored chunks."""
    with opened() as work:
        from lvm.pipeline.predict import predict_next

        found = predict_next(work, model, texts)
        out.print(Text(model, "bold"), f"({found.cosine:.3f}): ", end="")
        out.print(found.text)
        show_hits(work.search(found.query, k))


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
) -> None:
    """Decode vectors to texts, one a line. Vectors of another space are refused."""
    from lvm.cli import vectors

    shown = visible if sys.stdout.isatty() else str  # a pipe gets the text as it is
    for line in vectors.decode(source, space, Settings(), vectors_of, n_best=n_best, steps=steps_shown):
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
) -> None:
    """Encode, decode and continue texts over HTTP; /docs describes it. Beyond this machine it needs LVM_TOKEN."""
    from lvm.service import serve

    serve(host, port, space, Settings())
