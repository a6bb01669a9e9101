"""Every shipped schedule loads, says what it costs, and is what the code would write."""

import json
from pathlib import Path

import pytest

from ecad_search.architectures import ALL, find
from ecad_search.builtin_schedules import (
    ANY_MODEL,
    FOLDER,
    builtin_schedules,
    for_any_model,
)
from ecad_search.core import presets, schedule_json
from ecad_search.core.architecture import Workload
from ecad_search.core.cost import relative_cost, schedule_macs
from ecad_search.library import ScheduleLibrary

FILES = sorted(FOLDER.rglob("*.json"))
LIBRARY = ScheduleLibrary(FOLDER)


@pytest.mark.parametrize("name", builtin_schedules())
def test_the_committed_preset_is_what_the_code_writes(name):
    committed = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert schedule_json.dumps(builtin_schedules()[name]) == committed, (
        "run `python -m ecad_search presets --write schedules`"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(FOLDER).as_posix())
def test_a_shipped_schedule_is_whole(path: Path):
    schedule = schedule_json.load(path)
    assert find(path.parent.name) is schedule.architecture
    assert path.stem == schedule.name
    assert schedule.compute[0].all()
    assert schedule.computed_fraction < 1.0
    assert schedule.info["provenance"]
    assert schedule_json.dumps(schedule) == path.read_text(encoding="utf-8")
    assert "cache_schedule" not in json.loads(path.read_text(encoding="utf-8"))
    for objective in schedule.info.get("objectives", []):
        if objective["name"] != "macs":
            continue
        shape = {key: objective[key] for key in ("batch", "width", "height", "text_tokens")}
        shape["frames"] = objective.get("frames", 1)
        assert schedule_macs(schedule, Workload(**shape)).total == objective["value"]
        stated = objective["fraction_of_uncached"]
        assert relative_cost(schedule, Workload(**shape)) == stated


def test_no_two_presets_do_the_same():
    keys = {schedule.key: name for name, schedule in builtin_schedules().items()}
    assert len(builtin_schedules()) == len(keys)


def test_what_was_promised_is_there():
    names = LIBRARY.names()
    for architecture in ("pixart", "flux"):
        for steps in (20, 28):
            for every in (2, 3, 4, 5):
                assert f"{architecture}/fora-{every}-{steps}-steps" in names
            assert f"{architecture}/fora-attention-2-{steps}-steps" in names
    for every in (2, 3, 4, 5):
        assert f"emoji-pixart/fora-{every}-20-steps" in names
    assert {"pixart/tgate-10-20-steps", "pixart/tgate-14-28-steps"} <= set(names)


@pytest.mark.parametrize("architecture", ALL, ids=lambda architecture: architecture.id)
def test_fora_is_made_for_any_model(architecture):
    made = for_any_model(architecture)
    assert ANY_MODEL == tuple(made)
    assert set(ANY_MODEL).isdisjoint(LIBRARY.names())
    assert presets.fora(architecture, 50, 3) == made["any-model/fora-3-50-steps"]
    for name, schedule in made.items():
        assert name == f"any-model/{schedule.name}"
        assert schedule_json.loads(schedule_json.dumps(schedule)) == schedule
