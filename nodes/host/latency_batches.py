"""How long a picture takes when several are sampled at once, for every column of a benchmark."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...ecad_search.core.schedule_json import write_atomically
from ...ecad_search.errors import SearchError
from ...ecad_search.json_files import is_number, parsed

ROUNDS = 3  # samplings of each column and size that count, after one that does not
MOST_SIZES, LARGEST = 8, 256

Seconds = dict[int, dict[str, float | None]]  # by size and column; None: it did not fit


def batch_sizes(text: str) -> tuple[int, ...]:
    """ "1, 4" -> (1, 4)."""
    words = text.replace(",", " ").split()
    numbers = [int(word) for word in words if word.isascii() and word.isdigit()]
    sizes = tuple(dict.fromkeys(numbers))
    usable = len(numbers) == len(words) and all(1 <= size <= LARGEST for size in sizes)
    if not usable or len(sizes) > MOST_SIZES:
        raise SearchError(
            f"latency_batches is '{text[:60]}', expected at most {MOST_SIZES} numbers from 1 to "
            f"{LARGEST}, such as '1, 4'; correct it, or leave it empty."
        )
    return sizes


def timed(
    sizes: Sequence[int],
    samplers: Mapping[str, Callable[[tuple[int, ...]], Sequence[float]]],
    path: Path,
    identity: Mapping[str, Any],
    tell: Callable[[str], None],
) -> Seconds:
    """Median seconds a picture; each size is written to `path`, and read there if it is known.

    `samplers`: column -> what samples a batch of these samples and gives the seconds of each part
    of it, for memory may not hold the whole. The columns take turns.
    """
    known = read(path, identity, list(samplers))
    for size in sizes:
        if size in known:
            continue
        batch = (0,) * size
        took: dict[str, list[Sequence[float]]] = {name: [] for name in samplers}
        for turn in range(ROUNDS + 1):
            for name, sample in samplers.items():
                tell(f"{name}, {size} at once")
                parts = sample(batch)
                if turn:
                    took[name].append(parts)
        known[size] = {name: median(rounds, size) for name, rounds in took.items()}
        document = {"identity": dict(identity), "seconds": {str(s): known[s] for s in known}}
        write_atomically(path, json.dumps(document, indent=1) + "\n")
    return {size: known[size] for size in sizes}


def median(rounds: Sequence[Sequence[float]], size: int) -> float | None:
    if any(len(parts) > 1 for parts in rounds):
        return None
    return statistics.median(sum(parts) for parts in rounds) / size


def read(path: Path, identity: Mapping[str, Any], columns: Sequence[str]) -> Seconds:
    """What `timed` has written for the same identity and columns; nothing of any other file."""
    try:
        document = parsed(path.read_text(encoding="utf-8"), deepest=20)
        if document["identity"] != json.loads(json.dumps(identity)):
            return {}
        found: Seconds = {}
        for size, seconds in document["seconds"].items():
            if list(seconds) != list(columns) or not all(map(usable, seconds.values())):
                return {}
            found[int(size)] = dict(seconds)
        return found
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}


def usable(seconds: Any) -> bool:
    return seconds is None or (is_number(seconds) and seconds > 0)
