"""The benchmark's pictures, drawn as the pack draws its own."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ecad_search.drawing.canvas import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    PURPLE,
    RED,
    SOFT_INK,
    Canvas,
    Colour,
    mixed,
    ticks,
)

from .arms import ARMS, ECAD, OFFICIAL
from .verdict import Runs, curves, mean_curve, value_at

LEFT, TOP, RIGHT, BOTTOM = 92, 64, 320, 68  # pixels around the plot
WIDTH, HEIGHT = 1120, 620
COLOURS: tuple[Colour, ...] = (
    INK,
    SOFT_INK,
    BLUE,
    (176, 140, 10),
    GREEN,
    (0, 150, 170),
    ORANGE,
    PURPLE,
    RED,
    (150, 92, 50),
    (222, 98, 160),
    (110, 160, 30),
)


def colour_of(arm: str) -> Colour:
    """Ablations stand beside the official arm and ecad+ alone, so they use the others' again."""
    main = dict(zip((known.name for known in ARMS if not known.is_ablation), COLOURS, strict=False))
    if arm in main:
        return main[arm]
    free = [colour for colour in COLOURS if colour not in (main[OFFICIAL], main[ECAD])]
    return free[[known.name for known in ARMS if known.is_ablation].index(arm)]


def curves_plot(runs: Runs, arms: Sequence[str], title: str) -> Image.Image:
    """Mean held-out hypervolume against images, with every seed as a faint line."""
    canvas = Canvas(WIDTH, HEIGHT)
    shown = {arm: curves(runs[arm]) for arm in arms if runs.get(arm)}
    points = [point for found in shown.values() for curve in found for point in curve]
    low_images, high_images = min(p[0] for p in points), max(p[0] for p in points)
    best = max(p[1] for p in points)
    # What lies far below the best is the same "not there yet"; the interesting part gets the room.
    low = max(0.0, min([p[1] for p in points if p[1] > 0.5 * best], default=0.0))
    margin = max(0.06 * (best - low), 1e-3)
    low, high = low - margin, best + margin

    def at(images: float, value: float) -> tuple[float, float]:
        share = math.log(images / low_images) / max(math.log(high_images / low_images), 1e-9)
        height = (min(max(value, low), high) - low) / (high - low)
        return (
            LEFT + share * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - height * (HEIGHT - TOP - BOTTOM),
        )

    _frame(canvas, title, "images the arm has asked for", "held-out hypervolume")
    for value in ticks(low, high, 7):
        (x, y), (to_x, _) = at(low_images, value), at(high_images, value)
        canvas.line([(x, y), (to_x, y)], FAINT)
        canvas.text((x - 8, y), f"{value:.4g}", size=13, colour=SOFT_INK, anchor="rm")
    for images in _round_numbers(low_images, high_images):
        x, y = at(images, low)
        canvas.line([(x, TOP), (x, y)], FAINT)
        canvas.text((x, y + 8), f"{images:,}", size=13, colour=SOFT_INK, anchor="ma")
    for arm, found in shown.items():
        for curve in found:
            faint = mixed(colour_of(arm), PAPER, 0.28)
            canvas.line([at(images, value) for images, value in curve], faint, width=1.0)
    for arm, found in shown.items():
        mean = [at(images, value) for images, value in mean_curve(found)]
        canvas.line(mean, colour_of(arm), width=2.6)
        for point in mean:
            canvas.disc(point, 3.2, fill=colour_of(arm))
    last = {
        arm: statistics.fmean(value_at(c, high_images) for c in found)
        for arm, found in shown.items()
    }
    for row, arm in enumerate(sorted(shown, key=lambda name: -last[name])):
        y = TOP + 14 + 26 * row
        left = WIDTH - RIGHT + 24
        canvas.line([(left, y), (left + 26, y)], colour_of(arm), width=3)
        name = arm.removeprefix(f"{ECAD} ")  # an ablation's: what it is without
        canvas.text((left + 34, y), f"{name}  {last[arm]:.3f}", size=13, anchor="lm")
    return canvas.image()


def fronts_plot(runs: Runs, arms: Sequence[str], worst: float, title: str) -> Image.Image:
    """Held-out loss against cost of the schedules that each arm ends with, all seeds together."""
    canvas = Canvas(WIDTH, HEIGHT)
    shown: dict[str, list[dict[str, Any]]] = {
        arm: [pick for run in runs[arm] for pick in run["checkpoints"][-1]["picks"]]
        for arm in arms
        if runs.get(arm)
    }
    low = min([p["loss"] for found in shown.values() for p in found], default=0.0)
    low, high = min(low, 0.0) - 0.05 * worst, worst

    def at(cost: float, loss: float) -> tuple[float, float]:
        height = (min(max(loss, low), high) - low) / (high - low)
        return LEFT + cost * (WIDTH - LEFT - RIGHT), TOP + height * (HEIGHT - TOP - BOTTOM)

    _frame(canvas, title, "MACs, as a share of the uncached run's", "held-out loss, up is better")
    for loss in ticks(low, high, 7):
        canvas.line([at(0, loss), at(1, loss)], FAINT)
        canvas.text(
            (LEFT - 8, at(0, loss)[1]), f"{loss:.3g}", size=13, colour=SOFT_INK, anchor="rm"
        )
    for cost in ticks(0, 1, 10):
        canvas.line([at(cost, low), at(cost, high)], FAINT)
        x, y = at(cost, high)
        canvas.text((x, y + 8), f"{cost:.2g}", size=13, colour=SOFT_INK, anchor="ma")
    for arm, found in shown.items():
        for pick in found:
            canvas.disc(
                at(pick["cost"], pick["loss"]),
                4.5,
                fill=mixed(colour_of(arm), PAPER, 0.55),
                outline=colour_of(arm),
                width=1.2,
            )
    for row, arm in enumerate(shown):
        y = TOP + 14 + 26 * row
        canvas.disc((WIDTH - RIGHT + 37, y), 5, fill=colour_of(arm))
        canvas.text((WIDTH - RIGHT + 58, y), arm, size=13, anchor="lm")
    return canvas.image()


def _frame(canvas: Canvas, title: str, below: str, beside: str) -> None:
    canvas.text((LEFT, 24), title, size=17, bold=True)
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    canvas.text((middle, HEIGHT - 30), below, size=14, anchor="ma")
    canvas.upright_text((22, TOP + (HEIGHT - TOP - BOTTOM) / 2), beside, size=14)


def _round_numbers(low: float, high: float) -> list[int]:
    """1, 2 and 5 times powers of ten within [low, high]."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [
        round(factor * 10**power)
        for power in powers
        for factor in (1, 2, 5)
        if low <= factor * 10**power <= high
    ]
