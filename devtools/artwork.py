"""What the pack is shown by: icon and banner in ComfyUI's registry, cards in its template browser.

    python -m devtools.artwork
    python -m devtools.artwork --benchmark ComfyUI/output/ecad/emoji-benchmark

The first line draws what is drawn from schedules that ship: every row is a block and every column a
sampling step, a square where the block computes something, and a bar for as long as it reuses what
it has. The second line also makes the cards with pictures, from the folder of a benchmark: that of
the example `emoji_benchmark`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ecad_search.core import schedule_json
from ecad_search.core.schedule import Schedule
from ecad_search.drawing.canvas import Canvas, Colour, mixed

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
EXAMPLES = ROOT / "example_workflows"
SCHEDULES = ROOT / "schedules"
SEARCHED = "emoji-pixart/ecad-4.9x-20-steps"
ICON = 400  # the registry takes up to 400 x 400 ...
BANNER = (1260, 540)  # ... and 21:9
CARD = 480
MARGIN = 24  # of a card
NIGHT: Colour = (22, 26, 36)
WHITE: Colour = (245, 247, 250)
SOFT: Colour = (158, 168, 184)
WORDS = (
    "Compute once, reuse on schedule:",
    "faster diffusion transformers,",
    "searched for your own model",
)
HUES: tuple[Colour, ...] = ((86, 156, 255), (255, 158, 74), (72, 199, 142))
DRAWN_CARDS = {  # example: schedule, blocks to show, words
    "flux_cached": ("flux/fora-2-20-steps", range(8), ("FLUX", "under a schedule")),
    "pixart_cached": ("pixart/fora-3-20-steps", range(8), ("PixArt", "under a schedule")),
    "checkpoint_search": (SEARCHED, range(2, 10), ("Your checkpoint", "search its own schedules")),
}
PICTURE_CARDS = {  # example: what is shown of a benchmark
    "emoji_cached_generation": ("uncached", "ecad-4.9x-20-steps"),
    "emoji_benchmark": ("uncached", "FORA 4", "FORA 5", "ecad-4.9x-20-steps"),
}
SAMPLES = (22, 46, 40, 16)  # a penguin, a house, pancakes, a tiger
FRONT_CARD = "emoji_search"
FRONT_PART = (44, 128, 624, 708)  # of docs/images/front.png: where the schedules are


def load(name: str) -> Schedule:
    return schedule_json.load(SCHEDULES / f"{name}.json")


def icon(schedule: Schedule) -> Image.Image:
    canvas = Canvas(ICON, ICON, NIGHT)
    draw_rows(
        canvas, schedule, blocks=range(2, 8), left=36, top=44, across=47, pitch=55, right=ICON - 36
    )
    return canvas.image()


def banner(schedule: Schedule) -> Image.Image:
    canvas = Canvas(*BANNER, NIGHT)
    draw_rows(canvas, schedule, blocks=range(10), left=610, top=84, across=30.4, pitch=38)
    canvas.text((64, 168), "ComfyUI-ECAD", size=58, colour=WHITE, bold=True)
    for i, line in enumerate(WORDS):
        canvas.text((66, 262 + 40 * i), line, size=27, colour=SOFT)
    return canvas.image()


def drawn_card(schedule: Schedule, blocks: Sequence[int], words: tuple[str, str]) -> Image.Image:
    canvas = Canvas(CARD, CARD, NIGHT)
    title, line = words
    canvas.text((MARGIN, 30), title, size=40, colour=WHITE, bold=True)
    canvas.text((MARGIN, 86), line, size=23, colour=SOFT)
    draw_rows(
        canvas, schedule, blocks=blocks, left=MARGIN, top=146, across=36, pitch=40, right=CARD
    )
    return canvas.image()


def picture_card(benchmark: Path, columns: Sequence[str]) -> Image.Image:
    """Samples of a benchmark, one under the other: the same seed in each of the columns."""
    summary = json.loads((benchmark / "summary.json").read_text(encoding="utf-8"))
    names = [row["name"] for row in summary["rows"]]
    count, gap, top = len(columns), 8, 58
    side = (CARD - top - MARGIN - gap * (count - 1)) // count
    first = (CARD - count * side - gap * (count - 1)) // 2
    canvas = Canvas(CARD, CARD, NIGHT)
    for i, column in enumerate(columns):
        label = "searched" if column.startswith("ecad") else column
        left = first + i * (side + gap)
        canvas.text((left, 22), label, size=24 if side > 150 else 18, colour=WHITE, bold=True)
        for row, sample in enumerate(SAMPLES[:count]):
            file = benchmark / "pictures" / f"{sample:05}-{names.index(column):02}.jpg"
            with Image.open(file) as picture:
                canvas.paste(picture, left, top + row * (side + gap), side, side)
    return canvas.image()


def draw_rows(
    canvas: Canvas,
    schedule: Schedule,
    *,
    blocks: Sequence[int],
    left: float,
    top: float,
    across: float,
    pitch: float,
    right: float | None = None,
) -> None:
    """The first steps of some blocks, as many as there is room for; `across` is from step to step.

    Blue computes the whole block, orange and green the first or another component alone.
    """
    group = schedule.architecture.groups[0]
    cells = group.count * len(group.components)
    computes = schedule.compute[:, :cells].reshape(schedule.steps, group.count, -1)
    side = min(across, pitch) * 0.78
    steps = [i for i in range(schedule.steps) if left + i * across < (right or canvas.width)]
    for row, block in enumerate(blocks):
        y = top + row * pitch
        begun, hue = left, HUES[0]
        for step in steps:
            x = left + step * across
            which = computes[step, block]
            if which.any():
                begun, hue = x, HUES[0] if which.all() else HUES[1 + int(which.argmax()) % 2]
                canvas.box(x, y, x + side, y + side, fill=hue, radius=side * 0.22)
            else:
                middle, thick = y + side / 2, side * 0.13
                canvas.box(
                    max(begun + side * 1.12, x - across + side),
                    middle - thick,
                    x + side,
                    middle + thick,
                    fill=mixed(hue, NIGHT, 0.38),
                )


def save_card(picture: Image.Image, example: str) -> None:
    picture.convert("RGB").save(EXAMPLES / f"{example}.jpg", quality=88, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devtools.artwork", description=__doc__)
    parser.add_argument("--benchmark", type=Path, metavar="FOLDER", help="of a benchmark's report")
    options = parser.parse_args()
    icon(load(SEARCHED)).save(IMAGES / "icon.png", optimize=True)
    banner(load(SEARCHED)).save(IMAGES / "banner.png", optimize=True)
    for example, (name, blocks, words) in DRAWN_CARDS.items():
        save_card(drawn_card(load(name), blocks, words), example)
    with Image.open(IMAGES / "front.png") as front:
        part = front.crop(FRONT_PART).resize((CARD, CARD), Image.Resampling.LANCZOS)
        save_card(part, FRONT_CARD)
    if options.benchmark is not None:
        for example, columns in PICTURE_CARDS.items():
            save_card(picture_card(options.benchmark, columns), example)


if __name__ == "__main__":
    main()
