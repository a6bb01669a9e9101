"""Rows of text in columns, for a terminal or a text widget."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def text_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[int] = (0,),
    ruled: bool = False,
) -> str:
    """Columns of equal width; those in `left` are left-aligned, the others right-aligned.

    `ruled` draws a line under the header.
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    first = line(header)
    return "\n".join([first, *(["-" * len(first)] if ruled else []), *map(line, rows)])
