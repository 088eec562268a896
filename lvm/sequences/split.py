"""Split documents into training, validation and test.

Contract: a document is in one split as a whole, so no text is in two splits. The hash of its content decides, so a
document is in the same split on every machine and next to any other documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from lvm.errors import LvmError

if TYPE_CHECKING:
    from lvm.store import StoredDocument

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

TEST_SHARE = 0.10
VALIDATION_SHARE = 0.08


class NotEnoughDocuments(LvmError):
    """Fewer than three documents are long enough for a window, so three disjoint splits are impossible."""


def split_documents(
    documents: Sequence[StoredDocument], trained_documents: Collection[str], context: int
) -> list[Split]:
    """Assign every document to a split.

    The test split has the documents that the inverter was not trained on, so that decoding is measured on text that is
    new to LVM and inverter. If these are more than half of all documents, or fewer than two other documents have a
    window, the test split is a tenth of them by hash. If none of them has a window, the test split is a tenth of all
    documents by hash. The validation split is about 8 % of the other documents by hash. Every split gets at least one
    document with a window.

    Args:
        documents: the documents. Those of at most ``context`` chunks have no window, but are assigned too.
        trained_documents: ``sha256`` of the documents that the inverter was trained on.
        context: vectors in a window before the target.

    Returns:
        The split of every document, in order.

    Raises:
        NotEnoughDocuments: if fewer than three documents have a window.
    """
    windowed = [i for i, d in enumerate(documents) if d.chunk_count > context]
    if len(windowed) < 3:
        raise NotEnoughDocuments(
            f"{len(windowed)} of {len(documents)} documents have more than {context} chunks, but training, "
            "validation and test need one document each; ingest more or longer documents (a book as a file a chapter), "
            "or use a shorter --context"
        )
    known = set(trained_documents)
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


def only_test_split(documents: Sequence[StoredDocument], context: int) -> list[Split]:
    """Assign every document to the test split, for a corpus that models are only measured on.

    Args:
        documents: the documents.
        context: vectors in a window before the target.

    Raises:
        NotEnoughDocuments: if no document has a window.
    """
    if not any(document.chunk_count > context for document in documents):
        raise NotEnoughDocuments(
            f"none of {len(documents)} documents has more than {context} chunks, so there is nothing to predict; "
            "name longer documents, or use a shorter --context"
        )
    return ["test"] * len(documents)


def _share(
    documents: Sequence[StoredDocument],
    among: Sequence[int],
    windowed: Sequence[int],
    share: float,
    salt: str,
    leave: int,
) -> set[int]:
    """A share of documents, chosen by hash.

    Args:
        documents: all documents.
        among: indices to choose from.
        windowed: indices of the documents with a window that are not in another split.
        share: share of ``among`` to choose, 0 to 1.
        salt: makes the hashes of different splits independent.
        leave: number of documents with a window that must remain for other splits.

    Returns:
        Chosen indices, with at least one document with a window.
    """

    def place(i: int) -> float:
        digest = hashlib.sha256(f"{salt}:{documents[i].sha256}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    chosen = {i for i in among if place(i) < share}
    ranked = sorted(set(among) & set(windowed), key=place)
    wanted = min(max(1, len(chosen & set(ranked))), len(windowed) - leave)
    return (chosen - set(ranked)) | set(ranked[:wanted])
