"""The front of a search that is only looked at: read from its journal, without its model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.architecture import Architecture, Workload, family_named, listed_architectures
from ..core.front import Front
from ..errors import EcadError, JournalError, ModelMismatchError
from .journal import Journal
from .search import Search
from .settings import SearchSettings

SUFFIX = ".jsonl"


class RecordedJournal(Journal):
    """A journal to look at: nothing is written, and any search may read it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, readonly=True)
        if self.header is None:
            raise JournalError(f"The journal '{path}' is empty; its search has not begun.")
        self.identity = dict(self.header.get("identity") or {})

    def begin(self, fields: Mapping[str, Any]) -> None:
        """Whose it is stands in its own header."""


def front_beside(journal: Path) -> Path:
    """Where ECAD Search keeps the front of a journal: 'mine.jsonl' -> 'mine.front.json'."""
    return journal.with_name(journal.name.removesuffix(SUFFIX) + ".front.json")


def recorded_search(path: str | os.PathLike[str]) -> Search:
    """The search as its journal tells it, to read `front` and `progress` from."""
    journal = RecordedJournal(path)
    header = journal.header or {}
    try:
        samples = header["samples"]
        settings = {**header["settings"], "images": 10**9}  # budgets are not in a journal
        return Search(
            SearchSettings.from_json(settings),
            _architecture(header["architecture"]),
            header["steps"],
            Workload(**header["workload"]),
            samples,
            journal,
            scorers=header.get("scorers", 1),
        )
    except (KeyError, TypeError, ValueError, ModelMismatchError) as error:
        raise JournalError(
            f"The header of '{path}' cannot be read ({type(error).__name__}: {error}). Update "
            "ComfyUI-ECAD, or use the front file beside the journal."
        ) from error


def recorded_front(path: Path) -> Front:
    """The front as the journal has it; from the file beside it when that says the same.

    That file tells more of the model and the sampling, but a killed search may have left it behind.
    """
    front = recorded_search(path).front
    try:
        saved = Front.load(front_beside(path))
    except EcadError:
        return front
    return saved if _keys(saved) == _keys(front) else front


def _keys(front: Front) -> list[str]:
    return [point.schedule.key for point in front]


def _architecture(fields: Mapping[str, Any]) -> Architecture:
    for architecture in listed_architectures():
        if architecture.id == fields["id"] and architecture.counts == fields["counts"]:
            return architecture
    family = family_named(fields["family"])
    return family.build(fields["counts"], id=fields["id"], **fields["size"])
