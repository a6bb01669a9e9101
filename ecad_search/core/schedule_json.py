"""How schedules are written and read: our format (docs/schedule-format.md) and the paper's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from .. import json_files
from ..errors import EcadError, ModelMismatchError, ScheduleError, StorageError
from ..json_files import printable
from . import paper_sigmas
from .architecture import (
    Architecture,
    BlockGroup,
    Family,
    family_named,
    family_of,
    known_families,
    listed_architectures,
)
from .schedule import MOST_STEPS, Schedule

FORMAT = "ecad-schedule"
VERSION = 1
LARGEST_FILE = 8 * 1024 * 1024  # bytes; the largest of the paper's files has 0.2 MB
LONGEST_NAME = 200

# Fields that describe the rows; everything else of a file is `Schedule.info`.
ROW_FIELDS = (
    "format",
    "version",
    "name",
    "architecture",
    "family",
    "blocks",
    "components",
    "size",
    "steps",
    "compute",
)
# Fields of `info` that have a meaning to us, in file order, and their JSON type.
INFO_FIELDS: dict[str, type] = {
    "sampling": dict,
    "model": dict,
    "objectives": list,
    "provenance": dict,
    "payload": dict,
}


def loads(text: str, *, source: str = "the schedule") -> Schedule:
    """The schedule in `text`, in our format or the paper's; `source` names it in error messages."""
    source = printable(source)
    document = _parsed(text, source)
    if _is_the_papers(document):
        return _from_paper(document, source)
    return _from_document(document, source)


def is_the_papers(text: str, *, source: str = "the schedule") -> bool:
    """Whether `text` is in the paper's format, not ours; ScheduleError if it is no JSON object."""
    return _is_the_papers(_parsed(text, printable(source)))


def _is_the_papers(document: Mapping[str, Any]) -> bool:
    return "format" not in document and "cache_schedule" in document


def dumps(schedule: Schedule) -> str:
    """The schedule as a file of our format: UTF-8 text that ends in a newline."""
    architecture = schedule.architecture
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": _clean_name(schedule.name),
        "architecture": architecture.id,
        "family": architecture.family,
        "blocks": architecture.counts,
        "components": _component_lists(architecture),
    }
    listed = _listed(architecture.id)
    if listed is None:
        document["size"] = dict(architecture.size)
    elif listed != architecture:
        raise ScheduleError(
            f"A schedule for {architecture.describe()} cannot be written under the id "
            f"{architecture.id!r}, which means {listed.describe()} of another size; "
            "give its architecture another id."
        )
    document["steps"] = schedule.steps
    document["compute"] = [_row_text(architecture, row) for row in schedule.compute]
    info = dict(schedule.info)
    for name in info:
        if name in ROW_FIELDS or not isinstance(name, str):
            raise ScheduleError(
                f"{schedule.label} has the info field {name!r}, which the file format keeps for "
                "itself; expected another name."
            )
    for name in (
        *(n for n in INFO_FIELDS if n in info),
        *(n for n in info if n not in INFO_FIELDS),
    ):
        document[name] = info[name]
    return _text(document, indent=2, what=schedule.label)


def load(path: str | os.PathLike[str]) -> Schedule:
    """The schedule in a file; one without a name gets the file's."""
    return named_after(path, loads(decoded(read(path), path), source=os.fspath(path)))


def named_after(path: str | os.PathLike[str], schedule: Schedule) -> Schedule:
    """The schedule, with the file's name if it has none."""
    return schedule if schedule.name else replace(schedule, name=_clean_name(Path(path).stem))


def save(schedule: Schedule, path: str | os.PathLike[str]) -> None:
    """Write the file as a whole or not at all; folders on the way are made."""
    write_atomically(path, dumps(schedule))


def dumps_paper(schedule: Schedule) -> str:
    """The schedule as a file of the official repository (cache_schedule / config / metrics)."""
    if schedule.payload:
        raise ScheduleError(
            f"{schedule.label} forecasts {', '.join(schedule.payload)}, which the paper's format "
            "cannot say; write it in the ecad-schedule format."
        )
    if not family_of(schedule.architecture).group_names:
        raise ScheduleError(
            f"{schedule.label} is made for {schedule.architecture.describe()}, which the paper's "
            "format cannot name; write it in the ecad-schedule format."
        )
    paper = schedule.info.get("paper")
    paper = dict(paper) if isinstance(paper, Mapping) else {}
    body = paper.pop("cache_schedule", None)
    architecture = schedule.architecture
    cache_schedule: dict[str, Any] = {
        f"num_{group.paper_prefix}blocks": group.count for group in architecture.groups
    }
    cache_schedule |= {
        "num_inference_steps": schedule.steps,
        "name": schedule.name,
        "attributes": {},
    }
    if isinstance(body, Mapping):
        cache_schedule |= {
            k: v for k, v in body.items() if k not in cache_schedule or k == "attributes"
        }
    cache_schedule["schedule"] = {
        f"{step:03d}": _paper_row(architecture, row) for step, row in enumerate(schedule.compute)
    }
    document = {"cache_schedule": cache_schedule, "config": {}, "metrics": {}} | paper
    return _text(document, indent=4, what=schedule.label)


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Replace the file at `path` by `text`, so that a reader or a crash never meets half of it."""
    shown = printable(os.fspath(path))
    temporary: Path | None = None
    try:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".ecad-{uuid.uuid4().hex}.tmp")
        with open(temporary, "xb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = None
        _sync_folder(target.parent)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(
            f"{shown} cannot be written ({reason}); choose a folder you may write to."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError, ValueError):
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    # so that the new name survives a power cut; not every system can open a folder
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read(path: str | os.PathLike[str]) -> bytes:
    """The content of a schedule file: a regular file of at most LARGEST_FILE bytes."""
    return json_files.read(path, kind="a schedule file", largest=LARGEST_FILE, error=ScheduleError)


def decoded(content: bytes, path: str | os.PathLike[str]) -> str:
    """The text of what `read` gave for `path`."""
    return json_files.decoded(content, path, error=ScheduleError)


# --- JSON ---------------------------------------------------------------------------------------


def _parsed(text: str, source: str) -> dict[str, Any]:
    """The JSON object in `text`; every way to be broken is one ScheduleError."""
    if len(text) > LARGEST_FILE:
        raise ScheduleError(
            f"{source} has {len(text):,} characters; a schedule file has at most {LARGEST_FILE:,}. "
            "Choose another file."
        )
    try:
        document = json_files.parsed(text)
    except json_files.UnusableJson as error:
        raise ScheduleError(f"{source} {error}; expected a schedule file.") from error
    if not isinstance(document, dict):
        raise ScheduleError(f"{source} holds {_shown(document)}; expected an object with a format.")
    return document


def _text(document: Mapping[str, Any], *, indent: int, what: str) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"a {type(value).__name__}")

    def written(ensure_ascii: bool) -> str:
        return json.dumps(
            document, indent=indent, ensure_ascii=ensure_ascii, allow_nan=False, default=plain
        )

    try:
        text = written(ensure_ascii=False)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # half a surrogate pair: legal JSON, no legal UTF-8
            text = written(ensure_ascii=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise ScheduleError(
            f"{what} holds something that is no JSON value ({error}); expected finite numbers, "
            "text, "
            "true, false, null, lists and objects."
        ) from error
    text += "\n"
    _parsed(
        text, what
    )  # never write what `loads` refuses, such as the keys 1 and "1" in one object
    return text


# --- our format ---------------------------------------------------------------------------------


def _from_document(document: dict[str, Any], source: str) -> Schedule:
    if document.get("format") != FORMAT:
        _fail(source, "format", document, f"{FORMAT!r} (or the paper's file with 'cache_schedule')")
    version = document.get("version")
    if type(version) is int and version > VERSION:
        raise ScheduleError(
            f"{source}: version is {_shown(version)}, expected {VERSION}; "
            "the file was written by a newer "
            "ComfyUI-ECAD, update this one to read it."
        )
    if type(version) is not int or version != VERSION:
        _fail(source, "version", document, VERSION)
    name = document.get("name", "")
    if not isinstance(name, str) or name != _clean_name(name):
        _fail(source, "name", document, f"at most {LONGEST_NAME} printable characters")
    architecture = _architecture(document, source)
    steps = document.get("steps")
    if type(steps) is not int or not 1 <= steps <= MOST_STEPS:
        _fail(source, "steps", document, f"a whole number from 1 to {MOST_STEPS}")
    rows = document.get("compute")
    if not isinstance(rows, list):
        _fail(source, "compute", document, f"a list of {steps} rows")
    if len(rows) != steps:
        raise ScheduleError(f"{source}: compute has {len(rows)} rows, expected {steps} (steps).")
    compute = np.array(
        [_row_bits(architecture, row, f"compute[{step}]", source) for step, row in enumerate(rows)]
    )
    info = {field: value for field, value in document.items() if field not in ROW_FIELDS}
    for field, kind in INFO_FIELDS.items():
        if field in info and not isinstance(info[field], kind):
            _fail(source, field, document, "an object" if kind is dict else "a list")
    return _made(architecture, compute, name, info, source)


def _architecture(document: dict[str, Any], source: str) -> Architecture:
    id = document.get("architecture")
    if not isinstance(id, str) or not id or id != _clean_name(id):
        _fail(source, "architecture", document, "the id of an architecture, such as 'pixart'")
    listed = _listed(id)
    family_name = document.get("family")
    families = ", ".join(family.name for family in known_families())
    if not isinstance(family_name, str) or family_name not in {f.name for f in known_families()}:
        _fail(source, "family", document, f"one of {families}")
    counts = document.get("blocks")
    if not isinstance(counts, dict):
        _fail(source, "blocks", document, "an object of block group: count")
    if listed is not None:
        if family_name != listed.family:
            _fail(source, "family", document, f"{listed.family!r} for the architecture {id!r}")
        if counts != listed.counts or any(isinstance(n, (bool, float)) for n in counts.values()):
            raise ScheduleError(
                f"{source}: blocks is {_flat(counts)}, expected {_flat(listed.counts)} for the "
                f"architecture {id!r}."
            )
        if "size" in document:
            _fail(source, "size", document, f"nothing, since {id!r} is a listed architecture")
        architecture = listed
    else:
        family = family_named(family_name)
        size = document.get("size", {})
        if not isinstance(size, dict) or not all(map(family.knows_size, size)):
            _fail(source, "size", document, f"an object of {', '.join(family.size_defaults)}")
        try:
            architecture = family.build(counts, id=id, **size)
        except ModelMismatchError as error:
            raise ScheduleError(f"{source}: {error}") from error
    components = _component_lists(architecture)
    if document.get("components") != components:
        raise ScheduleError(
            f"{source}: components is {_flat(document.get('components'))}, "
            f"expected {_flat(components)}."
        )
    return architecture


def _component_lists(architecture: Architecture) -> dict[str, list[str]]:
    return {g.name: [component.name for component in g.components] for g in architecture.groups}


def _digits_per_block(group: BlockGroup) -> int:
    return -(-len(group.components) // 4)


def _row_text(architecture: Architecture, row: npt.NDArray[np.bool_]) -> str:
    """A hexadecimal digit per block, bit i of it is component i; a space between the groups."""
    words, start = [], 0
    for group in architecture.groups:
        n = len(group.components)
        bits = row[start : start + group.count * n].reshape(group.count, n)
        values = bits.astype(np.int64) @ (1 << np.arange(n, dtype=np.int64))
        words.append("".join(f"{value:0{_digits_per_block(group)}x}" for value in values.tolist()))
        start += group.count * n
    return " ".join(words)


def _row_bits(
    architecture: Architecture, row: Any, field: str, source: str
) -> npt.NDArray[np.bool_]:
    wanted = " ".join(
        f"<{group.count * _digits_per_block(group)} digits>" for group in architecture.groups
    )
    expected = f"text {wanted}, each 0 to {(1 << len(architecture.groups[0].components)) - 1:x}"
    if not isinstance(row, str):
        raise ScheduleError(f"{source}: {field} is {_shown(row)}, expected {expected}.")
    words = row.split(" ")
    fits = len(words) == len(architecture.groups) and all(
        len(word) == group.count * _digits_per_block(group)
        and re.fullmatch(r"[0-9a-f]*", word) is not None
        for word, group in zip(words, architecture.groups, strict=False)
    )
    if not fits:
        raise ScheduleError(
            f"{source}: {field} is {_shown(row)} ({len(row)} characters), expected {expected}."
        )
    parts = []
    for word, group in zip(words, architecture.groups, strict=True):
        width, n = _digits_per_block(group), len(group.components)
        values = [int(word[i : i + width], 16) for i in range(0, len(word), width)]
        if any(value >> n for value in values):
            block = next(i for i, value in enumerate(values) if value >> n)
            raise ScheduleError(
                f"{source}: {field} has {values[block]:x} for {group.name} {block}, expected "
                f"0 to {(1 << n) - 1:x} for {n} components."
            )
        bits = np.array(values, dtype=np.int64)[:, None] >> np.arange(n) & 1
        parts.append(bits.reshape(-1).astype(np.bool_))
    return np.concatenate(parts)


# --- the paper's format -------------------------------------------------------------------------


def _from_paper(document: dict[str, Any], source: str) -> Schedule:
    """Read a file of the official repository. True means recompute there too.

    Its step 0 may reuse, which its code overrules because the cache is empty; here it is set.
    The noise levels it runs on are not in the file, they follow from the family and the size.
    """
    body = _object(document, "cache_schedule", "cache_schedule", source)
    steps = body.get("num_inference_steps")
    if type(steps) is not int or not 1 <= steps <= MOST_STEPS:
        expected = f"a whole number from 1 to {MOST_STEPS}"
        _fail(source, "num_inference_steps", body, expected, "cache_schedule.")
    by_step = _object(body, "schedule", "cache_schedule.schedule", source)
    rows: dict[int, tuple[str, Any]] = {}
    for key, row in by_step.items():
        if not re.fullmatch(r"[0-9]{1,6}", key) or int(key) in rows:
            raise ScheduleError(
                f"{source}: cache_schedule.schedule has the step {_shown(key)}, "
                f"expected 000 to {steps - 1:03d}."
            )
        rows[int(key)] = (key, row)
    if set(rows) != set(range(steps)):
        raise ScheduleError(
            f"{source}: cache_schedule.schedule has {len(rows)} steps, "
            f"expected 000 to {steps - 1:03d}."
        )
    architecture = _paper_architecture(body, rows[0], source)
    compute = np.array([_paper_bits(architecture, *rows[step], source) for step in range(steps)])
    name = _clean_name(body["name"]) if isinstance(body.get("name"), str) else ""
    paper: dict[str, Any] = {
        key: value for key, value in document.items() if key != "cache_schedule"
    }
    ours = {"num_inference_steps", "name", "schedule"}
    ours |= {f"num_{group.paper_prefix}blocks" for group in architecture.groups}
    paper["cache_schedule"] = {key: value for key, value in body.items() if key not in ours}
    info: dict[str, Any] = {"paper": paper}
    config = document.get("config")
    config = config if isinstance(config, dict) else {}
    sampling = {key: config[key] for key in ("width", "height") if key in config}
    if "guidance_scale" in config:
        sampling["guidance"] = config["guidance_scale"]
    levels = paper_sigmas.levels_of_family(
        architecture.family, steps, sampling.get("width"), sampling.get("height")
    )
    if levels is not None:
        sampling["sigmas"] = [float(f"{level:.7g}") for level in levels]
    if sampling:
        info["sampling"] = sampling
    provenance: dict[str, Any] = {"imported_from": "the paper's format"}
    missing = int(np.count_nonzero(~compute[0]))
    if missing:
        compute[0] = True
        provenance["cells_set_in_step_0"] = missing
    info["provenance"] = provenance
    return _made(architecture, compute, name, info, source)


def _paper_architecture(body: dict[str, Any], row: tuple[str, Any], source: str) -> Architecture:
    key, blocks = row
    field = f"cache_schedule.schedule.{key}"
    if not isinstance(blocks, dict) or not blocks:
        raise ScheduleError(f"{source}: {field} is {_shown(blocks)}, expected an object of blocks.")
    first = next(iter(blocks.values()))
    for family in (family for family in known_families() if family.group_names):
        template = _smallest(family)
        names = {c.paper_name for group in template.groups for c in group.components}
        if isinstance(first, dict) and names & set(first):
            break
    else:
        raise ScheduleError(
            f"{source}: the first block of {field} is {_flat(first)}, "
            "expected the components of PixArt "
            "(attn1, attn2, ff) or FLUX (full_attn, ..., single_attn, ...)."
        )
    counts: dict[str, int] = {}
    for group in template.groups:
        pattern = re.escape(group.paper_prefix) + r"[0-9]{1,6}"
        counts[group.name] = sum(re.fullmatch(pattern, block) is not None for block in blocks)
        stated: Any = body.get(f"num_{group.paper_prefix}blocks", counts[group.name])
        if type(stated) is not int or stated != counts[group.name]:
            raise ScheduleError(
                f"{source}: cache_schedule.num_{group.paper_prefix}blocks is {_shown(stated)}, "
                f"expected {counts[group.name]}, the number of such blocks in step {key}."
            )
    for architecture in listed_architectures():
        if architecture.family == family.name and architecture.counts == counts:
            return architecture
    try:
        return family.build(counts)
    except ModelMismatchError as error:
        raise ScheduleError(f"{source}: {error}") from error


def _smallest(family: Family) -> Architecture:
    return family.build(dict.fromkeys(family.group_names, 1))


def _paper_places(architecture: Architecture) -> list[tuple[str, list[str]]]:
    """Block key and component names, in cell order."""
    return [
        (f"{group.paper_prefix}{block}", [component.paper_name for component in group.components])
        for group in architecture.groups
        for block in range(group.count)
    ]


def _paper_row(
    architecture: Architecture, row: npt.NDArray[np.bool_]
) -> dict[str, dict[str, bool]]:
    bits = iter(row.tolist())
    return {
        block: {name: next(bits) for name in names} for block, names in _paper_places(architecture)
    }


def _paper_bits(architecture: Architecture, key: str, row: Any, source: str) -> list[bool]:
    field = f"cache_schedule.schedule.{key}"
    if not isinstance(row, dict):
        raise ScheduleError(f"{source}: {field} is {_shown(row)}, expected an object of blocks.")
    places = _paper_places(architecture)
    if set(row) != {block for block, _ in places}:
        raise ScheduleError(
            f"{source}: {field} has {len(row)} blocks, expected the {len(places)} of "
            f"{architecture.describe()}: {places[0][0]} to {places[-1][0]}."
        )
    bits = []
    for block, names in places:
        entry = row[block]
        if not isinstance(entry, dict):
            raise ScheduleError(
                f"{source}: {field}.{block} is {_shown(entry)}, "
                f"expected an object of {', '.join(names)}."
            )
        for name, value in entry.items():
            if name.startswith("custom_compute_") and value is not None:
                _refuse_custom(f"{field}.{block}.{name}", value, source)
            elif name not in names and value is not None:
                raise ScheduleError(
                    f"{source}: {field}.{block} has {_shown(name)}, "
                    f"expected only {', '.join(names)}."
                )
        for name in names:
            if not isinstance(entry.get(name), bool):
                _fail(source, name, entry, "true (recompute) or false (reuse)", f"{field}.{block}.")
            bits.append(entry[name])
    return bits


def _refuse_custom(field: str, value: Any, source: str) -> NoReturn:
    name = value.get("name") if isinstance(value, dict) else value
    raise ScheduleError(
        f"{source}: {field} is {_shown(name)}, expected no custom computation; T-GATE's averaged "
        "cross-attention is neither compute nor reuse, so this schedule cannot be run. "
        "Use the preset pixart/tgate-10-20-steps, which reuses each stream's own cross-attention."
    )


# --- messages -----------------------------------------------------------------------------------


def _made(
    architecture: Architecture,
    compute: npt.NDArray[np.bool_],
    name: str,
    info: dict[str, Any],
    source: str,
) -> Schedule:
    try:
        return Schedule(architecture, compute, name=name, info=info)
    except EcadError as error:
        raise ScheduleError(f"{source}: {error}") from error


def _listed(id: str) -> Architecture | None:
    return next((a for a in listed_architectures() if a.id == id), None)


def _object(document: dict[str, Any], name: str, field: str, source: str) -> dict[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        _fail(source, name, document, "an object", field.removesuffix(name))
    return value


def _fail(
    source: str, name: str, document: Mapping[str, Any], expected: object, prefix: str = ""
) -> NoReturn:
    found = f"is {_shown(document[name])}" if name in document else "is missing"
    raise ScheduleError(f"{source}: {prefix}{name} {found}, expected {expected}.")


def _shown(value: Any) -> str:
    """A value as found in a file, short and on one line."""
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = json.dumps(value[:61] if isinstance(value, str) else value)
    return text if len(text) <= 64 else f"{text[:60]}..."


def _flat(value: Any) -> str:
    """Like `_shown`, with the inside of small objects."""
    if isinstance(value, dict) and 0 < len(value) <= 4:
        return "{" + ", ".join(f"{_shown(k)}: {_flat(v)}" for k, v in value.items()) + "}"
    if (
        isinstance(value, list)
        and 0 < len(value) <= 8
        and not any(isinstance(v, (dict, list)) for v in value)
    ):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "missing" if value is None else _shown(value)


def _clean_name(text: str) -> str:
    """Without what would break a line of a list or a message."""
    return "".join(c for c in text if c.isprintable())[:LONGEST_NAME]
