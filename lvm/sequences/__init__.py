"""Training sequences: windows of consecutive vectors, with document-disjoint splits, in one file."""

from lvm.sequences.export import export_npz
from lvm.sequences.rows import CheckedRows, ChosenRows
from lvm.sequences.sequence_set import BrokenSequence, SequenceSet, extract, first_windows, load, still_there
from lvm.sequences.split import SPLITS, NotEnoughDocuments, Split, only_test_split, split_documents

__all__ = [
    "SPLITS",
    "BrokenSequence",
    "CheckedRows",
    "ChosenRows",
    "NotEnoughDocuments",
    "SequenceSet",
    "Split",
    "export_npz",
    "extract",
    "first_windows",
    "load",
    "only_test_split",
    "split_documents",
    "still_there",
]
