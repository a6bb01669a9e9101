"""What a benchmark has measured so far, in a file that a killed run goes on from."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import JournalError, StorageError

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
        features = row.get("features")
        return cls(
            sample=int(row["sample"]),
            column=str(row["column"]),
            seconds=float(row["seconds"]),
            scores={str(k): float(v) for k, v in row["scores"].items()},
            peak_bytes=row["peak_bytes"],
            problem=str(row["problem"]),
            features=None
            if features is None
            else np.frombuffer(base64.b64decode(features), "<f4").astype(np.float32),
        )


class Record:
    """The file: a line that says what is measured, then one line for every picture.

    A sample counts when all its columns are there; what a killed run left of one is measured again.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], columns: Sequence[str]):
        self.path = path
        self.columns = tuple(columns)
        self.head = {
            "format": FORMAT,
            "version": VERSION,
            "identity": dict(identity),
            "columns": list(columns),
        }
        self.rows: dict[int, dict[str, Measured]] = {}
        try:
            if path.is_file() and path.stat().st_size:
                self.read()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(self.head) + "\n", encoding="utf-8")
        except OSError as error:
            raise self.cannot_write(error) from error

    def read(self) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        head = parsed(lines[0])
        if not isinstance(head, dict) or head.get("format") != FORMAT:
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
        for line in lines[1:]:
            row = parsed(line)  # None: the end of a line that a kill cut off
            if row is not None:
                self.keep(Measured.from_json(row))

    def difference(self, head: Mapping[str, Any]) -> str:
        if head.get("version") != VERSION:
            return f"version {head.get('version')} of the format, not {VERSION}"
        if head.get("columns") != self.head["columns"]:
            return "other columns: " + ", ".join(map(str, head.get("columns", [])))
        theirs, ours = head.get("identity", {}), json.loads(json.dumps(self.head["identity"]))
        names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        return "other " + ", ".join(names)

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


def parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
