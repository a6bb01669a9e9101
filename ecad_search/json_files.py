"""JSON files that anybody may have written: read as a whole, within limits, or refused.

Python's own reader takes what no standard has (NaN, numbers that no double holds, a field twice)
and nesting that breaks whoever walks it later.
"""

from __future__ import annotations

import json
import math
import os
import stat
from typing import Any, NoReturn, TypeGuard

from .errors import EcadError, StorageError

DEEPEST_NESTING = 64
LONGEST_NUMBER = 300  # digits
LARGEST_NUMBER = 1e100  # can still be squared and summed up


class UnusableJson(ValueError):
    """What is wrong with a text, as the end of a sentence: "is not JSON (...)"."""


def parsed(text: str, *, deepest: int = DEEPEST_NESTING) -> Any:
    """The value in `text`: finite numbers, each field once, at most `deepest` levels.

    UnusableJson for anything else, and for nothing but that.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_fields,
            parse_constant=_constant,
            parse_int=_whole,
            parse_float=_real,
        )
    except json.JSONDecodeError as error:
        raise UnusableJson(
            f"is not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        ) from error
    except RecursionError as error:
        raise UnusableJson(_too_deep(deepest)) from error
    _check_depth(value, deepest)
    return value


def read(path: str | os.PathLike[str], *, kind: str, largest: int, error: type[EcadError]) -> bytes:
    """The content of a regular file of at most `largest` bytes.

    `kind` names such a file in messages; `error` is raised for one that is too large, StorageError
    for what cannot be read.
    """
    shown = printable(os.fspath(path))
    too_large = f"bytes; {kind} has at most {largest:,}. Choose another file."
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise StorageError(f"{shown} is not a file; expected {kind}.")
        if found.st_size > largest:
            raise error(f"{shown} has {found.st_size:,} {too_large}")
        with open(path, "rb") as file:
            content = file.read(largest + 1)
    except (OSError, ValueError) as problem:  # ValueError: a null character in the path
        reason = getattr(problem, "strerror", None) or printable(str(problem))
        raise StorageError(f"{shown} cannot be read ({reason}); check the path.") from problem
    if len(content) > largest:
        raise error(f"{shown} has {len(content):,} {too_large}")
    return content


def decoded(content: bytes, path: str | os.PathLike[str], *, error: type[EcadError]) -> str:
    """The text of what `read` gave for `path`: UTF-8, with or without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(
            f"{printable(os.fspath(path))} is not UTF-8 text (byte {problem.start}); "
            "expected a JSON file in UTF-8."
        ) from problem


def is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number that can be reckoned with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST_NUMBER  # not so of NaN


def printable(text: str) -> str:
    """As it is, or with escapes: a message must not move the cursor of a terminal."""
    return text if text.isprintable() else ascii(text)


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    twice = next(name for name, _ in pairs if name in seen or seen.add(name))
    raise UnusableJson(
        f"is ambiguous, as the field {json.dumps(twice[:60])} stands twice in one object"
    )


def _constant(name: str) -> NoReturn:
    raise UnusableJson(f"has the number {name}, expected a finite one")


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise UnusableJson(
            f"has a number of {len(digits)} digits, expected at most {LONGEST_NUMBER}"
        )
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise UnusableJson(f"has the number {digits[:40]}, expected one that a double can hold")
    return value


def _check_depth(value: Any, deepest: int) -> None:
    level = [value]
    for _ in range(deepest):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise UnusableJson(_too_deep(deepest))


def _too_deep(deepest: int) -> str:
    return f"is nested too deeply, expected at most {deepest} levels"
