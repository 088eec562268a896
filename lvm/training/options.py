"""Hyperparameters of trainings: from what a user gave, by name, to one configuration for each architecture.

Contract: a name is a field of ``TrainConfig`` or a hyperparameter of an architecture. Options have names on top, and
may have a table of names for an architecture, which counts for it alone:

    learning_rate = 5e-4
    hidden = 512
    [gru]
    hidden = 640

The entries of a table ``hyper`` are as if they stood on top. All values are checked here, before anything starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lvm import options as by_name
from lvm.models import MODELS, Head, ImpossibleModel, build, hyperparameters
from lvm.options import BadConfig
from lvm.training.config import TrainConfig

FIXED = {"device": "--device or LVM_DEVICE", "seed": "LVM_SEED", "replicas": "LVM_REPLICAS"}
"""Fields of ``TrainConfig`` that the settings decide, and how they are set."""

MOST_WEIGHTS = 2**30
"""Largest number of weights of a model: with gradients and AdamW's state, 16 GB."""

_DIM, _CONTEXT = 384, 5  # of the default space; a count of weights needs some

Options = Mapping[str, Any]


def configured(
    names: Sequence[str],
    options: Options,
    start: TrainConfig | None = None,
    fixed: Mapping[str, str] = FIXED,
) -> dict[str, TrainConfig]:
    """The configuration of every architecture.

    A hyperparameter on top counts for the architectures that have it; one of ``names`` must. Tables of architectures
    that are not in ``names`` are checked and count for nothing.

    Args:
        names: architectures to train.
        options: values by name, with tables; see above.
        start: what it starts from; the defaults unless given.
        fixed: names that may not be set, and how they are set instead.

    Returns:
        A configuration for each of ``names``.

    Raises:
        BadConfig: if a name does not exist or may not be set, or a value is impossible.
        UnknownModel: if an architecture does not exist.
    """
    start = start or TrainConfig()
    general, tables = _split(options)
    for name, value in general.items():
        if isinstance(value, Mapping):
            raise BadConfig(f"there is no model {name!r} to have a table; there is {', '.join(MODELS)}")
        _type_of(name, names, fixed)
    found = {}
    for model in dict.fromkeys([*names, *tables]):
        own = tables.get(model, {})
        for name in own:
            _type_of(name, [model], fixed)
        given = {**_known(general, model), **own} if model in names else own
        values = {
            name: by_name.value_of(name, value, _FIELDS[name]) for name, value in given.items() if name in _FIELDS
        }
        hyper = {**start.hyper, **{name: value for name, value in given.items() if name not in _FIELDS}}
        found[model] = replace(start, **values, hyper=_possible(model, hyper, values.get("head", start.head)))
    return {name: found[name] for name in names}


def from_command_line(
    names: Sequence[str], texts: Sequence[str] = (), file: Path | None = None, **named: Any
) -> dict[str, Any]:
    """The options of a command. ``--set`` and options with a name of their own win over the file.

    Args:
        names: architectures to train.
        texts: what was given to ``--set``: ``NAME=VALUE``, or ``MODEL.NAME=VALUE`` for one architecture.
        file: a TOML file.
        **named: values of options with a name of their own; None for one that was not given.

    Returns:
        Options for ``configured``: fields of ``TrainConfig``, and a table ``hyper`` of everything else.

    Raises:
        BadConfig: if a text or the file cannot be understood, a value is given twice, or ``configured`` refuses one.
        UnknownModel: if an architecture does not exist.
    """
    given: dict[str, Any] = {}
    for key, text in by_name.assignments(texts).items():
        model, _, name = key.rpartition(".")
        if model and model not in MODELS:
            raise BadConfig(f"--set {key}: there is no model {model!r}; there is {', '.join(MODELS)}")
        if name in ("hyper", *MODELS):
            raise BadConfig(f"--set {key}: {name} is no value; write --set hidden=512, or --set gru.hidden=512")
        value = by_name.parsed(key, text, _type_of(name, [model] if model else names, FIXED))
        if model:
            given.setdefault(model, {})[name] = value
        elif named.get(name) is not None:
            raise by_name.twice(name)
        else:
            given[name] = value
    typed = {**given, **{name: value for name, value in named.items() if value is not None}}
    general, tables = _split(_read(names, file)) if file else ({}, {})
    stronger, stronger_tables = _split(typed)
    tables = {model: {k: v for k, v in table.items() if k not in stronger} for model, table in tables.items()}
    for model, table in stronger_tables.items():
        tables[model] = {**tables.get(model, {}), **table}
    merged = {**general, **stronger, **{model: table for model, table in tables.items() if table}}
    configured(names, merged)
    hyper = {name: value for name, value in merged.items() if name not in _FIELDS}
    return {name: value for name, value in merged.items() if name in _FIELDS} | ({"hyper": hyper} if hyper else {})


def names_of(models: Iterable[str], fixed: Mapping[str, str] = FIXED) -> list[str]:
    """Names of all hyperparameters that can be set for architectures.

    Args:
        models: the architectures.
        fixed: names that may not be set.
    """
    own = [name for model in models for name in _hyper(model)]
    return list(dict.fromkeys([*(name for name in _FIELDS if name not in fixed), *own]))


_FIELDS = {name: kind for name, kind in by_name.types_of(TrainConfig).items() if name != "hyper"}


def _read(names: Sequence[str], file: Path) -> Options:
    """A TOML file, checked by itself so that an error names it."""
    options = by_name.read_toml(file)
    try:
        configured(names, options)
    except BadConfig as error:
        raise BadConfig(f"{file}: {error}") from error
    return options


def _split(options: Options) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What is on top, and the tables of architectures. The entries of a table ``hyper`` go on top."""
    for name in ("hyper", *MODELS):
        if not isinstance(options.get(name, {}), Mapping):
            raise BadConfig(
                f"{name} is {options[name]!r}; it must be a table of hyperparameters, e.g. [{name}] hidden = 512"
            )
    general = {name: value for name, value in options.items() if name not in ("hyper", *MODELS)}
    tables = {name: dict(options[name]) for name in MODELS if name in options}
    if "hyper" in options:
        more, more_tables = _split(options["hyper"])
        for name in [*(general.keys() & more.keys()), *(tables.keys() & more_tables.keys())]:
            raise BadConfig(f"{name} is given twice, once of them in hyper; leave one of them out")
        general, tables = general | more, tables | more_tables
    return general, tables


def _type_of(name: str, models: Sequence[str], fixed: Mapping[str, str]) -> Any:
    """Type of a hyperparameter of one of the architectures.

    Raises:
        BadConfig: if none of them has it, or it may not be set.
    """
    if name in fixed:
        raise by_name.not_here(name, fixed)
    if name in _FIELDS:
        return _FIELDS[name]
    for model in models:
        if name in _hyper(model):
            return type(_hyper(model)[name])
    having = [model for model in MODELS if name in _hyper(model)]
    if having:
        raise BadConfig(
            f"{name} is a hyperparameter of {', '.join(having)}, and of no model that is trained here; set it for one "
            f"alone: --set {having[0]}.{name}=..., or a table [{having[0]}] in the file"
        )
    raise by_name.unknown(name, names_of(models, fixed), f" of {', '.join(models)}")


def _known(general: Options, model: str) -> dict[str, Any]:
    """The options on top that an architecture has."""
    return {name: value for name, value in general.items() if name in _FIELDS or name in _hyper(model)}


def _hyper(model: str) -> dict[str, Any]:
    """Hyperparameters of an architecture and of its sampling head, with their defaults."""
    return hyperparameters(model, "energy")


def _possible(model: str, hyper: dict[str, Any], head: Head) -> dict[str, Any]:
    """The hyperparameters of an architecture with a head, if they make a network.

    Raises:
        BadConfig: if they do not.
    """
    defaults = hyperparameters(model, head)
    for name in hyper:
        if name not in defaults:
            raise by_name.unknown(name, defaults, f" of {model} with the head {head}")
    values = {name: by_name.value_of(name, value, type(defaults[name])) for name, value in hyper.items()}
    try:
        with torch.device("meta"):  # no memory is used
            network = build(model, _DIM, _CONTEXT, head, **values)
    except ImpossibleModel as error:
        raise BadConfig(str(error)) from error
    weights = sum(each.numel() for each in network.parameters())
    if weights > MOST_WEIGHTS:
        sizes = ", ".join(f"{name} {value}" for name, value in values.items())
        raise BadConfig(f"{model} with {sizes} has {weights:,} weights; at most {MOST_WEIGHTS:,} are possible")
    return values
