"""A drawing surface with smooth lines and one typeface; positions and sizes are in final pixels."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]
Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 33, 43)
SOFT_INK: Colour = (104, 112, 125)
FAINT: Colour = (228, 231, 236)
BLUE: Colour = (35, 98, 215)
ORANGE: Colour = (222, 98, 14)
GREEN: Colour = (20, 134, 84)
PURPLE: Colour = (126, 63, 186)
RED: Colour = (206, 38, 62)

OVERSAMPLING = 2  # lines become smooth when a picture of twice the size is reduced
SPELLED = {  # what Pillow's built-in typeface lacks, in the words it has
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
}


class Canvas:
    """Draw on it, then take `image()`."""

    def __init__(self, width: int, height: int, paper: Colour = PAPER) -> None:
        self.width, self.height = width, height
        size = (width * OVERSAMPLING, height * OVERSAMPLING)
        self.picture = Image.new("RGB", size, paper)
        self.pencil = ImageDraw.Draw(self.picture)

    def image(self) -> Image.Image:
        return self.picture.reduce(OVERSAMPLING)

    def line(
        self,
        points: Sequence[Point],
        colour: Colour,
        *,
        width: float = 1.0,
        dash: float | None = None,
    ) -> None:
        """A polyline; `dash` is the length of its dashes and gaps, None draws it whole."""
        pieces = [list(points)] if dash is None else list(dashes(points, dash))
        for piece in pieces:
            self.pencil.line(scaled(piece), fill=colour, width=thickness(width), joint="curve")

    def area(self, points: Sequence[Point], colour: Colour) -> None:
        self.pencil.polygon(scaled(points), fill=colour)

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        *,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1.0,
        radius: float = 0.0,
    ) -> None:
        """A rectangle; `right` and `bottom` are its edges, not its last pixels."""
        (x, y), (to_x, to_y) = scaled([(left, top), (right, bottom)])
        self.pencil.rounded_rectangle(
            (x, y, max(x, to_x - 1), max(y, to_y - 1)),
            radius=radius * OVERSAMPLING,
            fill=fill,
            outline=outline,
            width=thickness(width),
        )

    def disc(
        self,
        centre: Point,
        radius: float,
        *,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1.0,
    ) -> None:
        x, y = centre
        (left, top), (right, bottom) = scaled([(x - radius, y - radius), (x + radius, y + radius)])
        self.pencil.ellipse(
            (left, top, right, bottom), fill=fill, outline=outline, width=thickness(width)
        )

    def text(
        self,
        at: Point,
        text: str,
        *,
        size: float = 14,
        colour: Colour = INK,
        anchor: str = "la",
        bold: bool = False,
        halo: Colour | None = None,
    ) -> None:
        """One line; `anchor` as Pillow's: l m r for the side, a s m d for the height."""
        x, y = scaled([at])[0]
        typeface, printed = font(size), printable(text)
        if halo is not None:
            self.pencil.text(
                (x, y), printed, font=typeface, fill=halo, anchor=anchor, stroke_width=5
            )
        # The typeface has no bold cut; a second print half a pixel to the right looks like one.
        for shift in range(1 + (1 + int(size >= 18)) * bold):
            self.pencil.text((x + shift, y), printed, font=typeface, fill=colour, anchor=anchor)

    def upright_text(self, at: Point, text: str, *, size: float = 14, colour: Colour = INK) -> None:
        """One line that reads from bottom to top, with its middle at `at`."""
        printed, typeface = printable(text), font(size)
        left, top, right, bottom = typeface.getbbox(printed)
        mask = Image.new("L", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 2), 0)
        ImageDraw.Draw(mask).text((1 - left, 1 - top), printed, font=typeface, fill=255)
        mask = mask.rotate(90, expand=True)
        x, y = scaled([at])[0]
        self.picture.paste(colour, (x - mask.width // 2, y - mask.height // 2), mask)

    def paste(self, picture: Image.Image, left: float, top: float, width: int, height: int) -> None:
        """A picture, resized to `width` x `height`."""
        how = Image.Resampling.BICUBIC if picture.width < width else Image.Resampling.LANCZOS
        shown = picture.convert("RGB").resize((width, height), how)
        # Whole pixels, so that `image()` gives back these very values.
        shown = shown.resize(
            (width * OVERSAMPLING, height * OVERSAMPLING), Image.Resampling.NEAREST
        )
        self.picture.paste(shown, scaled([(left, top)])[0])


def text_width(text: str, size: float = 14) -> float:
    return font(size).getlength(printable(text)) / OVERSAMPLING


def shortened(text: str, width: float, size: float = 14) -> str:
    """The text, or as much of its beginning as fits in `width`, with three dots."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "...", size) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def wrapped(text: str, width: float, *, size: float = 14, lines: int = 3) -> list[str]:
    """The text in at most `lines` lines of `width`, broken between words; the last is shortened."""
    found: list[str] = []
    words = text.split()
    while words and len(found) < lines - 1:
        line = words.pop(0)
        while words and text_width(f"{line} {words[0]}", size) <= width:
            line += f" {words.pop(0)}"
        found.append(shortened(line, width, size))
    if words:
        found.append(shortened(" ".join(words), width, size))
    return found


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """`share` of `colour`, the rest of `other`."""
    red, green, blue = (
        round(share * a + (1 - share) * b) for a, b in zip(colour, other, strict=True)
    )
    return red, green, blue


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers (1, 2, 2.5, 5 times a power of ten) within [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def printable(text: str) -> str:
    """The text without what Pillow's built-in typeface has no shape for."""
    shown = []
    for character in text:
        character = SPELLED.get(character, character)
        if not character.isascii() and character not in "±·°":
            plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
            character = plain or "?"
        shown.append(character if character.isprintable() else " ")
    return "".join(shown)


@lru_cache(maxsize=32)
def font(size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size * OVERSAMPLING)  # pyright: ignore[reportReturnType]


def scaled(points: Sequence[Point]) -> list[tuple[int, int]]:
    return [(round(x * OVERSAMPLING), round(y * OVERSAMPLING)) for x, y in points]


def thickness(width: float) -> int:
    return max(1, round(width * OVERSAMPLING))


def dashes(points: Sequence[Point], length: float) -> list[list[Point]]:
    """The dashes of a polyline; every corner starts a new one."""
    found = []
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        whole = math.hypot(to_x - x, to_y - y)
        for i in range(math.ceil(whole / (2 * length))):
            start = 2 * i * length / whole
            end = min(1.0, start + length / whole)
            found.append(
                [
                    (x + start * (to_x - x), y + start * (to_y - y)),
                    (x + end * (to_x - x), y + end * (to_y - y)),
                ]
            )
    return found
