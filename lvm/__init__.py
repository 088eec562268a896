"""Latent vector models: text to vectors, vectors to predictions, predictions to text, on one encoding path."""

import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    __version__ = version("lvm")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"


@functools.cache
def code_version() -> str:
    """Version and a digest of this project's code: what a retry asks before it reuses what other code made."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for folder in (root, root.parent / "flows"):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(root.parent).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"
