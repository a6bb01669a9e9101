"""Measured text in a Markdown page that people write: it stands between two marks."""

from __future__ import annotations

from pathlib import Path

from .problem import Problem


def write_into(page: Path, name: str, text: str) -> None:
    """Put `text` between the lines `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise Problem(f"{page} has no place for the table: add the lines {begin} and {end}.")
    page.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")
