"""What reuse in every model family must hold, as a pytest class to inherit from.

It samples a small model of the host's own class in the host's own sampler stack, so it is run with
the fixtures of tests/host (`pack`, `comfy`, `sample`, `apply`).

class TestMyFamily(ArchitectureContract):
    @pytest.fixture
    def subject(self, comfy):
        return Subject(model, conditioning, shape=(1, 4, 8, 8), family="mine", ...)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pytest

if TYPE_CHECKING:
    import torch


class Output(NamedTuple):
    """A component's value is what this module returns: a tensor or a tuple of tensors."""

    module: Any


class Input(NamedTuple):
    """A component's value is this part, of the last axis, of what goes into this module."""

    module: Any
    part: slice


Site = Sequence[Output | Input]


@dataclass(frozen=True)
class Subject:
    """A small model with random weights.

    `conditioning(seed, tokens)` gives a CONDITIONING, `shape` is the latent's, `sites` says for
    each cell, in cell order, where its value can be seen: the reference's knowledge of the model,
    which it does not take from the engine.
    """

    model: Any
    conditioning: Callable[[int, int], list]
    shape: tuple[int, ...]
    family: str
    counts: dict[str, int]
    sites: Sequence[Site]


class SlowReference:
    """Computes everything always, then puts stored values in the place of computed ones.

    Streams are told apart by ComfyUI's cond_or_uncond, steps by looking the sigma up. It hooks the
    modules' inputs and outputs, while the engine stands in front of their forward.
    """

    def __init__(self, subject: Subject, compute: np.ndarray, sigmas: Sequence[float]) -> None:
        self.model = subject.model.clone()
        self.model.set_model_unet_function_wrapper(self._call_model)
        self.counts = {"reused": 0, "computed": 0}
        self._sites, self._compute = subject.sites, compute
        self._sigmas = np.asarray(sigmas[:-1], dtype=np.float64)
        self._stored: dict[Any, torch.Tensor] = {}
        self._streams: list[int] = []
        self._step = 0

    def _call_model(self, apply_model: Any, arguments: dict) -> Any:
        sigma = float(arguments["timestep"].flatten()[0])
        self._step = int(np.argmin(np.abs(self._sigmas - sigma)))
        self._streams = arguments["cond_or_uncond"]
        for cell in range(len(self._sites)):
            kind = "computed" if self._compute[self._step, cell] else "reused"
            self.counts[kind] += 1
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    def _exchange(self, place: tuple, cell: int, value: torch.Tensor) -> torch.Tensor:
        import torch

        n = len(self._streams)
        if self._compute[self._step, cell]:
            for stream, rows in zip(self._streams, value.chunk(n), strict=True):
                self._stored[(stream, *place)] = rows.clone()
            return value
        return torch.cat([self._stored[(stream, *place)] for stream in self._streams])

    def _output_hook(self, cell: int, place: tuple) -> Callable:
        def hook(module: Any, args: tuple, output: Any) -> Any:
            if isinstance(output, tuple | list):
                values = [
                    value if value is None else self._exchange((*place, i), cell, value)
                    for i, value in enumerate(output)
                ]
                return type(output)(values)
            return self._exchange(place, cell, output)

        return hook

    def _input_hook(self, cell: int, place: tuple, part: slice) -> Callable:
        def hook(module: Any, args: tuple) -> tuple:
            x = args[0].clone()
            x[..., part] = self._exchange(place, cell, x[..., part])
            return (x, *args[1:])

        return hook

    @contextlib.contextmanager
    def hooked(self) -> Iterator[SlowReference]:
        handles = []
        for cell, site in enumerate(self._sites):
            for index, place in enumerate(site):
                if isinstance(place, Input):
                    hook = self._input_hook(cell, (cell, index), place.part)
                    handles.append(place.module.register_forward_pre_hook(hook))
                else:
                    hook = self._output_hook(cell, (cell, index))
                    handles.append(place.module.register_forward_hook(hook))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()


class ArchitectureContract:
    samplers: ClassVar[tuple[str, ...]] = ("euler", "dpmpp_2m", "lcm")
    tokens: ClassVar[tuple[int, int]] = (6, 9)  # text lengths; unequal ones split a CFG pair
    cost_tolerance: ClassVar[float] = 0.0  # relative; a family that needs one says why
    steps: ClassVar[int] = 6
    wider: ClassVar[int] = 4  # latent cells, of a picture that is not square: whole patches

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError("A contract test gives the subject as a fixture.")

    @pytest.fixture
    def random_rows(self, subject, pack):
        """Factory of a Schedule for the subject that computes each cell with probability 45 %."""
        detect = pack.module("nodes.host.patching").detect_architecture
        schedule = pack.module("ecad_search.core.schedule").Schedule

        def build(seed: int, share: float = 0.45) -> Any:
            architecture = detect(subject.model)
            rows = np.random.default_rng(seed).random((self.steps, architecture.n_cells)) < share
            rows[0] = True
            return schedule(architecture, rows, name=f"random-{seed}").canonical()

        return build

    def _streams(self, subject: Subject, tokens: int) -> tuple[list, list]:
        return subject.conditioning(1, self.tokens[0]), subject.conditioning(2, tokens)

    def _sigmas(self, comfy: Any, subject: Subject) -> list[float]:
        sampling = subject.model.get_model_object("model_sampling")
        return comfy.samplers.calculate_sigmas(sampling, "simple", self.steps).tolist()

    def test_the_model_is_known(self, subject, pack):
        architecture = pack.module("nodes.host.patching").detect_architecture(subject.model)
        assert subject.family == architecture.family
        assert subject.counts == architecture.counts
        assert len(subject.sites) == architecture.n_cells

    @pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m_sde", "uni_pc"])
    def test_all_compute_schedule_is_bit_identical(self, sampler, subject, pack, sample, apply):
        import torch

        architecture = pack.module("nodes.host.patching").detect_architecture(subject.model)
        uncached = pack.module("ecad_search.core.presets").uncached(architecture, 3)
        options = {"steps": 3, "cfg": 2.0, "sampler": sampler, "shape": subject.shape}
        streams, reports = self._streams(subject, self.tokens[1]), []
        plain = sample(subject.model, *streams, **options)
        model = apply(subject.model, uncached, on_report=reports.append)
        assert torch.equal(plain, sample(model, *streams, **options))
        assert (0, 0) == (reports[0].cells_reused, reports[0].peak_bytes)
        assert plain.abs().sum() > 0 and not plain.isnan().any()

    @pytest.mark.parametrize("cfg_and_text", ["one stream", "batched", "split"])
    @pytest.mark.parametrize("seed", range(3))
    def test_a_random_schedule_equals_the_slow_reference(
        self, seed, cfg_and_text, subject, comfy, sample, apply, random_rows
    ):
        import torch

        schedule, reports = random_rows(seed), []
        streams = self._streams(subject, self.tokens[cfg_and_text == "split"])
        cfg = 1.0 if cfg_and_text == "one stream" else 3.0
        options = {
            "steps": self.steps,
            "cfg": cfg,
            "sampler": self.samplers[seed % len(self.samplers)],
            "shape": subject.shape,
        }
        model = apply(subject.model, schedule, on_report=reports.append)
        fast = sample(model, *streams, **options)
        plain = sample(subject.model, *streams, **options)
        sigmas = self._sigmas(comfy, subject)
        with SlowReference(subject, schedule.compute, sigmas).hooked() as reference:
            slow = sample(reference.model, *streams, **options)
        assert torch.equal(slow, fast)
        assert not torch.equal(plain, fast)
        (report,) = reports
        assert () == report.messages
        counted = {"reused": report.cells_reused, "computed": report.cells_computed}
        assert reference.counts == counted
        assert (0, 0, self.steps) == (
            report.cells_forced,
            report.bypassed_calls,
            report.evaluations,
        )
        assert report.predicted_bytes == report.peak_bytes > 0

    def test_rows_of_a_batch_keep_apart(self, subject, comfy, sample, apply, random_rows):
        import torch

        schedule, reports = random_rows(9), []
        streams = self._streams(subject, self.tokens[0])
        shape = (2, *subject.shape[1:-1], subject.shape[-1] + self.wider)
        options = {"steps": self.steps, "cfg": 3.0, "shape": shape}
        model = apply(subject.model, schedule, on_report=reports.append)
        fast = sample(model, *streams, **options)
        sigmas = self._sigmas(comfy, subject)
        with SlowReference(subject, schedule.compute, sigmas).hooked() as reference:
            slow = sample(reference.model, *streams, **options)
        assert torch.equal(slow, fast)
        assert reports[0].predicted_bytes == reports[0].peak_bytes

    def test_costs_are_what_pytorch_counts(
        self, subject, pack, sample, apply, random_rows, monkeypatch
    ):
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        def counted(model: Any) -> int:
            counter = FlopCounterMode(display=False)
            # The counter knows the plain kernel on every device, whichever attention is used.
            with counter, sdpa_kernel(SDPBackend.MATH):
                sample(model, *streams, steps=self.steps, cfg=1.0, shape=subject.shape)
            return counter.get_total_flops() // 2

        # the rehearsal of a short way runs some layers twice, which is no part of a schedule's cost
        for name in ("flux_blocks", "joint_blocks", "pixart_blocks"):
            blocks = pack.module(f"ecad_search.engine.{name}")
            monkeypatch.setattr(blocks, "begins_rehearsal", lambda run, call, kind, cells: False)
            monkeypatch.setattr(blocks, "may_go", lambda run, kind: True)
        streams, schedule = self._streams(subject, self.tokens[0]), random_rows(4)
        presets = pack.module("ecad_search.core.presets")
        uncached = presets.uncached(schedule.architecture, self.steps)
        for rows in (uncached, schedule):
            reports = []
            macs = counted(apply(subject.model, rows, on_report=reports.append))
            expected = pytest.approx(reports[0].executed_macs, rel=self.cost_tolerance)
            assert expected == macs

    def test_nothing_stays_on_the_modules(self, subject, sample, apply, random_rows):
        model = apply(subject.model, random_rows(5))
        sample(
            model, *self._streams(subject, self.tokens[0]), steps=self.steps, shape=subject.shape
        )
        modules = subject.model.model.diffusion_model.modules()
        assert not any("forward" in vars(module) for module in modules)
