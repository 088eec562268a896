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


def split_documents(
    documents: Sequence[SplitDocument], inverter_saw: Collection[str], context: int
) -> list[Split]:
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
    if 0 < len(fresh) <= len(documents) / 2 and set(fresh) & set(windowed):
        test = set(fresh)
    else:
        test = _share(documents, fresh or range(len(documents)), windowed, TEST_SHARE, "test")
    rest = [i for i in range(len(documents)) if i not in test]
    validation = _share(documents, rest, windowed, VALIDATION_SHARE, "validation")
    splits: list[Split] = [
        "test" if i in test else "validation" if i in validation else "train" for i in range(len(documents))
    ]
    if not any(splits[i] == "train" for i in windowed):
        raise NotEnoughDocuments(
            "no document long enough for a window is left to train on; ingest more documents or ask for a "
            "shorter --context"
        )
    return splits


def _share(
    documents: Sequence[SplitDocument], among: Collection[int], windowed: list[int], share: float, salt: str
) -> set[int]:
    """Those whose hash falls into ``share``; if that holds no window, the one of smallest hash too."""

    def place(i: int) -> float:
        digest = hashlib.sha256(f"{salt}:{documents[i].sha256}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    chosen = {i for i in among if place(i) < share}
    candidates = set(among) & set(windowed)
    if not chosen & candidates and candidates:
        chosen.add(min(candidates, key=place))
    return chosen
