"""A front keeps what nothing dominates, is picked from by wish, and survives its file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ecad_search.architectures import find
from ecad_search.core import presets
from ecad_search.core.cost import relative_cost
from ecad_search.core.front import Front, FrontPoint
from ecad_search.errors import ScheduleError, SearchError, StorageError

ARCHITECTURE = find("emoji-pixart")
WORKLOAD = ARCHITECTURE.native_workload(2)


def point(every, quality, **fields):
    schedule = presets.fora(ARCHITECTURE, 20, every)
    return FrontPoint(
        schedule=schedule,
        cost=relative_cost(schedule, WORKLOAD),
        quality=quality,
        quality_stderr=0.01,
        samples=16,
        **fields,
    )


@pytest.fixture
def front():
    uncached = point(1, 0.0, mean_score=0.8, is_reference=True)
    points = [point(2, -0.01), point(3, -0.3, is_reference=True), point(4, -0.1), point(5, -0.8)]
    return Front.of([uncached, *points, point(7, -0.9)], {"search": "test"})


def test_points_are_sorted_by_cost_and_dominated_ones_go(front):
    assert sorted(p.cost for p in front) == [p.cost for p in front]
    assert [-0.9, -0.8, -0.1, -0.3, -0.01, 0.0] == [p.quality for p in front.points]
    assert [-0.9, -0.8, -0.1, -0.01, 0.0] == [p.quality for p in front.members]
    assert Front.of([point(2, -0.5), point(3, -0.1)]).points == (point(3, -0.1),)


def test_a_dominated_reference_stays_but_is_never_picked(front):
    assert [-0.3, 0.0] == [p.quality for p in front.references]
    assert -0.1 == front.pick_speedup(2.5).quality


def test_a_schedule_stands_once_on_a_front():
    assert 1 == len(Front.of([point(2, -0.1), point(2, -0.1, is_reference=True)]))


def test_speedup_is_one_over_cost(front):
    assert all(1 / p.cost == p.speedup for p in front)
    assert 1.0 == front.points[-1].speedup


def test_picking_by_speedup_takes_the_best_quality_that_is_fast_enough(front):
    assert -0.01 == front.pick_speedup(1.5).quality
    assert 0.0 == front.pick(target_speedup=1.0).quality


def test_picking_by_quality_takes_the_fastest_that_is_good_enough(front):
    assert -0.1 == front.pick_quality(-0.2).quality
    assert 0.0 == front.pick(min_quality=0.0).quality


def test_a_target_rounded_on_the_screen_still_picks_its_point(front):
    fastest = front.members[0]
    assert fastest == front.pick_speedup(float(f"{fastest.speedup + 0.0005:.3f}"))


def test_the_knee_gives_most_speed_for_little_loss(front):
    assert -0.1 == front.pick_knee().quality
    assert -0.1 == front.pick().quality


def test_the_knee_of_a_cautious_search_is_beaten_by_nothing_on_the_plot():
    ends = point(1, 0.03, losses=(0.0,)), point(7, -0.1, losses=(0.2,))
    faster = point(4, 0.02, losses=(0.1,))
    sure = point(3, 0.01, losses=(0.01,))
    front = Front.of([*ends, faster, sure])
    assert sure in front.members
    assert faster == front.pick_knee()
    assert sure == Front.of([*ends, replace(faster, quality=0.0), sure]).pick_knee()


def test_a_short_front_gives_its_cheapest_as_knee():
    assert -0.2 == Front.of([point(1, 0.0), point(3, -0.2)]).pick_knee().quality


def test_when_nothing_qualifies_the_best_available_is_named(front):
    with pytest.raises(SearchError, match=r"is 90 times cheaper.*best available is \d\.\d\dx"):
        front.pick_speedup(90)
    with pytest.raises(SearchError, match=r"at least 2 .*best available is 1.00x, quality \+0"):
        front.pick_quality(2)


def test_an_empty_front_says_what_to_do():
    for pick in (Front().pick_knee, lambda: Front().pick_speedup(2)):
        with pytest.raises(SearchError, match="front is empty"):
            pick()


def test_wishes_must_be_single_and_finite(front):
    with pytest.raises(SearchError, match="Give one of the two"):
        front.pick(target_speedup=2, min_quality=0)
    with pytest.raises(SearchError, match="expected a finite number"):
        front.pick_speedup(float("nan"))


def test_a_front_survives_its_file(front, tmp_path):
    path = tmp_path / "front.json"
    front.save(path)
    assert front == Front.load(path)
    assert front.to_json() == Front.load(path).to_json()
    assert all(p.schedule.name for p in Front.load(path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "other"}, "field 'format' is not 'ecad-front'"),
        ({"version": 7}, "version 7, this pack reads version 1"),
        ({"points": 3}, "'points' must be a list"),
        ({"points": [3]}, "point 1 of the front is int"),
    ],
)
def test_a_broken_file_is_one_sentence(front, change, sentence):
    document = json.loads(front.to_json()) | change
    with pytest.raises(ScheduleError, match=sentence):
        Front.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cost", 1.5),
        ("cost", 1e-320),
        ("quality", 10**250),
        ("quality", 1e200),
        ("relative_macs", 1e-320),
        ("cost", None),
        ("quality", "good"),
        ("samples", 0),
        ("schedule", 4),
        ("cache_bytes", -1),
        ("cache_bytes", 1.5),
        ("within_limits", "yes"),
        ("seconds", 0),
        ("relative_macs", "few"),
        ("losses", 0.1),
        ("losses", ["none"]),
        ("losses", [0.1, 0.2]),
    ],
)
def test_a_broken_point_is_named(front, field, value):
    document = json.loads(front.to_json())
    document["points"][1][field] = value
    with pytest.raises(ScheduleError, match="point 2 of the front"):
        Front.from_json(json.dumps(document))


@pytest.mark.parametrize(
    "info", ["NaN", "1e999", "9" * 400, "[" * 900 + "]" * 900, '{"a": 1, "a": 2}']
)
def test_what_could_not_be_written_again_is_not_read(front, info):
    text = front.to_json().replace('"search": "test"', f'"search": {info}')
    with pytest.raises(ScheduleError, match="is not a front file: it") as error:
        Front.from_json(text)
    assert str(error.value).isprintable()


def test_files_that_are_not_fronts_are_told_apart(tmp_path):
    with pytest.raises(ScheduleError, match="is not a front file"):
        Front.from_json("{")
    with pytest.raises(StorageError, match="cannot be read"):
        Front.load(tmp_path / "none.json")
    (tmp_path / "image.json").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ScheduleError, match="is not UTF-8 text"):
        Front.load(tmp_path / "image.json")


def test_a_point_describes_itself_for_lists():
    assert "quality -0.1 ± 0.01" in point(4, -0.1).describe()
    assert replace(point(4, -0.1), cost=0.5).describe().startswith("2.00x")


def test_what_not_every_front_tells_is_in_the_file_only_where_it_is_told(front):
    assert "cache_bytes" not in front.to_json() and "seconds" not in front.to_json()
    full = {"cache_bytes": 7, "within_limits": False, "relative_macs": 0.5, "seconds": 1.25}
    told = Front.of([point(1, 0.0, is_reference=True), point(2, -0.1, is_reference=True, **full)])
    assert told == Front.from_json(told.to_json())
    assert full == {name: getattr(told.points[0], name) for name in full}


def test_what_is_beyond_a_limit_dominates_nothing_and_is_never_picked():
    beyond = point(4, 0.1, is_reference=True, within_limits=False)
    found = Front.of([point(1, 0.0), point(2, -0.2), beyond])
    assert beyond in found.points
    assert [-0.2, 0.0] == [p.quality for p in found.members]
    assert -0.2 == found.pick_speedup(1.5).quality
    with pytest.raises(SearchError, match="is 3 times cheaper"):
        found.pick_speedup(3)


def test_where_a_search_is_cautious_its_losses_decide_who_beats_whom(tmp_path):
    lucky, sure = point(3, 0.02, losses=(0.05,)), point(2, 0.01, losses=(0.03,))
    front = Front.of([lucky, sure, point(4, -0.01, losses=(0.01,))])
    assert [(0.01,)] == [p.losses for p in front.members]
    front = Front.of([lucky, sure])
    assert (lucky, sure) == front.members
    assert sure == front.pick_speedup(1.5)
    front.save(tmp_path / "front.json")
    assert front == Front.load(tmp_path / "front.json")


def test_a_point_says_what_it_saves_in_the_words_of_its_search():
    assert "2.00x fewer MACs" == replace(point(4, -0.1), cost=0.5).saving
    timed = replace(point(4, -0.1), cost=0.5, relative_macs=0.4, seconds=1.234)
    assert "2.00x faster by prediction (1.23 s a picture), 2.50x fewer MACs" == timed.saving
    assert 0.4 == timed.macs_share
