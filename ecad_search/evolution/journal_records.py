"""What the records of a search's journal look like: checked before a search believes them.

A journal is a text file, and a search that took in half a number or a negative count would go on
and spend hours of rendering on nonsense.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..json_files import is_count, is_number

# Verdicts: to be rendered further, out of the race, waiting with some samples, done with all.
MORE, DROPPED, TRIED, SCORED = "more", "dropped", "tried", "scored"
MOST_IMAGES = 10**12
HEX = re.compile(r"(?:[0-9a-f]{2})*")


def check(record: Mapping[str, Any], n_samples: int) -> None:
    """ValueError, which names the field, unless it is a record of a search on `n_samples`."""
    if "latency" in record:
        _require("images", record, _is_images)
    elif "generation" in record:
        _require("generation", record, is_count)
        for candidate in _objects("candidates", record):
            _require("key", candidate, _is_text)
            _require("origin", candidate, _is_text)
            _require("bits", candidate, _is_hex)
            _require("name", candidate, _is_name, optional=True)
            _require("reference", candidate, _is_bool, optional=True)
            _require("cache_bytes", candidate, is_count, optional=True)
    elif "confirm" in record:
        keys = record["confirm"]
        if not isinstance(keys, list) or not keys or not all(map(_is_text, keys)):
            raise ValueError(f"'confirm' is {keys!r:.80}")
    elif "profile" in record:
        _check_note(record["profile"], n_samples)
    elif "start" in record:
        _require("images", record, _is_images)
        for schedule in _objects("start", record):
            _require("bits", schedule, _is_hex)
            _require("name", schedule, _is_name)
    else:
        _check_answer(record, n_samples)


def _check_note(note: object, n_samples: int) -> None:
    """See ProfileNotes."""
    if not isinstance(note, dict):
        raise ValueError(f"'profile' is {note!r:.80}")
    if "benefits" in note:
        _require("benefits", note, _are_numbers)
        return
    _require("gaps", note, _are_gaps)
    _require("drift", note, is_number)
    sample = note.get("sample")
    if not is_count(sample) or sample >= n_samples:
        raise ValueError(f"'sample' is {sample!r:.80}, of {n_samples} samples")


def _check_answer(record: Mapping[str, Any], n_samples: int) -> None:
    _require("key", record, _is_text)
    samples = record.get("samples")
    if not isinstance(samples, list) or len(samples) != 2 or not all(map(is_count, samples)):
        raise ValueError(f"'samples' is {samples!r:.80}")
    start, stop = samples
    if not start < stop <= n_samples:
        raise ValueError(f"'samples' is {samples!r:.80}, of {n_samples} samples")
    if "failed" in record:
        _require("failed", record, _is_text)
        return
    more = record.get("more", [])
    if not isinstance(more, list):
        raise ValueError(f"'more' is {more!r:.80}")
    for scores in (record.get("scores"), *more):
        if not isinstance(scores, list) or not all(map(is_number, scores)):
            raise ValueError(f"'scores' is {scores!r:.80}")
        if len(scores) != stop - start:
            raise ValueError(f"{len(scores)} scores for samples {start} to {stop - 1}")
    verdict = record.get("verdict")
    if verdict != SCORED if stop == n_samples else verdict not in (MORE, DROPPED, TRIED):
        raise ValueError(f"'verdict' is {verdict!r:.80} after {stop} of {n_samples} samples")


def _require(
    name: str,
    fields: Mapping[str, Any],
    is_right: Callable[[object], bool],
    *,
    optional: bool = False,
) -> None:
    if name not in fields:
        if optional:
            return
        raise ValueError(f"'{name}' is missing")
    if not is_right(fields[name]):
        raise ValueError(f"'{name}' is {fields[name]!r:.80}")


def _objects(name: str, record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = record[name]
    if not isinstance(found, list) or not all(isinstance(fields, dict) for fields in found):
        raise ValueError(f"'{name}' is no list of objects")
    return found


def _is_images(value: object) -> bool:
    return is_count(value) and value <= MOST_IMAGES


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(is_number, value))


def _are_gaps(value: object) -> bool:
    """Lists of (start, length, fill), at least one."""
    return (
        isinstance(value, list)
        and value != []
        and all(isinstance(g, list) and len(g) == 3 and all(map(is_count, g)) for g in value)
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and HEX.fullmatch(value) is not None


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)
