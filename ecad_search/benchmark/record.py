"""What a benchmark has measured so far, in a file that a killed run goes on from."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import JournalError, StorageError
from ..json_files import is_count, is_number, parsed, printable

FORMAT = "ecad-benchmark"
VERSION = 1


@dataclass(frozen=True)
class Measured:
    """One picture: a sample under a column. A `problem` says why it has no scores."""

    sample: int
    column: str
    seconds: float
    scores: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int | None = None
    problem: str = ""
    features: npt.NDArray[np.float32] | None = None

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {
            "sample": self.sample,
            "column": self.column,
            "seconds": self.seconds,
            "scores": dict(self.scores),
            "peak_bytes": self.peak_bytes,
            "problem": self.problem,
        }
        if self.features is not None:
            data = np.asarray(self.features, "<f4").tobytes()
            row["features"] = base64.b64encode(data).decode("ascii")
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Measured:
        """The inverse of `to_json`; ValueError, which names the field, for anything else."""
        scores, peak = row.get("scores"), row.get("peak_bytes")
        usable = {
            "sample": is_count(row.get("sample")),
            "column": isinstance(row.get("column"), str),
            "seconds": is_number(row.get("seconds")) and row["seconds"] > 0,
            "scores": isinstance(scores, Mapping) and all(map(is_number, scores.values())),
            "peak_bytes": peak is None or is_count(peak),
            "problem": isinstance(row.get("problem"), str),
        }
        for name, is_usable in usable.items():
            if not is_usable:
                raise ValueError(f"'{name}' is {_shown(row, name)}")
        return cls(
            sample=row["sample"],
            column=row["column"],
            seconds=float(row["seconds"]),
            scores={name: float(value) for name, value in row["scores"].items()},
            peak_bytes=peak,
            problem=row["problem"],
            features=_features(row),
        )


def _features(row: Mapping[str, Any]) -> npt.NDArray[np.float32] | None:
    text = row.get("features")
    if text is None:
        return None
    try:
        found = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
        usable = found.size > 0 and bool(np.isfinite(found).all())
    except (TypeError, ValueError, binascii.Error):
        usable, found = False, None
    if not usable:
        raise ValueError(f"'features' is {_shown(row, 'features')}")
    return found


def _shown(row: Mapping[str, Any], name: str) -> str:
    return json.dumps(row[name])[:60] if name in row else "missing"


class Record:
    """The file: a line that says what is measured, then one line for every picture.

    A sample counts when all its columns are there; what a killed run left of one is measured again.
    `count` is the number of samples there are, None if nobody knows.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        columns: Sequence[str],
        count: int | None = None,
    ):
        self.path = path
        self.count = count
        self.columns = tuple(columns)
        self.head = {
            "format": FORMAT,
            "version": VERSION,
            "identity": dict(identity),
            "columns": list(columns),
        }
        self.rows: dict[int, dict[str, Measured]] = {}
        first = json.dumps(self.head).encode("ascii") + b"\n"
        try:
            content = path.read_bytes() if path.is_file() else b""
            if first.startswith(content):  # no file, or one of a run killed at its first line
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(first)
            else:
                self.read(content)
        except OSError as error:
            raise self.cannot_write(error) from error

    def read(self, content: bytes) -> None:
        lines = content.split(b"\n")
        head = record_of(lines[0])
        if head is None or head.get("format") != FORMAT:
            raise JournalError(
                f"'{self.path.name}' is no record of a benchmark, expected one or no file; choose "
                "another name for this benchmark."
            )
        if head != json.loads(json.dumps(self.head)):
            raise JournalError(
                f"'{self.path.parent.name}' holds a benchmark of other settings "
                f"({self.difference(head)}), expected the same ones to go on with; choose another "
                "name, or delete that folder."
            )
        lengths: set[int] = set()
        for number, line in enumerate(lines[1:], start=2):
            row = record_of(line)  # None: the end of a line that a kill cut off
            if row is None:
                continue
            try:
                found = Measured.from_json(row)
            except ValueError as error:
                raise self.is_broken(number, str(error)) from error
            if found.features is not None:
                lengths.add(len(found.features))
            if len(lengths) > 1:
                raise self.is_broken(number, "it has another number of features than the others")
            if self.count is not None and found.sample >= self.count:
                raise self.is_broken(number, f"sample {found.sample} of {self.count}")
            self.keep(found)

    def is_broken(self, number: int, why: str) -> JournalError:
        return JournalError(
            f"Line {number} of '{self.path.name}' is no measurement ({why}), expected one as a "
            "benchmark writes it; delete that line to have the picture measured again, or choose "
            "another name for this benchmark."
        )

    def difference(self, head: Mapping[str, Any]) -> str:
        if head.get("version") != VERSION:
            return f"version {_shown(head, 'version')} of the format, not {VERSION}"
        if head.get("columns") != self.head["columns"]:
            theirs = head.get("columns")
            names = theirs if isinstance(theirs, list) else []
            return "other columns: " + ", ".join(printable(str(name)[:60]) for name in names[:20])
        theirs, ours = head.get("identity"), json.loads(json.dumps(self.head["identity"]))
        theirs = theirs if isinstance(theirs, dict) else {}
        names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        return "other " + ", ".join(printable(name[:60]) for name in names[:20])

    def keep(self, measured: Measured) -> None:
        self.rows.setdefault(measured.sample, {})[measured.column] = measured

    def append(self, measured: Iterable[Measured]) -> None:
        """Keep and write, on the disk when this returns."""
        found = list(measured)
        text = "".join(json.dumps(m.to_json()) + "\n" for m in found)
        try:
            with open(self.path, "a+b") as file:
                # After a kill in the middle of a line, the next one must not be glued to it.
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    text = "\n" + text
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self.cannot_write(error) from error
        for each in found:
            self.keep(each)

    def cannot_write(self, error: OSError) -> StorageError:
        return StorageError(
            f"The record '{self.path.name}' of the benchmark cannot be written "
            f"({error.strerror or error}), expected a writable folder with room; free some, or "
            "choose another name."
        )

    def samples(self) -> list[int]:
        """The samples that are measured under every column, in order."""
        return sorted(i for i, row in self.rows.items() if set(self.columns) <= set(row))

    def column(self, name: str) -> list[Measured]:
        """What `samples` are under one column."""
        return [self.rows[i][name] for i in self.samples()]


def record_of(line: bytes) -> dict[str, Any] | None:
    """The object in a line; None where there is none."""
    try:
        found = parsed(line.decode("utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
