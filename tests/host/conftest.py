"""The real ComfyUI for tests: its modules, this pack loaded as it loads packs, tiny models.

Set COMFYUI_PATH to a ComfyUI folder (0.3.75 or newer); without it every test here is skipped.
Rule: tests in this folder reach the library through the `pack` fixture only, for a class of
`ecad_search` is not the same object as the class of that name inside the loaded pack.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items):
    """Every test of this folder can be selected with `-m host`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("host")


def import_torchvision_without_its_operators():
    """PyPI's torchvision beside a CPU torch fails at import until two operators have a schema."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        sys.modules["_ecad_torchvision_schemas"] = library  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="session")
def comfy(tmp_path_factory) -> SimpleNamespace:
    """ComfyUI's modules by their last name: comfy.samplers, comfy.sample ..."""
    folder = os.environ.get("COMFYUI_PATH", "")
    if not (Path(folder) / "comfyui_version.py").is_file():
        pytest.skip(
            "needs ComfyUI: run `python dev.py host`, or set COMFYUI_PATH to a ComfyUI folder "
            "(0.3.75 or newer)"
        )
    # First, never last: our own folder `nodes` must not stand in front of ComfyUI's module `nodes`.
    sys.path.insert(0, folder)
    # As in main.py: before ComfyUI's nodes.py, which puts a folder with a utils.py before this one.
    importlib.import_module("utils")
    cli_args = importlib.import_module("comfy.cli_args")
    cli_args.args.cpu = True
    cli_args.args.use_pytorch_cross_attention = True  # as on a GPU; also the fastest on a CPU
    import_torchvision_without_its_operators()
    folder_paths = importlib.import_module("folder_paths")
    scratch = tmp_path_factory.mktemp("comfyui")
    for kind in ("output", "temp", "input", "user"):
        (scratch / kind).mkdir()
        getattr(folder_paths, f"set_{kind}_directory")(str(scratch / kind))
    names = (
        "model_base model_management model_patcher model_sampling patcher_extension "
        "sample samplers sampler_helpers supported_models utils"
    ).split()
    modules = {name: importlib.import_module(f"comfy.{name}") for name in names}
    version = importlib.import_module("comfyui_version").__version__
    return SimpleNamespace(folder_paths=folder_paths, version=version, **modules)


@dataclass(frozen=True)
class Pack:
    """The loaded pack; `pack.module("nodes.host.patching")` gives one of its modules."""

    name: str
    root: ModuleType

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{self.name}.{name}")


@pytest.fixture(scope="session")
def pack(comfy) -> Pack:
    """This pack, imported under the name and in the way of ComfyUI's load_custom_node."""
    name = str(ROOT).replace(".", "_x_")
    if name not in sys.modules:
        spec = spec_from_file_location(name, ROOT / "__init__.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = root = module_from_spec(spec)
        if (ROOT / "__init__.py").exists() and (ROOT / "nodes" / "__init__.py").exists():
            spec.loader.exec_module(root)
    return Pack(name, sys.modules[name])


@pytest.fixture
def schedule_folder(comfy, pack, tmp_path, monkeypatch):
    """An empty models/ecad_schedules."""
    folder = tmp_path / "schedules"
    folder.mkdir()
    paths = pack.module("nodes.host.paths")
    known = comfy.folder_paths.folder_names_and_paths
    monkeypatch.setitem(known, paths.SCHEDULES.name, ([str(folder)], {".json"}))
    return folder


@pytest.fixture(scope="session")
def run_node(comfy):
    """`run_node("nodes_custom_sampler", "BasicScheduler", model, ...)` -> outputs of a host's node.

    Positional arguments alone, for the name of a node's function is not the same in all releases.
    """

    def run(module: str, name: str, *args: Any) -> tuple:
        node = getattr(importlib.import_module(f"comfy_extras.{module}"), name)
        if hasattr(node, "define_schema"):
            return node.execute(*args).args
        return getattr(node(), node.FUNCTION)(*args)  # most were of the old kind in 0.3.75

    return run


@pytest.fixture(scope="session")
def tiny_pixart(comfy):
    """Factory of a ModelPatcher round a random real PixArtMS; latents are (N, 4, 36, 36).

    A patch is 6 latent cells, so 36 x 36 cells (the smallest size the host accepts is 33) are 36
    tokens. Keywords override the host's model config; `flow=True` makes it a flow-matching model.
    """
    import torch

    def build(*, flow: bool = False, dtype=torch.float32, seed: int = 1, **config):
        settings = {
            "image_model": "pixart_alpha",
            "patch_size": 6,
            "in_channels": 4,
            "hidden_size": 48,
            "depth": 3,
            "num_heads": 4,
            "mlp_ratio": 2.0,
            "caption_channels": 24,
            "model_max_length": 12,
            "input_size": 36,
            "pe_interpolation": 1,
            "micro_condition": False,
        } | config
        model_config = comfy.supported_models.PixArtAlpha(settings)
        model_config.set_inference_dtype(dtype, None)
        model_config.unet_config["dtype"] = dtype
        if flow:
            model_config.sampling_settings = {"shift": 1.0, "multiplier": 1000}
        kind = comfy.model_base.ModelType.FLOW if flow else comfy.model_base.ModelType.EPS
        model = comfy.model_base.PixArt(model_config, model_type=kind, device="cpu")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.diffusion_model.parameters():
                scale = 0.05 if parameter.ndim > 1 else 0.02
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        model.eval().requires_grad_(False)
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(model, cpu, cpu)

    return build


def random_weights(network, seed: int) -> None:
    """Small random weights; scales of norms, which start at one, stay near it."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * 0.05)
            else:
                is_scale = "norm" in name and name.endswith(("scale", "weight"))
                parameter.copy_(noise * 0.02 + (1.0 if is_scale else 0.0))


@pytest.fixture(scope="session")
def patcher(comfy):
    """Factory of a ModelPatcher round a real model of the host with random weights.

    `patcher("Flux", "Flux", {...config})`: the class in comfy.supported_models, the class in
    comfy.model_base, and the config that ComfyUI would have read from a checkpoint.
    """
    import torch

    def build(supported: str, base: str, config: dict, *, dtype=torch.float32, seed=1, **options):
        model_config = getattr(comfy.supported_models, supported)(dict(config))
        model_config.set_inference_dtype(dtype, None)
        model_config.unet_config["dtype"] = dtype
        model = getattr(comfy.model_base, base)(model_config, device="cpu", **options)
        random_weights(model.diffusion_model, seed)
        model.eval().requires_grad_(False)
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(model, cpu, cpu)

    return build


@pytest.fixture(scope="session")
def full_size(comfy):
    """Factory of a host's transformer at full size but without memory, as a checkpoint has it.

    `full_size("comfy.ldm.lumina.model.NextDiT", {name of a weight: its shape})`: those weights by
    which the host's model_detection tells what it loads.
    """
    import torch

    def build(network: str, shapes: dict[str, tuple[int, ...]]) -> Any:
        weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        detection = importlib.import_module("comfy.model_detection")
        config = detection.detect_unet_config(weights, "")
        module, _, name = network.rpartition(".")
        operations = importlib.import_module("comfy.ops").disable_weight_init
        transformer = getattr(importlib.import_module(module), name)
        return transformer(**config, device="meta", operations=operations)

    return build


FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 16,
    "context_in_dim": 32,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 4,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [4, 6, 6],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}


def flux_config(comfy, settings: dict) -> dict:
    """Newer releases want to be told which axes of the text's position ids count."""
    import importlib
    from dataclasses import fields

    params = importlib.import_module("comfy.ldm.flux.model").FluxParams
    if "txt_ids_dims" in {field.name for field in fields(params)}:
        return {"txt_ids_dims": [3] if len(settings["axes_dim"]) == 4 else [], **settings}
    return settings


@pytest.fixture(scope="session")
def tiny_flux(comfy, patcher):
    """Factory of a ModelPatcher round a random real Flux; latents are (N, 16, 8, 8)."""

    def build(*, seed: int = 1, **settings):
        dtype = settings.pop("dtype", None)
        config = flux_config(comfy, {**FLUX, **settings})
        return patcher("Flux", "Flux", config, seed=seed, **({"dtype": dtype} if dtype else {}))

    return build


@pytest.fixture(scope="session")
def tiny_flux2(comfy, patcher):
    """The same of FLUX.2: gated MLPs, one modulation for all blocks; latents (N, 128, 4, 4)."""

    def build(*, seed: int = 1, **settings):
        dtype = settings.pop("dtype", None)
        flux2 = {
            **FLUX,
            "image_model": "flux2",
            "in_channels": 128,
            "out_channels": 128,
            "patch_size": 1,
            "axes_dim": [4, 4, 4, 4],
            "theta": 2000,
            "global_modulation": True,
            "vec_in_dim": None,
            "mlp_silu_act": True,
            "qkv_bias": False,
            "ops_bias": False,
            "default_ref_method": "index",
            "ref_index_scale": 10.0,
        }
        config = flux_config(comfy, {**flux2, **settings})
        return patcher("Flux2", "Flux2", config, seed=seed, **({"dtype": dtype} if dtype else {}))

    return build


@pytest.fixture(scope="session")
def flux_conditioning(comfy):
    """Factory of a CONDITIONING for `tiny_flux` and `tiny_flux2`."""
    import torch

    def build(seed: int, tokens: int = 6, width: int = 32, pooled: int = 16, **options):
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(1, tokens, width, generator=generator)
        return [[text, {"pooled_output": torch.randn(1, pooled, generator=generator), **options}]]

    return build


@pytest.fixture(scope="session")
def conditioning(comfy):
    """Factory of a CONDITIONING for `tiny_pixart`; unequal `tokens` split the CFG pair."""
    import torch

    def build(seed: int, tokens: int = 6, width: int = 24, **options):
        generator = torch.Generator().manual_seed(seed)
        return [[torch.randn(1, tokens, width, generator=generator), dict(options)]]

    return build


@pytest.fixture(scope="session")
def sites_of():
    """Where the components of a PixArt's or FLUX's MODEL are, for a Subject."""
    from ecad_search.testing.architecture_contract import Input, Output

    def sites(model):
        for block in getattr(model, "blocks", ()):
            yield from ((Output(part),) for part in (block.attn, block.cross_attn, block.mlp))
        for block in getattr(model, "double_blocks", ()):
            yield Output(block.img_attn.proj), Output(block.txt_attn.proj)
            yield from ((Output(part),) for part in (block.img_mlp, block.txt_mlp))
        for block in getattr(model, "single_blocks", ()):
            width = block.hidden_size
            yield (Input(block.linear2, slice(0, width)),)
            yield (Input(block.linear2, slice(width, None)),)
            yield (Output(block.linear2),)

    return lambda patcher: tuple(sites(patcher.model.diffusion_model))


@pytest.fixture(scope="session")
def small_of(sites_of, tiny_pixart, tiny_flux, tiny_flux2, conditioning, flux_conditioning):
    """Factory of a Subject of the contract tests: `small_of("flux", dtype=...)`."""
    from ecad_search.testing.architecture_contract import Subject

    kinds = {
        "pixart": (tiny_pixart, conditioning, (1, 4, 36, 36)),
        "flux": (tiny_flux, flux_conditioning, (1, 16, 8, 8)),
        "flux2": (tiny_flux2, flux_conditioning, (1, 128, 4, 4)),
    }

    def build(name, **settings):
        factory, texts, shape = kinds[name]
        sizes = {"depth": 2} if name == "pixart" else {"depth": 1, "depth_single_blocks": 2}
        if name == "flux2":  # the host pads its texts to 512 tokens, which costs time
            sizes |= {"hidden_size": 16, "num_heads": 1}
        model = factory(**(sizes | settings))
        return Subject(model, texts, shape, name, {}, sites_of(model))

    return build


@pytest.fixture(params=["pixart", "flux", "flux2"])
def small(request, small_of):
    """A small model of each family, as a Subject."""
    return small_of(request.param)


@pytest.fixture(params=["flux", "flux2"])
def small_flux(request, small_of):
    """The same for what PixArt has not."""
    return small_of(request.param)


@pytest.fixture(scope="session")
def sample(comfy):
    """KSampler without the node: `sample(model, positive, negative, steps=8, ...)` -> latent."""
    import torch

    def run(
        model,
        positive,
        negative,
        *,
        steps=8,
        cfg=1.0,
        sampler="euler",
        scheduler="simple",
        seed=0,
        denoise=1.0,
        shape=(1, 4, 36, 36),
        latent=None,
        **options,
    ):
        latent = torch.zeros(shape) if latent is None else latent
        noise = comfy.sample.prepare_noise(latent, seed)
        options.setdefault("disable_pbar", True)
        with torch.inference_mode():  # as ComfyUI's executor runs nodes
            return comfy.sample.sample(
                model,
                noise,
                steps,
                cfg,
                sampler,
                scheduler,
                positive,
                negative,
                latent,
                denoise=denoise,
                seed=seed,
                **options,
            )

    return run


@pytest.fixture(scope="session")
def require_sampler(comfy):
    """`require_sampler(name)` skips the test on a host that has no such sampler."""

    def require(name: str) -> None:
        if name not in comfy.samplers.KSampler.SAMPLERS:
            pytest.skip(f"this ComfyUI has no sampler {name}")

    return require


@pytest.fixture(scope="session")
def random_schedule(pack):
    """Factory of a Schedule for `tiny_pixart` that computes each cell with probability `share`."""
    import numpy as np

    def build(seed, steps=8, blocks=3, share=0.45):
        architectures = pack.module("ecad_search.architectures")
        schedule = pack.module("ecad_search.core.schedule")
        architecture = architectures.sized("pixart", {"blocks": blocks}, hidden=48)
        rows = np.random.default_rng(seed).random((steps, architecture.n_cells)) < share
        rows[0] = True
        return schedule.Schedule(architecture, rows, name=f"random-{seed}")

    return build


@pytest.fixture(scope="session")
def uncached(pack):
    """Factory of the Schedule for `tiny_pixart` that computes everything."""

    def build(steps=8, blocks=3):
        architectures = pack.module("ecad_search.architectures")
        architecture = architectures.sized("pixart", {"blocks": blocks}, hidden=48)
        return pack.module("ecad_search.core.presets").uncached(architecture, steps)

    return build


@pytest.fixture(scope="session")
def apply(pack):
    """nodes.host.patching.apply_schedule."""
    return pack.module("nodes.host.patching").apply_schedule


@pytest.fixture
def schedule_of(pack):
    """Factory: a schedule for a MODEL that computes each cell with probability `share`."""
    import numpy as np

    detect = pack.module("nodes.host.patching").detect_architecture
    schedule = pack.module("ecad_search.core.schedule").Schedule

    def build(model, seed=0, share=0.4, steps=6):
        architecture = detect(model)
        rows = np.random.default_rng(seed).random((steps, architecture.n_cells)) < share
        rows[0] = True
        return schedule(architecture, rows, name=f"random-{seed}").canonical()

    return build


@dataclass(frozen=True)
class Outcome:
    plain: Any
    fast: Any
    report: Any
    reference: Any


@pytest.fixture
def equals_reference(comfy, pack, sample, apply, schedule_of):
    """Sample uncached, all-compute, under a random schedule and under the slow reference."""

    import torch

    from ecad_search.testing.stream_reference import StreamReference

    def run(subject, positive, negative, *, seed=0, share=0.4, **options):
        steps = 6
        options = {"steps": steps, "shape": subject.shape} | options
        model, reports = subject.model, []
        schedule = schedule_of(model, seed, share)
        plain = sample(model, positive, negative, **options)
        uncached = pack.module("ecad_search.core.presets").uncached(schedule.architecture, steps)
        assert torch.equal(plain, sample(apply(model, uncached), positive, negative, **options))
        patched = apply(model, schedule, on_report=reports.append)
        fast = sample(patched, positive, negative, **options)
        sampling = model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps).tolist()
        with StreamReference(subject, schedule.compute, sigmas).hooked() as reference:
            slow = sample(reference.model, positive, negative, **options)
        assert torch.equal(slow, fast)
        assert not torch.equal(plain, fast) and torch.isfinite(fast).all()
        report = reports[0]
        assert reference.beside == report.bypassed_calls
        assert steps == report.evaluations
        if not model.model_options.get("sampler_calc_cond_batch_function"):
            counted = {"computed": report.cells_computed, "reused": report.cells_reused}
            assert reference.counts == counted
        return Outcome(plain, fast, report, reference)

    return run
