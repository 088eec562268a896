"""Commands about spaces: ``lvm spaces``, ``lvm spaces fetch``, ``lvm spaces compare``, ``lvm diagnose``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from lvm.cli.common import out
from lvm.errors import UsageError
from lvm.settings import Settings

if TYPE_CHECKING:
    from lvm.spaces import Space


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(spaces)
    group.command()(fetch)
    group.command()(compare)
    app.add_typer(group, name="spaces")
    app.command()(diagnose)


def spaces(context: typer.Context) -> None:
    """List the spaces; ``compare`` crosses two of them."""
    if context.invoked_subcommand:
        return
    from lvm.encoding.weights import WeightsNotHere
    from lvm.spaces import open_space
    from lvm.spaces.registry import configured, corrector_source, inverter_source
    from lvm.store import open_store

    settings = Settings()
    table = Table("space", "fingerprint", "dim", "max tokens", "encoder", "inverter", "last gate")
    table.columns[1].no_wrap = True
    for column in table.columns[4:6]:
        column.overflow = "fold"
    with open_store(settings) as store:
        for name, config in configured(settings).items():
            number = store.space_id(name)
            gate = store.latest_gate(number) if number is not None else None
            verdict = "" if gate is None else f"{'passed' if gate.passed else 'blocked'}, {gate.value:.3f}"
            if gate is not None and "inverter" in gate.evidence:  # since migration 3
                verdict += f", inverter {gate.evidence['inverter'][:8]}"
            sources = (inverter_source(config, settings), corrector_source(config, settings))
            inverter = "\n+ ".join(filter(None, sources))
            try:
                space = open_space(name, settings, fetch=False)
            except WeightsNotHere:
                missing = f"{config.encoder}: not here, `lvm spaces fetch {name}`"
                table.add_row(name, "", "", str(config.max_tokens), missing, inverter, verdict)
            else:
                sizes = (space.fingerprint, str(space.dim), str(space.max_tokens))
                table.add_row(name, *sizes, str(space.encoder.folder), inverter, verdict)
    out.print(table)


def fetch(name: Annotated[str, typer.Argument(help="a space, see `lvm spaces`")]) -> None:
    """Fetch a space's weights. From then on it opens without a network."""
    from lvm.spaces import open_space

    space = open_space(name, Settings())
    own = "its own" if space.inverter_encoder == space.fingerprint else "another encoder's"
    out.print(f"space {name} ({space.fingerprint}) is here; its inverter is {own}")


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="SPACE SPACE...", help="spaces, or one with changes: minilm:pooling=cls,normalize=false"
        ),
    ],
    source: Annotated[str, typer.Option(help="where the texts come from, see ingest")] = "sotu",
    chunks: Annotated[int, typer.Option(min=2, help="how many texts")] = 200,
) -> None:
    """Encode by each space, decode with each inverter: the matrix of roundtrip cosines, and where the encoders part."""
    from lvm.evaluation.crossing import cross, unseen
    from lvm.progress import bar
    from lvm.spaces.diagnosis import diagnose as compare

    settings = Settings()
    opened = {name: _space(name, settings) for name in names}
    if len(opened) < 2:
        raise UsageError("comparing takes two different spaces; see `lvm spaces`")
    texts = unseen(opened.values(), source, chunks, settings.seed)
    with bar("decode", None) as advance:
        found = cross(opened, texts, seed=settings.seed, progress=advance)
    table = Table("encoded by", "decoded by inverter of", "roundtrip cosine", "chance", "identification R@1", "gate")
    for cell in found:
        if cell.roundtrip is None:
            table.add_row(cell.encoded_by, cell.decoded_by, "other dimension", "", "", Text("blocks", "red"))
            continue
        verdict = Text("passes", "green") if cell.roundtrip.verdict.passed else Text("blocks", "red")
        figures = (cell.roundtrip.mean, cell.roundtrip.chance, cell.roundtrip.identify_r1)
        table.add_row(cell.encoded_by, cell.decoded_by, *(f"{figure:.3f}" for figure in figures), verdict)
    out.print(table)
    out.print(f"{len(texts)} texts that no inverter here is known to have been trained on")
    first, *others = names
    for other in others:
        message = compare(opened[first].encoder, opened[other].encoder, (first, other)).message
        out.print(message, soft_wrap=True)


def diagnose(
    first: Annotated[str, typer.Argument(help="a space, or one with changes: minilm:pooling=cls,normalize=false")],
    second: str,
) -> None:
    """Compare two encoders step by step, and name the first step that differs."""
    from lvm.spaces.diagnosis import diagnose as compare

    settings = Settings()
    found = compare(_space(first, settings).encoder, _space(second, settings).encoder, (first, second))
    table = Table("step", "same", "measured")
    for step in found.steps:
        table.add_row(step.name, Text("yes") if step.same else Text("no", "bold red"), step.detail)
    out.print(table)
    out.print(found.message)


def _space(spec: str, settings: Settings) -> Space:
    """A space, or one with changes: ``minilm:pooling=cls,normalize=false,layer=5,max_tokens=16``."""
    from lvm.encoding.encoder import TextEncoder
    from lvm.spaces import Space, open_space

    name, _, changes = spec.partition(":")
    space = open_space(name, settings)
    changed: dict[str, Any] = {}
    for change in filter(None, changes.split(",")):
        key, _, value = change.partition("=")
        kinds: dict[str, Callable[[str], Any]] = {
            "pooling": str,
            "layer": int,
            "max_tokens": int,
            "projection": lambda value: str(Path(value).absolute()),
            "normalize": lambda value: value.lower() == "true",
        }
        try:
            changed[key] = kinds[key](value)
        except (KeyError, ValueError) as error:
            raise UsageError(f"{change!r} is no change of a recipe; there is {', '.join(kinds)}") from error
    if changed.get("pooling", "mean") not in ("mean", "cls", "max", "pooler"):
        raise UsageError(f"pooling {changed['pooling']!r} is not known; there is mean, cls, max, pooler")
    if not changed:
        return space
    encoder = TextEncoder(space.encoder.folder, replace(space.encoder.recipe, **changed), settings.device)
    return Space(spec, encoder, lambda: space.inverter)
