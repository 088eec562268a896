"""Training sequences: windows of consecutive vectors, with document-disjoint splits, in one file."""

from lvm.sequences.export import export_npz
from lvm.sequences.sequence_set import BrokenSequence, SequenceSet, extract, load
from lvm.sequences.split import SPLITS, NotEnoughDocuments, Split, only_test_split, split_documents

__all__ = [
    "SPLITS",
    "BrokenSequence",
    "NotEnoughDocuments",
    "SequenceSet",
    "Split",
    "export_npz",
    "extract",
    "load",
    "only_test_split",
    "split_documents",
]
