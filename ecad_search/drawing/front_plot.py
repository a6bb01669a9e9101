"""A front as a plot: quality against cost, with error bars, references and what to pick."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from PIL import Image

from ..core.front import Front, FrontPoint
from ..core.schedule import Schedule
from .canvas import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    RED,
    SOFT_INK,
    Canvas,
    Colour,
    Point,
    mixed,
    shortened,
    text_width,
    ticks,
)

LEFT, TOP, RIGHT, BOTTOM = 92, 146, 30, 74  # pixels around the plot
LEAST_COST_SHOWN, LEAST_QUALITY_SHOWN = 0.2, 0.01  # what the axes span at least
SPEEDUPS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100)
LABEL_SIZE = 13
FAR_BELOW = 1.0  # references lower than this many heights of the front are drawn at the edge


def front_plot(
    front: Front, *, picked: Schedule | None = None, width: int = 1024, height: int | None = None
) -> Image.Image:
    """The picture; `picked` is marked when it is on the front."""
    canvas = Canvas(width, height or round(width * 0.75))
    points = list(front)
    title(canvas, front)
    if not points:
        canvas.text(
            (canvas.width / 2, canvas.height / 2),
            "This front is empty: no candidate has been measured yet.",
            size=16,
            anchor="mm",
            colour=SOFT_INK,
        )
        return canvas.image()
    axes = Axes.around(front, canvas)
    labels = Labels(canvas, axes)
    stairs = envelope(axes, front.leading)
    if stairs:
        canvas.area(
            [*stairs, (axes.right, axes.bottom), (stairs[0][0], axes.bottom)],
            mixed(BLUE, PAPER, 0.07),
        )
    grid(canvas, axes, in_seconds=any(point.seconds for point in front))
    found = [point for point in front.members if not point.is_reference]
    canvas.line(stairs, mixed(BLUE, PAPER, 0.55), width=1.6)
    labels.taken += [box_along(a, b) for a, b in pairwise(stairs)]
    for point in points:
        error_bar(canvas, axes, point)
        labels.taken.append(box_along(*bar_ends(axes, point)))
    for point in points:
        mark(canvas, axes, point)
        labels.taken.append(box_around(axes.at(point), 7))
    marked = picks(front, picked)
    for point, _, colour in marked:
        canvas.disc(axes.at(point), 11, outline=colour, width=2.5)
    legend(canvas, front, found)
    for point, name, colour in marked:
        labels.place(axes.at(point), [name, facts(point)], colour, bold=True, away=16)
    for point in front.references:
        name = short_name(point.schedule.name)
        if point.quality < axes.low:
            name += f" ({point.quality:+.3g})"
        labels.place(axes.at(point), [name], reference_colour(point), away=10)
    return canvas.image()


@dataclass(frozen=True)
class Axes:
    """From cost (a share of uncached) and quality to pixels."""

    left: float
    top: float
    right: float
    bottom: float
    cheapest: float  # cost at the left edge
    dearest: float
    low: float  # quality at the bottom edge
    high: float

    @classmethod
    def around(cls, front: Front, canvas: Canvas) -> Axes:
        """Room for every point; a reference far below the front is left to the bottom edge."""
        costs = [point.cost for point in front]
        spread = max(max(costs) - min(costs), LEAST_COST_SHOWN)
        members = front.members or tuple(front)
        high = max(point.quality + point.quality_stderr for point in front)
        low = min(point.quality - point.quality_stderr for point in members)
        height = max(high - low, LEAST_QUALITY_SHOWN)
        near = [point for point in front if point.quality > low - FAR_BELOW * height]
        low = min(point.quality - point.quality_stderr for point in near)
        margin = max(0.09 * (high - low), (LEAST_QUALITY_SHOWN - (high - low)) / 2)
        return cls(
            LEFT,
            TOP,
            canvas.width - RIGHT,
            canvas.height - BOTTOM,
            max(0.0, max(costs) - 1.06 * spread),
            max(costs) + 0.06 * spread,
            low - margin,
            high + margin,
        )

    def x(self, cost: float) -> float:
        share = (cost - self.cheapest) / (self.dearest - self.cheapest)
        return self.left + share * (self.right - self.left)

    def y(self, quality: float) -> float:
        share = (min(max(quality, self.low), self.high) - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)

    def at(self, point: FrontPoint) -> Point:
        y = self.y(point.quality)
        return self.x(point.cost), min(y, self.bottom - 12) if point.quality < self.low else y


def title(canvas: Canvas, front: Front) -> None:
    canvas.text((24, 24), "Quality against cost", size=22, bold=True)
    words = subtitle(front)
    if words:
        canvas.text((24, 54), shortened(words, canvas.width - 48, 14), size=14, colour=SOFT_INK)


def subtitle(front: Front) -> str:
    """What the front is of: the model, the steps, how many samples stand behind its points."""
    if not front.points:
        return ""
    schedule = front.points[0].schedule
    found = sum(not point.is_reference for point in front.members)
    samples = [point.samples for point in front]
    few, many = min(samples), max(samples)
    return (
        f"{schedule.architecture.describe()} · {schedule.steps} steps · "
        f"{found} schedules found · "
        f"{few if few == many else f'{few} to {many}'} samples each, bars are ± 1 standard error"
    )


def grid(canvas: Canvas, axes: Axes, *, in_seconds: bool) -> None:
    room_x = axes.right - axes.left
    for cost in ticks(axes.cheapest * 100, min(axes.dearest * 100, 100), round(room_x / 110)):
        x = axes.x(cost / 100)
        canvas.line([(x, axes.top), (x, axes.bottom)], FAINT)
        canvas.text((x, axes.bottom + 9), f"{cost:g}%", size=13, anchor="ma", colour=SOFT_INK)
    for quality in ticks(axes.low, axes.high, round((axes.bottom - axes.top) / 62)):
        y = axes.y(quality)
        canvas.line([(axes.left, y), (axes.right, y)], FAINT)
        canvas.text(
            (axes.left - 9, y),
            f"{quality:+g}" if quality else "0",
            size=13,
            anchor="rm",
            colour=SOFT_INK,
        )
    last = None
    for speedup in SPEEDUPS:
        x = axes.x(1 / speedup)
        if not axes.left <= x <= axes.right or (last is not None and last - x < 44):
            continue
        last = x
        canvas.line([(x, axes.top - 5), (x, axes.top)], SOFT_INK)
        canvas.text((x, axes.top - 9), f"{speedup:g}x", size=13, anchor="ms", colour=SOFT_INK)
    if axes.low < 0 < axes.high:
        zero = axes.y(0)
        canvas.line([(axes.left, zero), (axes.right, zero)], SOFT_INK, width=1.2, dash=5)
    canvas.box(axes.left, axes.top, axes.right, axes.bottom, outline=SOFT_INK)
    middle = (axes.left + axes.right) / 2
    cost, saved = ("MACs", "times fewer MACs")
    if in_seconds:
        cost, saved = ("predicted seconds", "times faster, predicted")
    words = f"{cost}, share of the uncached run"
    canvas.text((middle, axes.bottom + 38), words, size=14, anchor="ma")
    canvas.text((middle, axes.top - 30), saved, size=13, anchor="ms", colour=SOFT_INK)
    canvas.upright_text(
        (28, (axes.top + axes.bottom) / 2), "quality, mean score minus uncached", size=14
    )


def envelope(axes: Axes, leading: Sequence[FrontPoint]) -> list[Point]:
    """The stairs below which every schedule is beaten by one of the front."""
    stairs: list[Point] = []
    for point in leading:
        x, y = axes.x(point.cost), axes.y(point.quality)
        if stairs:
            stairs.append((x, stairs[-1][1]))
        stairs.append((x, y))
    if stairs:
        stairs.append((axes.right, stairs[-1][1]))
    return stairs


def error_bar(canvas: Canvas, axes: Axes, point: FrontPoint) -> None:
    if point.quality_stderr <= 0 or point.quality < axes.low:
        return
    ends = bar_ends(axes, point)
    colour = mixed(colour_of(point), PAPER, 0.6)
    canvas.line(ends, colour, width=1.4)
    for x, y in ends:
        canvas.line([(x - 4, y), (x + 4, y)], colour, width=1.4)


def bar_ends(axes: Axes, point: FrontPoint) -> tuple[Point, Point]:
    x = axes.x(point.cost)
    return (
        (x, axes.y(point.quality + point.quality_stderr)),
        (x, axes.y(point.quality - point.quality_stderr)),
    )


def mark(canvas: Canvas, axes: Axes, point: FrontPoint) -> None:
    """A disc for what was found, a square for a reference, an arrow for one far below the plot."""
    x, y = axes.at(point)
    colour = colour_of(point)
    if point.quality < axes.low:
        canvas.area([(x - 7, y - 6), (x + 7, y - 6), (x, y + 8)], colour)
    elif point.is_reference:
        canvas.box(x - 6, y - 6, x + 6, y + 6, fill=colour, outline=PAPER, width=1.5, radius=1)
    else:
        canvas.disc((x, y), 6, fill=colour, outline=PAPER, width=1.5)


def colour_of(point: FrontPoint) -> Colour:
    return reference_colour(point) if point.is_reference else BLUE


def reference_colour(point: FrontPoint) -> Colour:
    return INK if bool(point.schedule.compute.all()) else ORANGE


def picks(front: Front, picked: Schedule | None) -> list[tuple[FrontPoint, str, Colour]]:
    """The points that deserve words: the knee, and the one that was picked."""
    if not front.members:
        return []
    knee = front.pick_knee()
    chosen = next((p for p in front if picked is not None and p.schedule == picked), None)
    if chosen is None:
        return [(knee, "knee", GREEN)]
    if chosen is knee:
        return [(knee, "picked, the knee", RED)]
    return [(chosen, "picked", RED), (knee, "knee", GREEN)]


def facts(point: FrontPoint) -> str:
    return f"{point.speedup:.2f}x, {point.quality:+.3g}"


def short_name(name: str) -> str:
    """'fora-2-20-steps' -> 'fora-2': all of a front have the same steps."""
    return re.sub(r"-\d+-steps$", "", name) or "reference"


def legend(canvas: Canvas, front: Front, found: Sequence[FrontPoint]) -> None:
    entries: list[tuple[Colour, bool, str]] = []
    if found:
        entries.append((BLUE, True, "found by the search"))
    colours = {reference_colour(point) for point in front.references}
    if ORANGE in colours:
        entries.append((ORANGE, False, "hand-made schedules"))
    if INK in colours:
        entries.append((INK, False, "uncached"))
    x = 24.0
    for colour, is_round, words in entries:
        if is_round:
            canvas.disc((x + 6, 90), 6, fill=colour)
        else:
            canvas.box(x, 84, x + 12, 96, fill=colour, radius=1)
        canvas.text((x + 19, 90), words, size=13, anchor="lm")
        x += 19 + text_width(words, 13) + 24


Box = tuple[float, float, float, float]


@dataclass
class Labels:
    """Puts labels beside points, where nothing lies yet."""

    canvas: Canvas
    axes: Axes
    taken: list[Box] = field(default_factory=list)

    def place(
        self, at: Point, lines: Sequence[str], colour: Colour, *, away: float, bold: bool = False
    ) -> None:
        width = max(text_width(line, LABEL_SIZE) for line in lines) + 4
        height = 17 * len(lines)
        x, y = at
        spots = [
            (x + dx * away - (width if dx < 0 else 0 if dx > 0 else width / 2),
             y + dy * away - (height if dy < 0 else 0 if dy > 0 else height / 2))
            for distance in (1.0, 2.2, 3.6)
            for dx, dy in ((distance, 0), (distance, 0.7), (-distance, -0.7), (-distance, 0),
                           (distance, -0.7), (0, distance), (0, -distance), (-distance, 0.7))
        ]  # fmt: skip
        boxes = [(left, top, left + width, top + height) for left, top in spots]
        best = min(boxes, key=self.trouble)
        self.taken.append(best)
        for i, line in enumerate(lines):
            self.canvas.text(
                (best[0] + 2, best[1] + 17 * i),
                line,
                size=LABEL_SIZE,
                colour=colour if i == 0 else INK,
                bold=bold and i == 0,
                halo=PAPER,
            )

    def trouble(self, box: Box) -> float:
        """How much of a label would lie on other things, or leave the plot; 0 is a free spot."""
        outside = (
            max(0.0, self.axes.left - box[0])
            + max(0.0, box[2] - self.axes.right)
            + max(0.0, self.axes.top - box[1])
            + max(0.0, box[3] - self.axes.bottom)
        )
        return 100 * outside + sum(overlaps(box, self.taken))


def box_around(at: Point, radius: float) -> Box:
    return at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius


def box_along(a: Point, b: Point) -> Box:
    """A horizontal or vertical line with a little room around it."""
    return min(a[0], b[0]) - 2, min(a[1], b[1]) - 2, max(a[0], b[0]) + 2, max(a[1], b[1]) + 2


def overlaps(box: Box, others: Iterable[Box]) -> Iterable[float]:
    """The areas a box shares with others."""
    for other in others:
        width = min(box[2], other[2]) - max(box[0], other[0])
        height = min(box[3], other[3]) - max(box[1], other[1])
        yield max(0.0, width) * max(0.0, height)
