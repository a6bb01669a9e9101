"""Which prompts and seeds a schedule is judged on, and how prompt files are read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .errors import PromptSetError

BUILTIN_FOLDER = Path(__file__).resolve().parent / "prompt_sets"
BUILTIN_SETS = ("emoji-calibration", "emoji-heldout", "general")
MOST_BYTES = 16 * 2**20
MOST_PROMPTS = 100_000
LARGEST_SEED = 2**64 - 1

PromptFormat = Literal["auto", "text", "json", "tsv", "csv"]
FORMATS: dict[str, PromptFormat] = {
    ".txt": "text",
    ".json": "json",
    ".tsv": "tsv",
    ".csv": "csv",
}


@dataclass(frozen=True)
class Sample:
    """One image of a calibration: a prompt with a noise seed."""

    index: int
    prompt_index: int
    prompt: str
    seed: int


@dataclass(frozen=True)
class CalibrationPrompts:
    """Prompts, each rendered with `seeds_per_prompt` noise seeds.

    Samples are ordered by seed round: first every prompt with its first seed, then every prompt
    with its second, so that any prefix of the samples covers as many prompts as it can.
    """

    prompts: tuple[str, ...]
    seeds_per_prompt: int = 1
    seed: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        named = f"Calibration '{self.source}'" if self.source else "The calibration"
        if not self.prompts:
            raise PromptSetError(f"{named} has no prompts, expected at least one; add a prompt.")
        if self.seeds_per_prompt < 1:
            raise PromptSetError(
                f"{named} has {self.seeds_per_prompt} seeds per prompt, expected at least 1; "
                "raise it."
            )
        if not 0 <= self.seed <= LARGEST_SEED:
            raise PromptSetError(
                f"{named} has the seed {self.seed}, expected 0 to {LARGEST_SEED}; choose another."
            )

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """Seeds are `seed`, `seed + 1`, ... in sample order (modulo 2**64): no two are equal."""
        count = len(self.prompts)
        return tuple(
            Sample(i, i % count, self.prompts[i % count], (self.seed + i) % (LARGEST_SEED + 1))
            for i in range(count * self.seeds_per_prompt)
        )

    def drawn(self, count: int, *, seed: int) -> CalibrationPrompts:
        """`count` of the prompts, drawn without replacement by `seed`, in the order of drawing.

        Files are often sorted by subject; in this order every first few are a fair sample of all.
        """
        if not 1 <= count <= len(self.prompts):
            raise PromptSetError(
                f"{count} prompts were asked of '{self.source}', which has {len(self.prompts)}; "
                f"ask for 1 to {len(self.prompts)}."
            )
        chosen = np.random.default_rng(seed).permutation(len(self.prompts))[:count]
        prompts = tuple(self.prompts[i] for i in chosen)
        return CalibrationPrompts(prompts, self.seeds_per_prompt, self.seed, self.source)


def builtin_prompts(name: str) -> tuple[str, ...]:
    """The prompts of one of BUILTIN_SETS."""
    if name not in BUILTIN_SETS:
        raise PromptSetError(
            f"There is no built-in prompt set '{name}', expected one of {', '.join(BUILTIN_SETS)}; "
            "choose one, or give a prompt file."
        )
    return load_prompts(BUILTIN_FOLDER / f"{name}.txt")


def load_prompts(source: Path | str, format: PromptFormat = "auto") -> tuple[str, ...]:
    """The prompts of a file (a Path) or of pasted text (a str), in order; repeats stay.

    Formats, told by the file's ending, or given:
      text  one prompt a line; empty lines and lines that start with # are passed over
      json  a list of strings, or of objects with "prompt" (as ImageReward's [{id, prompt}])
      tsv   a header line with a column Prompt (as PartiPrompts), in any case
      csv   the same with commas
    Pasted text is `text` unless it starts with a JSON list.
    """
    name = source.name if isinstance(source, Path) else "the pasted text"
    text = read_text(source) if isinstance(source, Path) else source.removeprefix("\ufeff")
    if len(text) > MOST_BYTES:
        raise PromptSetError(too_large(name, len(text)))
    if format == "auto":
        format = told_format(source, text)
    if format == "text":
        prompts = prompts_of_lines(text)
    elif format == "json":
        prompts = prompts_of_json(text, name)
    elif format in ("tsv", "csv"):
        prompts = prompts_of_table(text, "\t" if format == "tsv" else ",", name)
    else:
        raise PromptSetError(
            f"'{format}' is no prompt format, expected one of auto, {', '.join(FORMATS.values())}; "
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
    return tuple(prompts)


def told_format(source: Path | str, text: str) -> PromptFormat:
    if isinstance(source, Path):
        ending = source.suffix.lower()
        if ending not in FORMATS:
            raise PromptSetError(
                f"{source.name} has the ending '{ending}', expected one of {', '.join(FORMATS)}; "
                "rename it, or name its format."
            )
        return FORMATS[ending]
    # A prompt may begin with a bracket, "[style] a cat", so the whole text must be a list.
    stripped = text.strip()
    return "json" if stripped.startswith(("[{", '["')) and stripped.endswith("]") else "text"


def read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise PromptSetError(too_large(path.name, size))
        data = path.read_bytes()
    except OSError as error:
        raise PromptSetError(
            f"The prompt file '{path}' cannot be read ({error.strerror}), expected a text file; "
            "check the path."
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptSetError(
            f"{path.name} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}), "
            "expected UTF-8; save it again with that encoding."
        ) from error


def too_large(name: str, size: int) -> str:
    return (
        f"{name} has {size / 2**20:.1f} MiB, expected at most {MOST_BYTES // 2**20} MiB; a prompt "
        "set is a short text, cut it down."
    )


def prompts_of_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def prompts_of_json(text: str, name: str) -> list[str]:
    try:
        entries: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptSetError(
            f"{name} is not JSON ({error}), expected a list of prompts; correct it."
        ) from error
    if not isinstance(entries, list):
        raise PromptSetError(
            f"{name} holds a JSON {type(entries).__name__}, expected a list of strings or of "
            'objects with "prompt"; put the prompts in [ ].'
        )
    prompts = []
    for i, entry in enumerate(entries):
        prompt = entry.get("prompt") if isinstance(entry, dict) else entry
        if not isinstance(prompt, str):
            raise PromptSetError(
                f"Entry {i} of {name} is {json.dumps(entry)[:60]}, expected a string or an object "
                'with a string "prompt"; correct it.'
            )
        if prompt.strip():
            prompts.append(" ".join(prompt.split()))
    return prompts


def prompts_of_table(text: str, delimiter: str, name: str) -> list[str]:
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
    header = [title.strip().lower() for title in rows[0]]
    if "prompt" not in header:
        found = ", ".join(f"'{title[:30]}'" for title in rows[0][:6])
        raise PromptSetError(
            f"{name} has the columns {found}, expected one called 'prompt'; add a header line, or "
            "save the prompts as one-a-line .txt."
        )
    column = header.index("prompt")
    prompts = [row[column].strip() for row in rows[1:] if len(row) > column]
    return [" ".join(unquoted(prompt).split()) for prompt in prompts if prompt]


def unquoted(cell: str) -> str:
    """A tab-separated cell that a spreadsheet has wrapped in quotation marks, without them."""
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


def common_prompts(a: Sequence[str], b: Sequence[str]) -> set[str]:
    """Prompts in both sets, compared without case and spacing: a held-out set must share none."""
    return {" ".join(p.lower().split()) for p in a} & {" ".join(p.lower().split()) for p in b}
