"""The registry of spaces: ``spaces.toml`` files define spaces by name, ``open_space`` opens them.

Contract: all other packages get a space from ``open_space``. The project's own spaces are defined in
``lvm/spaces/spaces.toml``. A user's file of the same format (``LVM_SPACES``, by default ``spaces.toml`` in the working
folder) adds spaces, or replaces spaces of the same name.
"""

from __future__ import annotations

import tomllib
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from lvm.calls import typed
from lvm.devices import open_device
from lvm.encoding import weights
from lvm.encoding.encoder import TextEncoder
from lvm.encoding.recipe import Pooling, Recipe
from lvm.encoding.weights import WeightsNotHere, WeightsUnusable
from lvm.errors import UsageError, first_line
from lvm.inversion.inverter import WEIGHTS as INVERTER_WEIGHTS
from lvm.inversion.inverter import PrefixInverter
from lvm.inversion.protocol import Inverter
from lvm.progress import bar
from lvm.settings import Settings
from lvm.spaces.space import Space
from lvm.spaces.statistics import CHUNKS, FILE, Statistics, measure
from lvm.terminal import without_login


class UnknownSpace(UsageError):
    """There is no space of this name."""


class InvalidSpaces(UsageError):
    """A ``spaces.toml`` cannot be read, or has a wrong, missing or unknown key."""


class SpaceConfig(BaseModel):
    """Entry of a space in a ``spaces.toml``.

    A source is a folder, ``package:NAME/path`` or a hub repository. A revision is a branch, tag or commit of a hub
    repository. Default: the commit of ``main`` at the first download to this machine.

    Attributes:
        encoder: source of the encoder.
        encoder_revision: revision of the encoder.
        weights: name of the encoder's weights, part of the fingerprint. A local copy with the same name is the same
            space. Default: the source of the encoder, or empty for a folder.
        pooling: see ``Recipe``.
        layer: see ``Recipe``.
        projection: see ``Recipe``; must be inside the encoder's folder.
        normalize: see ``Recipe``.
        max_tokens: see ``Recipe``.
        inverter: source of the inverter: one of this project, or vec2text's hypothesizer.
        inverter_revision: revision of the inverter.
        corrector: source of vec2text's corrector.
        corrector_revision: revision of the corrector.
        steps: number of corrections (vec2text's ``num_steps``).
        beam: hypotheses kept after a correction (vec2text's ``sequence_beam_width``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str = Field(min_length=1)
    encoder_revision: str | None = None
    weights: str = ""
    pooling: Pooling = "mean"
    layer: int = -1
    projection: str = ""
    normalize: bool
    max_tokens: PositiveInt
    inverter: str | None = None
    inverter_revision: str | None = None
    corrector: str | None = None
    corrector_revision: str | None = None
    steps: PositiveInt = 5
    beam: PositiveInt = 1

    @field_validator("projection")
    @classmethod
    def _inside(cls, projection: str) -> str:
        if Path(projection).is_absolute() or ".." in Path(projection).parts:
            raise ValueError("the projection must be a file inside the encoder's folder")
        return projection

    @property
    def recipe(self) -> Recipe:
        """The encoder's recipe."""
        label = self.weights or ("" if weights.is_folder(self.encoder) else self.encoder)
        return Recipe(label, self.pooling, self.layer, self.projection, self.normalize, self.max_tokens)


def configured(settings: Settings | None = None) -> dict[str, SpaceConfig]:
    """Entries of all spaces by name, the project's own spaces first.

    Args:
        settings: names the user's file; read from the environment unless given.

    Raises:
        InvalidSpaces: if a file cannot be parsed, or an entry has a wrong, missing or unknown key.
    """
    settings = settings or Settings()
    entries = _read(Path(str(files("lvm.spaces"))) / "spaces.toml")
    if settings.spaces.is_file():
        entries |= _read(settings.spaces)
    return entries


def _read(path: Path) -> dict[str, SpaceConfig]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # a TOMLDecodeError is a ValueError
        raise InvalidSpaces(f"{path} cannot be read ({first_line(error)}); correct it") from error
    spaces = {}
    for name, table in tables.items():
        try:
            config = SpaceConfig.model_validate(table)
        except ValidationError as error:
            [first, *_] = error.errors()
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidSpaces(
                f"{path}, space {name!r}, {where or 'entry'}: {first['msg']}; see docs/spaces.md"
            ) from error
        absolute = {
            key: str(path.absolute().parent / source)
            for key in ("encoder", "inverter", "corrector")
            if (source := getattr(config, key)) and source.startswith(".")
        }
        spaces[name] = config.model_copy(update=absolute)
    return spaces


def available_spaces(settings: Settings | None = None) -> list[str]:
    """Names of all spaces.

    Args:
        settings: names the user's file; read from the environment unless given.

    Raises:
        InvalidSpaces: if a ``spaces.toml`` is wrong.
    """
    return list(configured(settings))


@typed
def open_space(name: str | None = None, settings: Settings | None = None, *, fetch: bool = True) -> Space:
    """Open a space by name.

    The inverter is opened on first use: from ``settings.inverter`` if that is set, else from the space's entry.

    Args:
        name: one of ``available_spaces``; ``settings.space`` unless given.
        settings: read from the environment unless given.
        fetch: whether the encoder's weights may be downloaded.

    Raises:
        UnknownSpace: if there is no space of this name.
        WrongType: if an argument is of another type.
        InvalidSpaces: if a ``spaces.toml`` is wrong.
        WeightsUnusable: if the encoder cannot be opened.
        NoDevice: if ``settings.device`` does not exist.
    """
    settings = settings or Settings()
    name = name or settings.space
    spaces = configured(settings)
    if name not in spaces:
        raise UnknownSpace(f"there is no space {without_login(name)!r}; choose one of {', '.join(spaces)}")
    open_device(settings.device)  # before weights are fetched
    config = spaces[name]
    folder = weights.find(config.encoder, settings.home, config.encoder_revision, fetch=fetch)
    encoder = TextEncoder(folder, config.recipe, settings.device)
    return Space(name, encoder, lambda: _open_inverter(name, config, encoder, settings))


def open_statistics(space: Space, settings: Settings) -> Statistics:
    """Open the statistics of a space's vectors.

    Their file is in the folder of the space's inverter, or below ``settings.home``. If neither has it, the statistics
    are measured, with a progress bar, and stored below ``settings.home``.

    Args:
        space: the space.
        settings: names the folders.

    Raises:
        CorruptedFile: if the file is damaged.
        CannotWrite: if the measured statistics cannot be stored.
    """
    config = configured(settings).get(space.name)
    source = config and inverter_source(config, settings)
    if config and source:
        with suppress(WeightsNotHere):
            # ``allow`` prevents a conversion of the weights: only the small file of statistics is needed
            path = weights.find(source, settings.home, config.inverter_revision, allow=[FILE], fetch=False) / FILE
            if path.is_file() and (stored := Statistics.load(path)).fingerprint == space.fingerprint:
                return stored
    path = settings.home / "statistics" / f"{space.fingerprint}.safetensors"
    if path.is_file() and (stored := Statistics.load(path)).fingerprint == space.fingerprint:
        return stored
    with bar(f"measure the vectors of {space.name}, once", CHUNKS, quiet=settings.quiet) as advance:
        measured = measure(space.encoder, advance)
    measured.save(path)
    return measured


def inverter_source(config: SpaceConfig, settings: Settings) -> str | None:
    """Source of a space's inverter; None if it has none. ``settings.inverter`` comes first."""
    return str(settings.inverter.absolute()) if settings.inverter else config.inverter


def own_folder(name: str, settings: Settings) -> Path | None:
    """Folder of the inverter in a space's entry, whatever ``settings.inverter`` is. Nothing is downloaded.

    Args:
        name: name of the space.
        settings: name the user's file.

    Returns:
        None if the entry names no inverter on this machine.
    """
    config = configured(settings).get(name)
    source = config and config.inverter
    if not source or not (source.startswith("package:") or weights.is_folder(source)):
        return None
    with suppress(WeightsNotHere):
        return weights.find(source, settings.home, allow=[], fetch=False)  # ``allow``: nothing is converted
    return None


def corrector_source(config: SpaceConfig, settings: Settings) -> str | None:
    """Source of a space's corrector; None if it has none.

    ``settings.inverter`` turns it off, because the corrector was trained for another inverter.
    """
    return None if settings.inverter else config.corrector


def _open_inverter(name: str, config: SpaceConfig, encoder: TextEncoder, settings: Settings) -> Inverter:
    source = inverter_source(config, settings)
    if source is None:
        raise WeightsUnusable(f"space {name!r} names no inverter; train one with `lvm inverter train --space {name}`")
    folder = weights.find(source, settings.home, config.inverter_revision)
    corrector_at = corrector_source(config, settings)
    corrector = corrector_at and weights.find(corrector_at, settings.home, config.corrector_revision)
    if (folder / INVERTER_WEIGHTS).is_file() or not weights.in_folder(folder):
        if corrector:
            raise WeightsUnusable(
                f"space {name!r} has a corrector, which corrects vec2text's inverters only, but the inverter in "
                f"{folder} is not vec2text's; remove corrector from the space's entry in spaces.toml"
            )
        return PrefixInverter.load(folder, settings.device)

    from lvm.inversion.vec2text import Vec2TextInverter

    return Vec2TextInverter.load(
        folder,
        corrector or None,
        encoder,
        steps=config.steps,
        beam=config.beam,
        find=lambda base: weights.find(base, settings.home, allow=weights.CONFIG_AND_TOKENIZER),
        device=settings.device,
    )
