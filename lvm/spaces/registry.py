"""The registry of spaces: names in ``spaces.toml`` files, opened through one door.

Contract: ``open_space`` is how every other room gets a space. The spaces of the project are in
``lvm/spaces/spaces.toml``; a file of the same form (``LVM_SPACES``, by default ``spaces.toml`` in the working folder)
adds others or replaces them by name.
"""

from __future__ import annotations

import tomllib
from contextlib import suppress
from copy import copy
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from lvm.errors import UsageError, first_line
from lvm.settings import Settings
from lvm.spaces import weights
from lvm.spaces.corrector import CorrectedInverter, Corrector
from lvm.spaces.encoder import Pooling, Recipe, TextEncoder
from lvm.spaces.inverter import WEIGHTS as OURS
from lvm.spaces.inverter import Inverter as OurInverter
from lvm.spaces.space import Inverter, Space
from lvm.spaces.statistics import FILE, Progress, Statistics, measure
from lvm.spaces.weights import WeightsNotHere, WeightsUnusable


class UnknownSpace(UsageError):
    """No space of that name."""


class InvalidSpaces(UsageError):
    """A file of spaces cannot be read or does not say what it must."""


class SpaceConfig(BaseModel):
    """What a file of spaces says about one.

    Attributes:
        encoder: folder, ``package:NAME/path`` or hub repository of the encoder.
        encoder_revision, inverter_revision, corrector_revision: branch, tag or commit of a hub repository; unless
            given, the commit that ``main`` had when it was first fetched here.
        weights: what the encoder's weights are called; part of the fingerprint, so that a copy in a folder can be
            the same space as its original on the hub. The hub repository unless given.
        pooling, layer, projection, normalize, max_tokens: see ``Recipe``.
        inverter: where the inverter is: a folder of ours, or vec2text's hypothesizer.
        corrector: what corrects its texts: a folder of ours, on top of any inverter, or vec2text's on vec2text's.
        steps: how often a text is corrected (vec2text's ``num_steps``).
        beam: hypotheses kept in each step of vec2text's corrector (``sequence_beam_width``).
        hypotheses, corrections: with a corrector of ours, texts tried at first and in each step.
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
    hypotheses: PositiveInt = 8
    corrections: PositiveInt = 8

    @field_validator("projection")
    @classmethod
    def _inside(cls, projection: str) -> str:
        if Path(projection).is_absolute() or ".." in Path(projection).parts:
            raise ValueError("the projection is a file inside the encoder's folder")
        return projection

    @property
    def recipe(self) -> Recipe:
        """How the encoder's states become vectors."""
        label = self.weights or ("" if weights.is_folder(self.encoder) else self.encoder)
        return Recipe(label, self.pooling, self.layer, self.projection, self.normalize, self.max_tokens)


def configured(settings: Settings) -> dict[str, SpaceConfig]:
    """All spaces by name, the project's first.

    Raises:
        InvalidSpaces: if a file cannot be parsed, or an entry has a wrong, missing or unknown key.
    """
    found = _read(Path(str(files("lvm.spaces"))) / "spaces.toml")
    if settings.spaces.is_file():
        found |= _read(settings.spaces)
    return found


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
        beside = {
            key: str(path.absolute().parent / source)
            for key in ("encoder", "inverter", "corrector")
            if (source := getattr(config, key)) and source.startswith(".")
        }
        spaces[name] = config.model_copy(update=beside)
    return spaces


def available_spaces(settings: Settings) -> list[str]:
    """Names that ``open_space`` knows."""
    return list(configured(settings))


def open_space(name: str, settings: Settings, fetch: bool = True) -> Space:
    """Open a space by name.

    Its inverter is the one in ``settings.inverter`` if that is set, else the one the space names; it is opened when
    it is first needed.

    Args:
        fetch: whether the hub may be asked for what is not on this machine.

    Raises:
        UnknownSpace: if there is none of that name.
        InvalidSpaces: if a file of spaces is wrong.
        WeightsUnusable: if its encoder cannot be opened.
    """
    spaces = configured(settings)
    if name not in spaces:
        raise UnknownSpace(f"no space is called {name!r}; there is {', '.join(spaces)}")
    config = spaces[name]
    folder = weights.find(config.encoder, settings.home, config.encoder_revision, fetch=fetch)
    encoder = TextEncoder(folder, config.recipe, settings.device)
    return Space(name, encoder, lambda: _open_inverter(name, config, encoder, settings))


def open_statistics(space: Space, settings: Settings, progress: Progress | None = None) -> Statistics:
    """How the vectors of a space's encoder lie.

    They are beside the weights of the space's inverter, or below ``settings.home`` by fingerprint. Where they are in
    neither place they are measured once, and kept in the second.

    Raises:
        CorruptedFile: if they are damaged.
        CannotWrite: if they were measured and cannot be kept.
    """
    config = configured(settings).get(space.name)
    source = config and inverter_source(config, settings)
    if config and source:
        with suppress(WeightsNotHere):
            # the pattern keeps weights from being converted: only a small file beside them is looked for
            path = weights.find(source, settings.home, config.inverter_revision, allow=[FILE], fetch=False) / FILE
            if path.is_file() and (found := Statistics.load(path)).fingerprint == space.fingerprint:
                return found
    path = settings.home / "statistics" / f"{space.fingerprint}.safetensors"
    if path.is_file() and (found := Statistics.load(path)).fingerprint == space.fingerprint:
        return found
    found = measure(space.encoder, progress)
    found.save(path)
    return found


def inverter_source(config: SpaceConfig, settings: Settings) -> str | None:
    """Where a space's inverter is looked for."""
    return str(settings.inverter.absolute()) if settings.inverter else config.inverter


def corrector_source(config: SpaceConfig, settings: Settings) -> str | None:
    """Where a space's corrector is looked for; one that was trained on another inverter is not used."""
    if settings.corrector:
        return str(settings.corrector.absolute())
    return None if settings.inverter else config.corrector


def _open_inverter(name: str, config: SpaceConfig, encoder: TextEncoder, settings: Settings) -> Inverter:
    source = inverter_source(config, settings)
    if source is None:
        raise WeightsUnusable(f"space {name!r} names no inverter; train one with `lvm inverter train --space {name}`")
    folder = weights.find(source, settings.home, config.inverter_revision)
    corrector_at = corrector_source(config, settings)
    corrector = corrector_at and weights.find(corrector_at, settings.home, config.corrector_revision)
    ours = corrector if corrector and not weights.in_folder(corrector) else None
    hypothesizer: Inverter
    if (folder / OURS).is_file() or not weights.in_folder(folder):
        if corrector and not ours:
            raise WeightsUnusable(
                f"space {name!r}: vec2text's corrector in {corrector} works on vec2text's inverters only; "
                "train one with `lvm inverter train --corrector`"
            )
        hypothesizer = OurInverter.load(folder, settings.device)
    else:
        from lvm.spaces.vec2text import Vec2TextInverter

        hypothesizer = Vec2TextInverter.load(
            folder,
            None if ours else corrector or None,
            encoder,
            steps=config.steps,
            beam=config.beam,
            find=lambda base: weights.find(base, settings.home, allow=weights.CONFIG_AND_TOKENIZER),
            device=settings.device,
        )
    return corrected(hypothesizer, Corrector.load(ours, settings.device), config) if ours else hypothesizer


def corrected(hypothesizer: Inverter, corrector: Corrector, config: SpaceConfig) -> CorrectedInverter:
    """An inverter with a corrector of ours on top, trying as many texts as the space says."""
    if isinstance(hypothesizer, OurInverter):
        hypothesizer = copy(hypothesizer)
        hypothesizer.candidates = config.hypotheses
    return CorrectedInverter(hypothesizer, corrector, config.steps, config.corrections)
