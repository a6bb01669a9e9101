"""Everything of a front is on its plot, whatever its numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ecad_search.core.front import Front
from ecad_search.drawing import front_plot as plot
from ecad_search.drawing.canvas import BLUE, GREEN, INK, ORANGE, RED, Canvas
from ecad_search.drawing.front_plot import Axes, Labels, front_plot


def pixels(image, colour):
    return sum(
        count for count, found in image.getcolors(image.width * image.height) if found == colour
    )


def test_the_plot_has_the_asked_size(front):
    assert (1024, 768) == front_plot(front).size
    assert (700, 400) == front_plot(front, width=700, height=400).size


def test_found_schedules_references_and_the_knee_have_their_colours(front):
    image = front_plot(front)
    for colour in (BLUE, ORANGE, INK, GREEN):
        assert pixels(image, colour) > 40


def test_only_a_picked_schedule_is_marked_red(front, candidate):
    assert 0 == pixels(front_plot(front), RED)
    assert pixels(front_plot(front, picked=front.members[1].schedule), RED) > 40
    assert 0 == pixels(front_plot(front, picked=candidate(0.5, seed=9)), RED)


def test_a_reference_far_below_does_not_squash_the_front(front):
    axes = Axes.around(front, Canvas(1024, 768))
    assert axes.low > -0.5
    worst = min(front, key=lambda point: point.quality)
    assert axes.top < axes.at(worst)[1] < axes.bottom


def test_every_point_lies_inside_the_axes(front):
    axes = Axes.around(front, Canvas(1024, 768))
    for point in front:
        x, y = axes.at(point)
        assert axes.left < x < axes.right
        assert axes.top < y < axes.bottom


@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_fronts_can_be_drawn(front, count):
    assert (1024, 768) == front_plot(Front(front.points[:count])).size


def test_equal_points_and_huge_errors_can_be_drawn(front):
    same = [replace(p, cost=0.5, quality=0.25, quality_stderr=0.0) for p in front]
    assert (1024, 768) == front_plot(Front(tuple(same))).size
    unsure = [replace(p, quality_stderr=1e6) for p in front]
    assert (1024, 768) == front_plot(Front(tuple(unsure))).size


def test_labels_avoid_points_and_each_other(front):
    canvas = Canvas(1024, 768)
    labels = Labels(canvas, Axes.around(front, canvas))
    for _ in range(4):
        labels.place((500, 400), ["fora-2"], ORANGE, away=10)
    for i, box in enumerate(labels.taken):
        assert 0 == sum(plot.overlaps(box, labels.taken[:i]))


def test_labels_stay_inside_the_plot(front):
    canvas = Canvas(1024, 768)
    axes = Axes.around(front, canvas)
    labels = Labels(canvas, axes)
    for corner in ((axes.left, axes.top), (axes.right, axes.bottom)):
        labels.place(corner, ["uncached"], INK, away=10)
    for left, top, right, bottom in labels.taken:
        assert axes.left <= left and right <= axes.right
        assert axes.top <= top and bottom <= axes.bottom


def test_drawing_twice_gives_the_same_picture(front):
    assert front_plot(front).tobytes() == front_plot(front).tobytes()
