"""The front of a search that is only looked at: read from its journal, without its model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.architecture import (
    Architecture,
    Workload,
    family_named,
    is_whole,
    listed_architectures,
)
from ..core.front import Front
from ..core.schedule import MOST_STEPS
from ..core.schedule_json import LONGEST_NAME
from ..errors import EcadError, JournalError, ModelMismatchError
from ..json_files import printable
from .journal import Journal
from .search import Search
from .settings import SearchSettings

SUFFIX = ".jsonl"
MOST_SAMPLES = 10**8
MOST_SCORERS = 100


class RecordedJournal(Journal):
    """A journal to look at: nothing is written, and any search may read it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, readonly=True)
        if self.header is None:
            raise JournalError(f"The journal '{path}' is empty; its search has not begun.")
        identity = self.header.get("identity")
        self.identity = dict(identity) if isinstance(identity, Mapping) else {}

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
        _check_numbers(header)
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
        reason = printable(f"{type(error).__name__}: {error}")[:300]
        raise JournalError(
            f"The header of '{path}' cannot be read ({reason}). Update "
            "ComfyUI-ECAD, or use the front file beside the journal."
        ) from error


def _check_numbers(header: Mapping[str, Any]) -> None:
    """ValueError for a search of a size that never was, and would take all memory."""
    for name, lowest, largest in (
        ("steps", 2, MOST_STEPS),
        ("samples", 2, MOST_SAMPLES),
        ("scorers", 1, MOST_SCORERS),
    ):
        value = header.get(name, 1) if name == "scorers" else header[name]
        if not is_whole(value) or not lowest <= value <= largest:
            raise ValueError(f"'{name}' is {value!r:.60}")
    id = header["architecture"]["id"]
    if not isinstance(id, str) or not id or not id.isprintable() or len(id) > LONGEST_NAME:
        raise ValueError(f"'id' is {id!r:.60}")


def recorded_front(path: Path) -> Front:
    """The front as the journal has it; from the file beside it when that says the same.

    That file tells more of the model and the sampling, but a killed search may have left it behind.
    """
    search = recorded_search(path)
    front = search.front
    try:
        saved = Front.load(front_beside(path))
    except EcadError:
        return front
    known = (front.content, search.confirmed_front.content)  # of one that goes on, or has finished
    return saved if saved.content in known else front


def _architecture(fields: Mapping[str, Any]) -> Architecture:
    for architecture in listed_architectures():
        if architecture.id == fields["id"] and architecture.counts == fields["counts"]:
            return architecture
    family = family_named(fields["family"])
    return family.build(fields["counts"], id=fields["id"], **fields["size"])
