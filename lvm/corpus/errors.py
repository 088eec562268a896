"""What can be wrong with a source."""

from __future__ import annotations

from lvm.errors import UsageError


class SourceNotFound(UsageError):
    """The source does not exist."""


class SourceUnreadable(UsageError):
    """The source exists but cannot be read."""


class NoSuchColumn(UsageError):
    """The source has no such column, or has no columns."""


class NothingUsable(UsageError):
    """No document of the source can be used."""


class InvalidLimit(UsageError):
    """A limit of documents below 1."""
