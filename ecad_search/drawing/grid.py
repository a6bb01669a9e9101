"""The same samples under several schedules: one row for a sample, one column for a schedule."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from .canvas import SOFT_INK, Canvas, shortened, wrapped

EDGE, GAP = 20, 8  # pixels
LABEL_WIDTH = 150
LARGEST_SIDE, SMALLEST_SIDE = 512, 128  # of one picture


def picture_grid(
    pictures: Sequence[Sequence[Image.Image]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
) -> Image.Image:
    """`pictures[row][column]`, all of one size, with the prompts left and the schedules above.

    A column's label may have a second line after a line break; it is set smaller.
    """
    width, height = shown_size(pictures)
    columns = len(column_labels)
    head = 30 + 18 * any("\n" in label for label in column_labels)
    left, top = EDGE + LABEL_WIDTH + GAP, EDGE + head
    canvas = Canvas(
        left + columns * (width + GAP) - GAP + EDGE,
        top + max(1, len(pictures)) * (height + GAP) - GAP + EDGE,
    )
    for column, label in enumerate(column_labels):
        x = left + column * (width + GAP)
        first, _, second = label.partition("\n")
        canvas.text((x, EDGE), shortened(first, width, 15), size=15, bold=True)
        canvas.text((x, EDGE + 21), shortened(second, width, 12), size=12, colour=SOFT_INK)
    for row, (shown, label) in enumerate(zip(pictures, row_labels, strict=True)):
        y = top + row * (height + GAP)
        for line, words in enumerate(
            wrapped(label, LABEL_WIDTH - GAP, size=13, lines=height // 18)
        ):
            canvas.text((EDGE, y + 2 + 18 * line), words, size=13)
        for column, picture in enumerate(shown):
            canvas.paste(picture, left + column * (width + GAP), y, width, height)
    return canvas.image()


def shown_size(pictures: Sequence[Sequence[Image.Image]]) -> tuple[int, int]:
    """Width and height of a picture in the grid: its own, unless too small or too large."""
    if not pictures or not pictures[0]:
        return SMALLEST_SIDE, SMALLEST_SIDE
    first = pictures[0][0]
    longest = max(first.size)
    scale = min(max(longest, SMALLEST_SIDE), LARGEST_SIDE) / longest
    return max(1, round(first.width * scale)), max(1, round(first.height * scale))
