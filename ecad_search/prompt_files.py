"""Prompt files: plain text, tables and the JSON of published prompt sets, told by their content."""

from __future__ import annotations

import csv
import io
import json
import re
import reprlib
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import PromptSetError
from .json_files import printable

MOST_BYTES = 128 * 2**20  # the captions of COCO 2014 are 64 MiB
MOST_PROMPTS = 200_000
COLUMNS = ("prompt", "prompts", "caption", "captions", "text")  # the first that is there is read
DELIMITERS = "\t,;"

PromptFormat = Literal["auto", "text", "json", "tsv", "csv"]


def load_prompts(
    source: Path | str, format: PromptFormat = "auto", *, column: str = ""
) -> tuple[str, ...]:
    """The prompts of a file (a Path) or of pasted text (a str), in order; repeats stay.

    Formats, told by the content (an ending .json, .tsv or .csv is believed), or given:
      text  one prompt a line; empty lines and lines that start with # are passed over (DrawBench's
            200 lines)
      json  a list of strings or of objects (ImageReward's [{id, prompt}]); an object of objects by
            id (MJHQ-30K's {id: {category, prompt}}) or with a list "prompts"; COCO's captions
            {annotations: [{image_id, caption}]}, of which each image's first is taken
      tsv   a header line and rows (PartiPrompts' Prompt, Category, ...); nothing is quoted
      csv   the same with commas or semicolons (DrawBench's Prompts, Category)

    `column` names the column of a table, or the key in JSON's objects, in any case; without it the
    first of COLUMNS that is there is read.
    """
    name = printable(source.name) if isinstance(source, Path) else "the pasted text"
    text = read_text(source) if isinstance(source, Path) else source.removeprefix("\ufeff")
    if len(text) > MOST_BYTES:
        raise PromptSetError(too_large(name, len(text)))
    columns = (column.strip().lower(),) if column.strip() else COLUMNS
    if format == "auto":
        format = told_format(text, source.suffix if isinstance(source, Path) else "", columns)
    if format == "text":
        if column.strip():
            raise PromptSetError(
                f"{name} is plain text, but its column {column[:60]!r} was asked for, expected a "
                "table with a header line or JSON; leave the column empty or give another file."
            )
        prompts = prompts_of_lines(text)
    elif format == "json":
        prompts = prompts_of_json(text, name, columns)
    elif format in ("tsv", "csv"):
        prompts = prompts_of_table(text, format, name, columns)
    else:
        raise PromptSetError(
            f"{format!r} is no prompt format, expected one of {', '.join(get_args(PromptFormat))}; "
            "choose one."
        )
    if not prompts:
        raise PromptSetError(
            f"{name} holds no prompts, expected at least one; write one prompt a line."
        )
    if len(prompts) > MOST_PROMPTS:
        raise PromptSetError(
            f"{name} holds {len(prompts)} prompts, expected at most {MOST_PROMPTS}; shorten it."
        )
    for number, prompt in enumerate(prompts, start=1):
        try:
            prompt.encode("utf-8")
        except UnicodeEncodeError as error:  # JSON can say half a character, no text encoder can
            raise PromptSetError(
                f"Prompt {number} of {name} holds half a character ({prompt[error.start]!a}), "
                "expected whole ones; write it again."
            ) from error
    return tuple(prompts)


def told_format(text: str, ending: str, columns: Iterable[str]) -> PromptFormat:
    ending = ending.lower()
    stripped = text.strip()
    # A prompt may begin with a bracket, "[style] a cat", so the whole text must be JSON's.
    beginning = re.sub(r"\s", "", stripped[:200])
    brackets = beginning.startswith(("[{", '["', '{"')) and stripped.endswith(("]", "}"))
    if ending == ".json" or brackets:
        return "json"
    if ending in (".tsv", ".csv"):
        return "tsv" if ending == ".tsv" else "csv"
    delimiter = header_delimiter(text, columns)
    if delimiter is None or (delimiter != "\t" and not is_even(text, delimiter)):
        return "text"  # prompts are full of commas
    return "tsv" if delimiter == "\t" else "csv"


def is_even(text: str, delimiter: str) -> bool:
    """Whether there are two rows or more, all as wide as the header."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        return False
    return len([row for row in rows if row]) > 1 and 1 == len({len(row) for row in rows if row})


def header_delimiter(text: str, columns: Iterable[str]) -> str | None:
    """What separates a first line that names one of `columns` beside others; None: no such line."""
    header = next((line for line in text.splitlines() if line.strip()), "").lower()
    for delimiter in DELIMITERS:
        titles = [cell.strip().strip('"') for cell in header.split(delimiter)]
        if (
            len(titles) > 1
            and not header.startswith("#")
            and any(column in titles for column in columns)
        ):
            return delimiter
    return None


def read_text(path: Path) -> str:
    name = printable(path.name)
    try:
        found = path.stat()
        if stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
            raise OSError("it is not a file")  # it would be waited for
        if found.st_size > MOST_BYTES:
            raise PromptSetError(too_large(name, found.st_size))
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise PromptSetError(
            f"The prompt file '{printable(str(path))}' cannot be read ({reason}), expected a text "
            "file; check the path."
        ) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptSetError(
            f"{name} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}), "
            "expected UTF-8; save it again with that encoding."
        ) from error
    if "\0" in text:
        raise PromptSetError(
            f"{name} is no text (byte {text.index(chr(0))} is zero), expected UTF-8 text; "
            "save the prompts as .txt or .csv."
        )
    return text


def too_large(name: str, size: int) -> str:
    return (
        f"{name} has {size / 2**20:.1f} MiB, expected at most {MOST_BYTES // 2**20} MiB; a prompt "
        "set is a short text, cut it down."
    )


def prompts_of_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def prompts_of_json(text: str, name: str, columns: Iterable[str]) -> list[str]:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptSetError(
            f"{name} is not JSON ({error}), expected a list of prompts; correct it."
        ) from error
    prompts = []
    for label, entry in json_entries(content, name):
        prompt = prompt_of_entry(entry, columns)
        if prompt is None:
            raise PromptSetError(
                f"Entry {label} of {name} is {reprlib.repr(entry)}, expected a string or an "
                f"object with a string {' or '.join(json.dumps(c) for c in columns)}; correct it."
            )
        if prompt.strip():
            prompts.append(" ".join(prompt.split()))
    return prompts


def json_entries(content: Any, name: str) -> Iterable[tuple[Any, Any]]:
    """The entries of the known shapes, each with what to call it."""
    if isinstance(content, dict):
        if isinstance(content.get("annotations"), list):
            return first_captions(content["annotations"], name)
        if isinstance(content.get("prompts"), list | dict):
            content = content["prompts"]
    if isinstance(content, list):
        return enumerate(content)
    if isinstance(content, dict) and all(isinstance(v, dict) for v in content.values()):
        return ((repr(key[:30]), value) for key, value in content.items())
    found = type(content).__name__
    if isinstance(content, dict):
        found += " with " + ", ".join(repr(key[:30]) for key in list(content)[:4])
    raise PromptSetError(
        f"{name} holds a JSON {found}, expected a list of strings or of "
        'objects with "prompt", an object of such objects, or COCO\'s "annotations"; put the '
        "prompts in [ ]."
    )


def first_captions(annotations: list[Any], name: str) -> list[tuple[Any, Any]]:
    """COCO has about five captions of an image, written by different people."""
    entries, seen = [], set()
    for i, entry in enumerate(annotations):
        image = entry.get("image_id") if isinstance(entry, dict) else None
        if not isinstance(image, int | str) or not isinstance(entry.get("caption"), str):
            raise PromptSetError(
                f"Entry {i} of the annotations of {name} is {reprlib.repr(entry)}, expected "
                'COCO\'s "image_id" and "caption"; use a file of captions, not of instances.'
            )
        if image not in seen:
            seen.add(image)
            entries.append((i, entry["caption"]))
    return entries


def prompt_of_entry(entry: Any, columns: Iterable[str]) -> str | None:
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, Mapping):
        return None
    values = {str(key).lower(): value for key, value in entry.items()}
    return next((values[c] for c in columns if isinstance(values.get(c), str)), None)


def prompts_of_table(text: str, format: str, name: str, columns: Iterable[str]) -> list[str]:
    delimiter = header_delimiter(text, columns) or ("\t" if format == "tsv" else ",")
    # Tab-separated files quote nothing: PartiPrompts has lone quotation marks in its prompts.
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting))
    except csv.Error as error:
        raise PromptSetError(
            f"{name} is no table ({error}), expected a header line and rows; correct it."
        ) from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        return []
    header = [unquoted(title.strip()).lower() for title in rows[0]]
    title = next((column for column in columns if column in header), None)
    if title is None:
        found = ", ".join(repr(title[:30]) for title in rows[0][:6])
        raise PromptSetError(
            f"{name} has the columns {found}, expected one called "
            f"{' or '.join(repr(c) for c in columns)}; name the column to read, add a header line, "
            "or save the prompts as one-a-line .txt."
        )
    column = header.index(title)
    prompts = [row[column].strip() for row in rows[1:] if len(row) > column]
    return [" ".join(unquoted(prompt).split()) for prompt in prompts if prompt]


def unquoted(cell: str) -> str:
    """A tab-separated cell that a spreadsheet has wrapped in quotation marks, without them."""
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell
