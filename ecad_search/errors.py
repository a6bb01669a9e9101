"""Every error a user can meet, as one tree.

    EcadError
    ├── ScheduleError        a schedule or schedule file is broken or impossible
    ├── ModelMismatchError   a schedule does not fit the model it is put on
    ├── PromptSetError       a prompt file or calibration set cannot be used
    ├── ScorerError          a scorer cannot be loaded or returned no usable number
    │   └── MissingPackageError  an optional package is not installed
    ├── JournalError         a journal is broken, busy, or belongs to another search
    ├── SearchError          a search cannot start or go on
    └── StorageError         a file or folder cannot be read or written

A message is one sentence: what is wrong, what was got, what was expected, what to do.
"""

from __future__ import annotations


class EcadError(Exception):
    """Base of all errors this pack raises on purpose."""


class ScheduleError(EcadError):
    """A schedule or schedule file is broken or impossible."""


class ModelMismatchError(EcadError):
    """A schedule does not fit the model it is put on."""


class PromptSetError(EcadError):
    """A prompt file or calibration set cannot be used."""


class ScorerError(EcadError):
    """A scorer cannot be loaded, or returned no usable number."""


class MissingPackageError(ScorerError):
    """An optional package is not installed."""


class JournalError(EcadError):
    """A journal is broken, busy, or belongs to another search."""


class SearchError(EcadError):
    """A search cannot start or go on."""


class StorageError(EcadError):
    """A file or folder cannot be read or written."""
