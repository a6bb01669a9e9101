"""Which schedules there are: the ones that come with the pack and the user's own, by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .core import schedule_json
from .core.cost import relative_cost
from .core.schedule import Schedule
from .errors import StorageError
from .file_names import LONGEST_NAME, followed, wrong_with

USER_PREFIX = "my/"
SUFFIX = ".json"


class ScheduleLibrary:
    """Schedules by name: "pixart/fora-2-20-steps" is built in, "my/..." is the user's.

    The first of several user folders wins. Folders are read on every call, so that a file saved a
    second ago is there; files are only parsed by `load`.
    """

    def __init__(self, builtin: Path, user: Path | Sequence[Path] = ()) -> None:
        self.builtin = Path(builtin)
        folders = [user] if isinstance(user, (str, os.PathLike)) else user
        self.user = tuple(Path(folder) for folder in folders)

    def names(self) -> list[str]:
        """All names, the built-in ones first; a broken file is listed too and fails in `load`."""
        builtin = {
            name
            for name in _names_in(self.builtin)
            if "/" in name and not name.startswith(USER_PREFIX)
        }
        own = {USER_PREFIX + name for folder in self.user for name in _names_in(folder)}
        return [*sorted(builtin), *sorted(own)]

    def path(self, name: str) -> Path:
        """Where a schedule's file is; StorageError if there is none of that name."""
        if name.startswith(USER_PREFIX):
            folders, rest = self.user, name.removeprefix(USER_PREFIX)
        else:
            folders, rest = (self.builtin,), name
        for folder in folders:
            file = _inside(folder, rest)
            if file.is_file():
                return file
        raise StorageError(
            f"There is no schedule {name!r}; expected one of the {len(self.names())} in the list. "
            "Refresh the list, or copy the file into the schedules folder."
        )

    def load(self, name: str) -> Schedule:
        return schedule_json.load(self.path(name))

    def save(
        self, schedule: Schedule, name: str, folder: Path | None = None, *, overwrite: bool = False
    ) -> Path:
        """Write a schedule into `folder`, or the first user folder; `name` may start with "my/"."""
        if folder is None:
            if not self.user:
                raise StorageError(
                    f"The schedule {name!r} cannot be saved, since no user folder is known; "
                    "give a folder."
                )
            folder = self.user[0]
        file = _inside(Path(folder), name.removeprefix(USER_PREFIX))
        if not overwrite and os.path.lexists(file):
            raise StorageError(f"{file} exists already; choose another name, or allow overwriting.")
        schedule_json.save(schedule, file)
        return file


class SpokenName(NamedTuple):
    """A schedule as a list shows it: whose it is, and what it does."""

    model: str
    words: str

    def __str__(self) -> str:
        return " - ".join(self)


def spoken_name(name: str, schedule: Schedule) -> SpokenName:
    """For "pixart/fora-2-20-steps": "PixArt-alpha / Sigma - FORA every 2 - 20 steps".

    A file of the user's keeps the name that the user gave it, with its speed-up in MACs.
    """
    if name.startswith(USER_PREFIX):
        what = f"{name.removeprefix(USER_PREFIX)} - {_speedup(schedule)}"
    else:
        what = _made_by(schedule) or name.rpartition("/")[2]
    return SpokenName(schedule.architecture.display_name, f"{what} - {schedule.steps} steps")


def _made_by(schedule: Schedule) -> str:
    """How a schedule was found, by the provenance in its file; nothing if that does not say."""
    origin = part(schedule.info, "provenance")
    settings = part(origin, "settings")
    preset, every = origin.get("preset"), settings.get("every")
    if preset == "fora" and every:
        return f"FORA every {every}"
    if preset == "fora_attention" and every:
        return f"FORA every {every}, attention only"
    if preset == "tgate" and "gate_step" in settings:
        return f"T-GATE from step {settings['gate_step']}"
    return f"ECAD {_speedup(schedule)}" if origin.get("search") else ""


def _speedup(schedule: Schedule) -> str:
    """Times fewer multiply-accumulates, at the model's usual size."""
    return f"{1 / relative_cost(schedule, schedule.architecture.native_workload()):.1f}x"


def part(info: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object within what a schedule's file says; an empty one where it says something else."""
    found = info.get(name)
    return found if isinstance(found, Mapping) else {}


def _inside(folder: Path, name: str) -> Path:
    """The file of a name, which must not lead out of the folder, on any system."""
    parts = name.removesuffix(SUFFIX).split("/")
    for part in parts:
        wrong = wrong_with(part)
        if wrong:
            raise StorageError(
                f"The schedule name {name[:80]!r} {wrong}; "
                "expected words like 'fast' or 'flux/fast'."
            )
    if len(name) > LONGEST_NAME:
        raise StorageError(
            f"The schedule name {name[:80]!r}... has {len(name)} characters; expected at most "
            f"{LONGEST_NAME}."
        )
    file = folder.joinpath(*parts[:-1], parts[-1] + SUFFIX)
    followed(folder, file, name=name, described=str(folder))
    return file


def _names_in(folder: Path) -> Iterator[str]:
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not wrong_with(name)]
        for file in files:
            stem, suffix = file[: -len(SUFFIX)], file[-len(SUFFIX) :]
            if suffix == SUFFIX and not wrong_with(stem):
                yield "/".join((*Path(at).relative_to(folder).parts, stem))
