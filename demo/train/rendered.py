"""Render pictures with good and bad schedules, for Emoji-Reward to learn from.

    python -m demo.train.rendered --comfyui .host/ComfyUI --images 448

The demo model knows its pictures by heart, so how far a rendered picture is from the real one says
how good it is; `python -m demo.train.reward --rendered FILE` learns to tell without the real one.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from devtools.loaded_pack import LoadedPack

from .pictures import BACKGROUNDS, caption, label_list
from .verify import demo_renderer

BATCH = 16  # pictures under one schedule
STEPS = 16
SEED = 77  # not the one of verify.py


def random_schedule(presets, schedule_class, architecture, rng: np.random.Generator):
    """From everything computed to nearly nothing; None computes everything."""
    kind = rng.integers(8)
    if kind == 0:
        return None
    if kind < 5:
        return presets.fora(architecture, STEPS, int(rng.choice([2, 3, 4, 5, 6, 8])))
    compute = np.ones((STEPS, architecture.n_cells), bool)
    if kind < 7:
        compute[1:] = rng.random((STEPS - 1, architecture.n_cells)) > rng.uniform(0.3, 0.95)
    else:
        every = rng.integers(1, 9, architecture.n_cells)
        compute = np.arange(STEPS)[:, None] % every == 0
    return schedule_class(architecture, compute)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--images", type=int, default=448)
    parser.add_argument("--out", type=Path, default=Path("demo_output/rendered.safetensors"))
    args = parser.parse_args()
    module = LoadedPack(args.comfyui.resolve()).module
    presets = module("ecad_search.core.presets")
    schedule_class = module("ecad_search.core.schedule").Schedule
    rng = np.random.default_rng(SEED)
    labels = [label.lower() for label in label_list()]
    colours = list(BACKGROUNDS)
    count = args.images // BATCH * BATCH
    rounds = [rng.permutation(len(labels)) for _ in range(-(-count // len(labels)))]
    picture = np.concatenate(rounds)[:count]
    colour = rng.integers(len(colours), size=count)
    texts = [caption(labels[i], colours[c]) for i, c in zip(picture, colour, strict=True)]

    prompts = module("ecad_search.calibration").CalibrationPrompts(tuple(texts), seed=SEED)
    renderer = demo_renderer(module, prompts, steps=STEPS)
    rows: list[torch.Tensor] = []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for first in range(0, count, BATCH):
        schedule = random_schedule(presets, schedule_class, renderer.architecture, rng)
        images = renderer.render(schedule, range(first, first + BATCH))
        rows.append((images * 255).round().to(torch.uint8))
        done = first + BATCH
        print(f"{done} of {count}: {schedule.name if schedule else 'uncached'}", flush=True)
        tensors = {
            "images": torch.cat(rows),  # (images, height, width, 3) bytes
            "picture": torch.from_numpy(picture[:done].astype(np.int64)),
            "colour": torch.from_numpy(colour[:done].astype(np.int64)),
        }
        temporary = args.out.with_suffix(".tmp")
        save_file(tensors, temporary)
        os.replace(temporary, args.out)


if __name__ == "__main__":
    main()
