"""The journal: an append-only file of JSON lines that is all a search has to remember.

Line 1 is the header (format, settings, what is searched); every later line is one record. Each
line is on the disk before the search goes on, so a search killed anywhere resumes where it was.
No line holds a time: the same search always writes the same bytes. Seconds go to `<name>.times`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import JournalError, StorageError
from ..json_files import parsed, printable
from .lock import LockFile
from .settings import SearchSettings

FORMAT = "ecad-journal"
VERSION = 1
HEADER_START = b'{"format":"ecad-journal"'
LONGEST_SECONDS = 1e9  # of one evaluation; what is longer was never measured
MOST_DIFFERENCES = 8  # that a message names

log = logging.getLogger(__name__)


def encode_line(record: Mapping[str, Any]) -> bytes:
    """One record as the bytes of one line; the order of its fields is kept."""
    text = json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def _as_read_back(value: Any) -> Any:
    """`value` as it comes out of JSON, so that a tuple equals the list it was written as."""
    return json.loads(json.dumps(value))


def _differences(found: Any, wanted: Any, field: str = "") -> list[str]:
    """'field a in the file, b here' for every leaf in which two JSON values differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        lines: list[str] = []
        for key in [*found, *(key for key in wanted if key not in found)]:
            inner = f"{field}.{printable(key)}" if field else printable(key)
            lines += _differences(found.get(key), wanted.get(key), inner)
            if key not in wanted and found[key] is None:
                lines.append(f"{inner} is null in the file and unknown here")
        return lines
    if found == wanted and isinstance(found, bool) == isinstance(wanted, bool):
        return []
    return [f"{field} is {_shown(found)} in the file and {_shown(wanted)} here"]


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _parse(content: bytes, path: Path) -> tuple[list[dict[str, Any]], bytes]:
    """The records of the complete lines, and the bytes of a torn last line."""
    end = content.rfind(b"\n") + 1
    torn = content[end:]
    lines = content[:end].split(b"\n")[:-1]
    if not lines and torn[: len(HEADER_START)] != HEADER_START[: len(torn)]:
        raise _not_a_journal(path)
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = parsed(line.decode("utf-8"))
        except ValueError:
            record = None
        if number == 1 and (not isinstance(record, dict) or record.get("format") != FORMAT):
            raise _not_a_journal(path)
        if not isinstance(record, dict):
            if number == len(lines):  # the power went while the line was on its way to the disk
                return records, line + b"\n" + torn
            raise JournalError(
                f"Line {number} of '{path}' is not a journal record (it starts with "
                f"{line[:40]!r}, expected a JSON object). Restore the file from a backup, or cut "
                f"it off before line {number} to go on from there."
            )
        records.append(record)
    return records, torn


def _not_a_journal(path: Path) -> JournalError:
    return JournalError(
        f"'{path}' is not a search journal: it does not start with an '{FORMAT}' header. "
        "Choose another file, or a journal written by this pack."
    )


def _storage_error(path: Path, doing: str, error: OSError | ValueError) -> StorageError:
    reason = getattr(error, "strerror", None) or error
    return StorageError(
        f"The journal '{printable(str(path))}' cannot be {doing} ({reason}). "
        "Check the folder and the free space; the search resumes from what is there."
    )


class Journal:
    """The records of one search, on the disk (or in memory, when `path` is None).

    `identity` is what the caller knows about the search and this library does not: the model's
    fingerprint, the calibration's hash, the scorers' names. Any JSON mapping; it must agree when
    the journal is opened again. Opening takes the lock; `close`, or leaving a `with`, frees it.
    A torn last line is set aside by `repair`, or when the next one is written, not before: a
    journal that turns out to be of another search stays as it was. A `readonly` journal takes no
    lock, repairs nothing and cannot be appended to.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        identity: Mapping[str, Any] | None = None,
        *,
        readonly: bool = False,
    ) -> None:
        self.path = Path(path) if path is not None else None
        self.identity = dict(_as_read_back(dict(identity or {})))
        self.readonly = readonly
        self.messages: list[str] = []
        self.header: dict[str, Any] | None = None
        self.records: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._lock: LockFile | None = None
        self._broken = False
        self.torn = b""  # what stands behind the last whole line
        if self.path is None:
            return
        if not readonly:
            self._create_folder(self.path.parent)
            lock = LockFile(self.path.with_name(self.path.name + ".lock"), subject=str(self.path))
            lock.acquire()
            self._lock = lock
        try:
            self._load(self.path)
        except BaseException:
            self.close()
            raise

    @property
    def times_path(self) -> Path | None:
        """Where the seconds go: they differ from run to run, so they stay out of the journal."""
        return self.path and self.path.with_name(self.path.name + ".times")

    def begin(self, fields: Mapping[str, Any]) -> None:
        """Write the header of a new journal, or check that this one belongs to the same search."""
        wanted = {
            "format": FORMAT,
            "version": VERSION,
            **_as_read_back(dict(fields)),
            "identity": self.identity,
        }
        if self.header is None:
            self._write(wanted)
            self.header = wanted
            return
        differences = _differences(self.header, wanted)
        if differences:
            named = differences[:MOST_DIFFERENCES]
            if len(differences) > len(named):
                named.append(f"and {len(differences) - len(named)} more")
            raise JournalError(
                f"'{self.path}' belongs to another search: {'; '.join(named)}. "
                "Use another journal file, or the same settings to resume."
            )

    def was_begun_with(self, settings: SearchSettings) -> bool:
        """Whether a search of the same course began it; False where none has begun."""
        return self.header is not None and self.header.get("settings_hash") == settings.hash

    def append(self, record: Mapping[str, Any], *, seconds: float | None = None) -> None:
        """Add one record; it is on the disk when this returns."""
        if self.header is None:
            raise JournalError(
                f"'{self.path}' has no header yet. Start the search before adding records."
            )
        self._write(record)
        self.records.append(dict(_as_read_back(dict(record))))
        if seconds is not None:
            self.seconds += seconds
            self._note_seconds(seconds)

    def close(self) -> None:
        """Free the lock. What was appended stays."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            self._broken = True  # without the lock nothing may be written any more

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @staticmethod
    def _create_folder(folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The folder '{folder}' for the journal cannot be made "
                f"({error.strerror or error}). Choose another folder."
            ) from error

    def _load(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if self.readonly:
                raise JournalError(
                    f"There is no journal '{path}'. Start a search, or choose another file."
                ) from None
            return
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            raise _storage_error(path, "read", error) from error
        records, torn = _parse(content, path)
        self.torn = torn
        if not records:
            return
        self.header, *self.records = records
        version = self.header.get("version")
        if version != VERSION or not isinstance(version, int):
            raise JournalError(
                f"'{path}' is a journal of version {_shown(version)}, this pack reads "
                f"version {VERSION}. Update ComfyUI-ECAD, or choose another journal file."
            )
        self.seconds = self._read_seconds()

    def repair(self) -> None:
        """Keep a torn last line in a file of its own, and cut it off."""
        if self.torn and self.path is not None and not self.readonly:
            self._set_aside(self.path, self.torn)
            self.torn = b""

    def _set_aside(self, path: Path, torn: bytes) -> None:
        aside = path.with_name(path.name + ".torn")
        try:
            with open(aside, "ab") as file:
                file.write(torn.rstrip(b"\n") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            with open(path, "r+b") as file:
                if not path.read_bytes().endswith(torn):
                    raise OSError("another program has changed it")
                file.truncate(path.stat().st_size - len(torn))
                os.fsync(file.fileno())
        except OSError as error:
            raise _storage_error(path, "repaired", error) from error
        message = (
            f"The last line of '{path}' was torn (the search was killed while writing it); its "
            f"{len(torn)} bytes are kept in '{aside}' and that one evaluation is repeated."
        )
        self.messages.append(message)
        log.warning(message)

    def _write(self, record: Mapping[str, Any]) -> None:
        line = encode_line(record)
        if self.path is None:
            return
        if self.readonly or self._broken:
            raise JournalError(
                f"'{self.path}' is open for reading only, or was closed. "
                "Open the journal again to go on with the search."
            )
        self.repair()
        is_new = not self.path.exists()
        try:
            with open(self.path, "ab") as file:
                before = file.tell()
                try:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                except BaseException:
                    # A half line must not stand before the next one.
                    with contextlib.suppress(OSError):
                        file.truncate(before)
                    raise
        except OSError as error:
            self._broken = True
            raise _storage_error(self.path, "written", error) from error
        except BaseException:
            self._broken = True
            raise
        if is_new:
            self._sync_folder(self.path.parent)

    @staticmethod
    def _sync_folder(folder: Path) -> None:
        """Make the new file's name durable, where folders can be synced (not on Windows)."""
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _note_seconds(self, seconds: float) -> None:
        if self.times_path is None:
            return
        # Only progress and ETA read these: losing one is no reason to stop a search.
        with contextlib.suppress(OSError), open(self.times_path, "ab") as file:
            file.write(encode_line({"record": len(self.records), "seconds": round(seconds, 3)}))

    def _read_seconds(self) -> float:
        total = 0.0
        if self.times_path is not None and self.times_path.exists():
            with contextlib.suppress(OSError):
                for line in self.times_path.read_bytes().splitlines():
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        seconds = parsed(line.decode("utf-8"))["seconds"]
                        if 0 <= seconds <= LONGEST_SECONDS:
                            total += seconds
        return total
