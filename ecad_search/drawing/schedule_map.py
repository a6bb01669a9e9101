"""A schedule as a map: steps across, blocks down, one panel for each component."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..core.architecture import BlockGroup, Component
from ..core.cost import relative_cost
from ..core.schedule import Schedule
from .canvas import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    PURPLE,
    SOFT_INK,
    Canvas,
    Colour,
    mixed,
    shortened,
    text_width,
)

EDGE = 24  # pixels, as all below
HEAD = 92  # title, facts and legend
AXIS = 34  # block numbers, left of each row of panels
GAP = 26  # between panels
PANEL_HEAD, PANEL_FOOT = 26, 80
PROFILE = 26  # height of the bars under a panel
CELL_HEIGHTS = (7, 16)
REUSED: Colour = (234, 237, 242)
COLOURS = (BLUE, PURPLE, GREEN)


def schedule_map(schedule: Schedule, *, width: int = 1024) -> Image.Image:
    """The picture, `width` pixels wide and as high as its blocks need."""
    groups = schedule.architecture.groups
    most = max(len(group.components) for group in groups)
    panel_width = (width - 2 * EDGE - AXIS - (most - 1) * GAP) / most
    cell_width = panel_width / schedule.steps
    shortest, tallest = CELL_HEIGHTS
    cell_height = round(min(max(cell_width, shortest), tallest))
    heights = [PANEL_HEAD + group.count * cell_height + PANEL_FOOT for group in groups]
    canvas = Canvas(width, EDGE + HEAD + sum(heights))
    head(canvas, schedule)
    top = EDGE + HEAD
    for group, height in zip(groups, heights, strict=True):
        block_axis(canvas, group, EDGE + AXIS, top + PANEL_HEAD, cell_height)
        for i, component in enumerate(group.components):
            panel = Panel(
                canvas,
                left=EDGE + AXIS + i * (panel_width + GAP),
                top=top + PANEL_HEAD,
                cell_width=cell_width,
                cell_height=cell_height,
                colour=COLOURS[i % len(COLOURS)],
            )
            panel.draw(rows_of(schedule, group, component))
            panel.title(title_of(schedule, group, component))
        top += height
    return canvas.image()


def rows_of(schedule: Schedule, group: BlockGroup, component: Component) -> npt.NDArray[np.bool_]:
    """(steps, blocks): where one component of a group computes."""
    architecture = schedule.architecture
    columns = [
        architecture.cell(group.name, block, component.name).index for block in range(group.count)
    ]
    return schedule.compute[:, columns]


def title_of(schedule: Schedule, group: BlockGroup, component: Component) -> str:
    name = component.name
    if len(schedule.architecture.groups) > 1:
        name = f"{group.name.replace('_', ' ')} · {name}"
    payload = schedule.payload.get(component.name)
    return name if payload is None else f"{name} ({payload})"


def head(canvas: Canvas, schedule: Schedule) -> None:
    room = canvas.width - 2 * EDGE
    canvas.text((EDGE, EDGE), shortened(schedule.name or "Schedule", room, 22), size=22, bold=True)
    native = schedule.architecture.native_workload()
    facts = (
        f"{schedule.architecture.describe()} · {schedule.steps} steps · "
        f"{schedule.computed_fraction:.0%} of the components computed · "
        f"{1 / relative_cost(schedule, native):.2f}x fewer MACs at "
        f"{native.width} x {native.height}"
    )
    canvas.text((EDGE, EDGE + 30), shortened(facts, room), size=14, colour=SOFT_INK)
    x, y = float(EDGE), EDGE + 58
    for colours, words in ((COLOURS, "computed"), ((REUSED,), "reused from an earlier step")):
        for colour in colours:
            canvas.box(x, y, x + 14, y + 14, fill=colour, radius=2)
            x += 18
        canvas.text((x + 3, y + 7), words, size=13, anchor="lm")
        x += text_width(words, 13) + 26
    canvas.text(
        (x, y + 7),
        "bars: share of a step's blocks that compute",
        size=13,
        anchor="lm",
        colour=SOFT_INK,
    )


def block_axis(canvas: Canvas, group: BlockGroup, right: float, top: float, height: float) -> None:
    every = 1 if group.count <= 12 else 5
    for block in range(0, group.count, every):
        y = top + (block + 0.5) * height
        canvas.text((right - 7, y), str(block), size=11, anchor="rm", colour=SOFT_INK)
    middle = top + group.count * height / 2
    canvas.upright_text((EDGE + 2, middle), "block", size=12, colour=SOFT_INK)


class Panel:
    """The map of one component of one group of blocks."""

    def __init__(
        self,
        canvas: Canvas,
        *,
        left: float,
        top: float,
        cell_width: float,
        cell_height: float,
        colour: Colour,
    ) -> None:
        self.canvas, self.left, self.top = canvas, left, top
        self.cell_width, self.cell_height = cell_width, cell_height
        self.colour = colour
        self.share = 0.0
        self.width = 0.0

    def draw(self, compute: npt.NDArray[np.bool_]) -> None:
        """Cells, bars and the numbers of the steps; `compute` is (steps, blocks)."""
        steps, blocks = compute.shape
        self.share, self.width = float(compute.mean()), steps * self.cell_width
        gap = 1.0 if self.cell_width >= 5 else 0.0  # many steps leave no room for lines between
        for step, block in np.ndindex(steps, blocks):
            x, y = self.left + step * self.cell_width, self.top + block * self.cell_height
            self.canvas.box(
                x,
                y,
                x + self.cell_width - gap,
                y + self.cell_height - 1,
                fill=self.colour if compute[step, block] else REUSED,
            )
        foot = self.top + blocks * self.cell_height + 8 + PROFILE
        for step, share in enumerate(compute.mean(axis=1).tolist()):
            x = self.left + step * self.cell_width
            self.canvas.box(
                x,
                foot - max(PROFILE * share, 0.5),
                x + self.cell_width - gap,
                foot,
                fill=mixed(self.colour, (255, 255, 255), 0.55),
            )
        self.canvas.line([(self.left, foot), (self.left + self.width, foot)], FAINT)
        every = next(
            e
            for e in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)
            if e * self.cell_width >= 22
        )
        for step in range(0, steps, every):
            x = self.left + (step + 0.5) * self.cell_width
            self.canvas.text((x, foot + 5), str(step), size=11, anchor="ma", colour=SOFT_INK)
        self.canvas.text(
            (self.left + self.width / 2, foot + 18), "step", size=12, anchor="ma", colour=SOFT_INK
        )

    def title(self, name: str) -> None:
        share = f"{self.share:.0%} computed"
        room = self.width - text_width(share, 13) - 10
        y = self.top - 9
        self.canvas.text((self.left, y), shortened(name, room, 14), anchor="ls", bold=True)
        self.canvas.text(
            (self.left + self.width, y), share, size=13, anchor="rs", colour=self.colour or INK
        )
