"""Every input of a node that becomes a path stays in its folder, with names that files can have."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

HOSTILE = (
    "../x",
    "..",
    ".",
    "/",
    "a/../../b",
    "a/..",
    "..\\x",
    "{outside}/secret",
    "/etc/passwd",
    "C:\\x",
    "C:x",
    "C:/x",
    "\\\\server\\share\\x",
    "//server/share",
    "a\0b",
    "a\nb",
    "\u202ea",
    "\ud800",
    "x" * 300,
    "é" * 200,
    "a/" * 400 + "b",
    "con",
    "CON.txt",
    "aux.json",
    "mine/nul",
    "com1.a.b",
    "a.",
    "a./b",
    "a /b",
    "a:b",
    "a*",
    'a"b',
    "a|b",
    "link/secret",
    "loop",
)
# Inputs whose text names a file or folder.
PATHS = {
    ("ECAD_CacheLoader", "schedule"),
    ("ECAD_SaveSchedule", "name"),
    ("ECAD_ImportSchedule", "file"),
    ("ECAD_ImportSchedule", "name"),
    ("ECAD_ScheduleEditor", "start"),
    ("ECAD_ScheduleEditor", "name"),
    ("ECAD_CalibrationPrompts", "file"),
    ("ECAD_Search", "journal"),
    ("ECAD_CompareSchedules", "name"),
    ("ECAD_Benchmark", "name"),
    ("ECAD_Benchmark", "reference_folder"),
    ("ECAD_InceptionFeatures", "weights"),
    ("ECAD_ImageReward", "checkpoint"),
    ("ECAD_ImageReward", "config"),
    ("ECAD_PickScore", "folder"),
    ("ECAD_HpsV2", "checkpoint"),
    ("ECAD_Aesthetic", "head"),
    ("ECAD_Lpips", "backbone"),
    ("ECAD_Lpips", "heads"),
}
# Inputs of text, or of a choice, that never do.
TEXTS = {
    "ECAD_Benchmark": {"name_b", "name_c", "latency_batches"},
    "ECAD_CacheLoader": {"cache_device"},
    "ECAD_ApplySchedule": {"cache_device"},
    "ECAD_CalibrationPrompts": {"source", "text", "negative", "column"},
    "ECAD_DemoModel": {"model_name"},
    "ECAD_HpsV2": {"device"},
    "ECAD_ImageReward": {"device"},
    "ECAD_ImportSchedule": {"architecture"},
    "ECAD_InceptionFeatures": {"device"},
    "ECAD_Lpips": {"network", "device"},
    "ECAD_PaperSigmas": {"grid"},
    "ECAD_PickFromFront": {"by", "key"},
    "ECAD_PickScore": {"device"},
    "ECAD_ReferenceSimilarity": {"metric"},
    "ECAD_ScheduleEditor": {"edited"},
    "ECAD_SamplerSettings": {"sampler_name", "scheduler"},
    "ECAD_Search": {"mode", "cost", "ray_address"},
}


@pytest.fixture
def folders(comfy, pack, tmp_path, monkeypatch):
    """The host's folders below one of ours, with a secret beside them and links that lead to it."""
    paths = pack.module("nodes.host.paths")
    for name in ("input", "output/ecad", "outside"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(comfy.folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    monkeypatch.setattr(
        comfy.folder_paths, "get_output_directory", lambda: str(tmp_path / "output")
    )
    known = comfy.folder_paths.folder_names_and_paths
    homes = [tmp_path / "input", tmp_path / "output" / "ecad"]
    for folder in (paths.SCHEDULES, paths.IMAGE_REWARD, paths.SCORERS):
        home = tmp_path / folder.name
        home.mkdir()
        monkeypatch.setitem(known, folder.name, ([str(home)], set(folder.endings)))
        homes.append(home)
    for suffix in ("", ".json", ".jsonl", ".txt", ".pt"):
        (tmp_path / "outside" / f"secret{suffix}").write_text("a secret\n", encoding="utf-8")
    if sys.platform != "win32":  # links need rights there
        for home in (homes[0], homes[1], tmp_path / paths.SCHEDULES.name):
            (home / "link").symlink_to(tmp_path / "outside")
            for suffix in ("", ".json", ".jsonl", ".front.json"):
                (home / f"loop{suffix}").symlink_to(home / f"loop{suffix}")
    return tmp_path


@pytest.fixture(scope="module")
def made(pack):
    """What the nodes that render take, of the demo model."""
    with torch.inference_mode():
        model, clip, vae = pack.module("nodes.host.demo_model").load_demo_model()
        calibration = pack.module("nodes.calibration_prompts").CalibrationPromptsNode.execute(
            clip, "emoji-calibration", "", "", 2, 1, 0, ""
        )
        settings = pack.module("nodes.sampler_settings").SamplerSettingsNode
        defaults = {
            slot.id: slot.default
            for slot in settings.define_schema().inputs
            if getattr(slot, "default", None) is not None
        }
        scorer = pack.module("ecad_search.scorers.reference_similarity").ReferenceSimilarity("ssim")
        return {
            "model": model,
            "vae": vae,
            "calibration": calibration.args[0],
            "sampler_settings": settings.execute(**defaults).args[0],
            "scorer": scorer,
        }


@pytest.fixture(scope="module")
def menu(pack):
    return {node.GET_SCHEMA().node_id: node for node in pack.module("nodes").MENU}


@pytest.fixture
def run(pack, menu, made, folders):
    """Runs a node whose input has a text, as a graph does in which it is linked: not validated."""
    presets = pack.module("ecad_search.core.presets")
    find = pack.module("ecad_search.architectures").find
    schedule = presets.fora(find("emoji-pixart"), 4, 2)
    save = pack.module("ecad_search.core.schedule_json").save
    save(schedule, folders / "input" / "ok.json")
    compared = {"front": pack.module("ecad_search.core.front").Front(), "picks": 0, "rounds": 1}
    others: dict[str, dict[str, Any]] = {
        "ECAD_CacheLoader": {"model": made["model"]},
        "ECAD_SaveSchedule": {"schedule": schedule},
        "ECAD_ImportSchedule": {"file": "ok.json", "save": True},
        "ECAD_ScheduleEditor": {"start": "emoji-pixart/fora-2-20-steps"},
        "ECAD_CalibrationPrompts": {
            **{"clip": None, "source": "file", "text": "", "prompts": 1, "seeds_per_prompt": 1},
            **{"seed": 0, "negative": ""},
        },
        "ECAD_Search": {**made, "images": 100, "mode": "ecad+", "seed": 0},
        "ECAD_CompareSchedules": {**made, **compared, "save": True},
        "ECAD_Benchmark": {**made, "picks": 0, "fora": False, "grid_rows": 1, "name": "ok"},
        "ECAD_ImageReward": {"checkpoint": "a.pt", "config": "a.json", "device": "cpu"},
        "ECAD_PickScore": {"device": "cpu"},
        "ECAD_HpsV2": {"device": "cpu"},
        "ECAD_InceptionFeatures": {"device": "cpu"},
        "ECAD_Aesthetic": {"clip_vision": None},
        "ECAD_Lpips": {"network": "alex", "backbone": "a.pth", "heads": "a.pth", "device": "cpu"},
    }
    others["ECAD_CompareSchedules"]["held_out"] = made["calibration"]
    others["ECAD_Benchmark"]["prompts"] = made["calibration"]

    def run(node_id: str, name: str, text: str) -> None:
        prepare = menu[node_id].PREPARE_CLASS_CLONE
        hidden = {"UNIQUE_ID": "7"}
        wrapped = "v3_data" in inspect.signature(prepare).parameters  # since 0.4
        node = prepare({"hidden_inputs": hidden} if wrapped else hidden)
        known = inspect.signature(node.execute).parameters
        inputs = {**others.get(node_id, {}), name: text}
        with torch.inference_mode():
            node.execute(**{k: v for k, v in inputs.items() if k in known})

    return run


def below(folder: Path) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for at, directories, files in os.walk(folder):
        for name in (*directories, *files):
            path = Path(at, name)
            plain = path.is_file() and not path.is_symlink()
            found[str(path.relative_to(folder))] = path.read_bytes() if plain else None
    return found


def test_every_input_of_text_is_known_to_be_a_path_or_not(menu):
    found = {
        (node_id, slot.id)
        for node_id, node in menu.items()
        for slot in node.GET_SCHEMA().inputs
        if slot.get_io_type() in ("STRING", "COMBO")
    }
    known = PATHS | {(node_id, name) for node_id, names in TEXTS.items() for name in names}
    assert set() == found - known, "say in this file whether it names a file"
    assert set() == known - found


@pytest.mark.parametrize(("node_id", "name"), sorted(PATHS))
def test_hostile_names_are_refused_and_leave_no_trace(pack, menu, run, folders, node_id, name):
    error = pack.module("ecad_search.errors").EcadError
    validated = menu[node_id].validate_inputs
    takes = inspect.signature(validated).parameters
    before = below(folders)
    for hostile in HOSTILE:
        text = hostile.format(outside=folders / "outside")
        if name in takes:
            asked = {"source": "file"} if "source" in takes else {}
            answer = validated(**asked, **{name: text})
            assert answer is True or (isinstance(answer, str) and answer), ascii(text)
        with pytest.raises(error) as refused:
            run(node_id, name, text)
        assert str(refused.value).isprintable(), ascii(text)
    assert before == below(folders)


@pytest.mark.parametrize(
    ("node_id", "name"),
    [
        ("ECAD_Search", "journal"),
        ("ECAD_CompareSchedules", "name"),
        ("ECAD_Benchmark", "name"),
        ("ECAD_Benchmark", "reference_folder"),
        ("ECAD_CacheLoader", "schedule"),
        ("ECAD_ImportSchedule", "file"),
        ("ECAD_CalibrationPrompts", "file"),
    ],
)
def test_hostile_names_are_refused_before_anything_runs(menu, folders, node_id, name):
    validated = menu[node_id].validate_inputs
    asked = {"source": "file"} if node_id == "ECAD_CalibrationPrompts" else {}
    for hostile in HOSTILE:
        text = hostile.format(outside=folders / "outside")
        answer = validated(**asked, **{name: text})
        assert isinstance(answer, str) and answer, ascii(text)


# --- routes


@pytest.fixture
def routes(monkeypatch) -> web.RouteTableDef:
    """What the pack finds in the place of the server's table of routes: one of the same class."""
    table = web.RouteTableDef()
    running = SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace(routes=table)))
    monkeypatch.setitem(sys.modules, "server", running)  # pyright: ignore[reportArgumentType]
    return table


def test_routes_only_read_tell_json_and_keep_to_their_folders(pack, folders, routes):
    asyncio.run(pack.module("nodes").comfy_entrypoint())
    ours = [route for route in routes if isinstance(route, web.RouteDef)]
    assert list(routes) == ours  # no folder is served
    assert {"GET"} == {route.method for route in ours}
    assert all(route.path.startswith("/ecad/") for route in ours)

    async def ask() -> None:
        app = web.Application()
        app.add_routes(ours)
        async with TestClient(TestServer(app)) as client:
            for route in ours:
                for hostile in ("", *HOSTILE):
                    name = hostile.format(outside=folders / "outside")
                    if "\ud800" in name:  # no address can say it
                        continue
                    answer = await client.get(route.path, params={"name": name})
                    assert answer.status in (200, 400, 404), (route.path, name)
                    assert "application/json" == answer.content_type
                    assert "a secret" not in await answer.text()

    before = below(folders)
    asyncio.run(ask())
    assert before == below(folders)
