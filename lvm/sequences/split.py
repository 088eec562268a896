"""Which documents are for training, validation and testing.

Contract: decided by whole documents, so that no text is on two sides, and by content hash, so that the
same document falls on the same side on every machine and however much is ingested around it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Literal, Protocol, get_args

from lvm.errors import LvmError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

TEST_SHARE = 0.10
VALIDATION_SHARE = 0.08


class NotEnoughDocuments(LvmError):
    """Too few documents are long enough to fill three splits that share none."""


class SplitDocument(Protocol):
    """What a split needs to know of a document (``lvm.store.DocumentRow`` is one)."""

    @property
    def sha256(self) -> str: ...
    @property
    def chunk_count(self) -> int: ...


def split_documents(documents: Sequence[SplitDocument], inverter_saw: Collection[str], context: int) -> list[Split]:
    """Assign each document to a split.

    The test set is what the inverter was not trained on, so that decoding is judged on text that is new
    to both models. Where it saw nothing (a user's own corpus) or where most is new to it, a tenth by
    hash (of what is new, if anything is) is taken instead. Validation is about 8 % of the rest by hash.

    Args:
        documents: the documents; those of at most ``context`` chunks have no window but are split too.
        inverter_saw: ``sha256`` of the documents the space's inverter was trained on.
        context: vectors in a window before its target.

    Raises:
        NotEnoughDocuments: if fewer than three documents have a window.
    """
    windowed = [i for i, d in enumerate(documents) if d.chunk_count > context]
    if len(windowed) < 3:
        raise NotEnoughDocuments(
            f"{len(windowed)} of {len(documents)} documents have more than {context} chunks, and training, "
            "validation and test need at least one each; ingest more or longer documents, or ask for a "
            "shorter --context"
        )
    known = set(inverter_saw)
    fresh = [i for i, d in enumerate(documents) if d.sha256 not in known]
    fresh_windowed = set(fresh) & set(windowed)
    if fresh_windowed and len(fresh) <= len(documents) / 2 and len(windowed) - len(fresh_windowed) >= 2:
        test = set(fresh)
    else:
        among = fresh if fresh_windowed else list(range(len(documents)))
        test = _share(documents, among, windowed, TEST_SHARE, "test", leave=2)
    rest = [i for i in range(len(documents)) if i not in test]
    windowed = [i for i in windowed if i not in test]
    validation = _share(documents, rest, windowed, VALIDATION_SHARE, "validation", leave=1)
    return ["test" if i in test else "validation" if i in validation else "train" for i in range(len(documents))]


def _share(
    documents: Sequence[SplitDocument],
    among: Sequence[int],
    windowed: Sequence[int],
    share: float,
    salt: str,
    leave: int,
) -> set[int]:
    """Those of ``among`` whose hash falls into ``share``; at least one with windows, ``leave`` of them spared."""

    def place(i: int) -> float:
        digest = hashlib.sha256(f"{salt}:{documents[i].sha256}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    chosen = {i for i in among if place(i) < share}
    ranked = sorted(set(among) & set(windowed), key=place)
    wanted = min(max(1, len(chosen & set(ranked))), len(windowed) - leave)
    return (chosen - set(ranked)) | set(ranked[:wanted])
