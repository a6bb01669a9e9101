"""T-GATE (arXiv:2404.02747) on PixArt, to be compared with: no schedule of this pack can say it.

From the gate on T-GATE leaves out the unconditional prediction altogether, and every block's
cross-attention gives the mean of what it gave both predictions at the step before. The preset
`tgate` keeps both predictions, each with its own cross-attention.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

KEY = "t-gate"
ATTENTIONS = ("attn", "cross_attn")


@dataclass(frozen=True)
class Gate:
    """`step` computes no cross-attention, nor any step after it.

    Between the warm-up and the gate self-attention computes at every `interval`-th step.
    """

    step: int
    interval: int = 1
    warmup: int = 2


def with_tgate(model: Any, gate: Gate) -> Any:
    """A clone of a PixArt MODEL that samples with T-GATE."""
    kinds = importlib.import_module("comfy.patcher_extension").WrappersMP
    patched = model.clone()
    state = _State(gate)
    patched.add_wrapper_with_key(kinds.OUTER_SAMPLE, KEY, state.sampled)
    patched.add_wrapper_with_key(kinds.PREDICT_NOISE, KEY, state.predicted)
    patched.add_wrapper_with_key(kinds.APPLY_MODEL, KEY, state.evaluated)
    for number, block in enumerate(model.model.diffusion_model.blocks):
        for name in ATTENTIONS:
            module = getattr(block, name)
            # Not `module.forward`: that may be another clone's patch, still in place.
            computed = partial(type(module).forward, module)
            place = f"diffusion_model.blocks.{number}.{name}.forward"
            patched.add_object_patch(place, state.gated(number, name, computed))
    return patched


@dataclass
class _State:
    """One MODEL's sampling run: the step, whose rows are evaluated, and what was computed last."""

    gate: Gate
    step: int = 0
    streams: tuple[int, ...] = ()
    kept: dict[tuple[int, str], dict[int, Any]] = field(default_factory=dict)

    def sampled(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.kept.clear()
        try:
            return executor(*args, **kwargs)
        finally:
            self.kept.clear()

    def predicted(
        self, executor: Any, x: Any, timestep: Any, options: dict[str, Any], *rest: Any
    ) -> Any:
        sigmas = options["transformer_options"]["sample_sigmas"]
        self.step = int((sigmas[:-1] - timestep.flatten()[0].to(sigmas)).abs().argmin())
        guider = executor.class_obj
        cfg = guider.cfg
        if self.step >= self.gate.step:
            guider.cfg = 1.0  # which ComfyUI samples without the unconditional prediction
        try:
            return executor(x, timestep, options, *rest)
        finally:
            guider.cfg = cfg

    def evaluated(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        options = next(
            value
            for value in (*args, *kwargs.values())
            if isinstance(value, dict) and "cond_or_uncond" in value
        )
        self.streams = tuple(options["cond_or_uncond"])
        return executor(*args, **kwargs)

    def gated(self, block: int, name: str, computed: Callable[..., Any]) -> Callable[..., Any]:
        import torch

        is_cross = name == "cross_attn"

        def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
            kept = self.kept.setdefault((block, name), {})
            if is_cross and self.step >= self.gate.step:
                return _mean(kept.values())
            if not is_cross and self._keeps_self_attention():
                return torch.cat([kept[s] for s in self.streams])
            output = computed(x, *args, **kwargs)
            kept.update(zip(self.streams, output.chunk(len(self.streams)), strict=True))
            return output

        return forward

    def _keeps_self_attention(self) -> bool:
        gate = self.gate
        return gate.warmup <= self.step < gate.step and (
            (self.step - gate.warmup) % gate.interval != 0
        )


def _mean(outputs: Iterable[Any]) -> Any:
    found = list(outputs)
    return sum(found) / len(found)
