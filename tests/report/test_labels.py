import itertools

import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from r4t.report.labels import Label, beyond, place_labels, shared


def box(left, bottom, right, top):
    return Bbox([[left, bottom], [right, top]])


def test_boxes_by_hand():
    assert shared(box(0, 0, 10, 4), box(8, 3, 20, 9)) == 2 * 1
    assert shared(box(0, 0, 10, 4), box(10, 0, 20, 4)) == 0
    assert shared(box(0, 0, 10, 4), box(11, 0, 20, 4)) == 0
    assert beyond(box(0, 0, 10, 4), box(1, -9, 7, 3)) == 1 + 3 + 0 + 1
    assert beyond(box(0, 0, 10, 4), box(-1, -1, 11, 5)) == 0


@pytest.fixture
def axes():
    axes = Figure(figsize=(5, 4)).subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return axes


def extents(axes):
    texts = [text for text in axes.texts if text.get_text()]
    return {text.get_text(): text.get_window_extent() for text in texts}


def test_names_cover_neither_each_other_nor_points_and_stay_inside(axes):
    # Three of the five points are so close that names beside them would cover one another.
    places = [(0.5, 0.5), (0.51, 0.51), (0.52, 0.49), (0.02, 0.95), (0.98, 0.05)]
    axes.plot(*zip(*places), "o")
    place_labels(axes, [Label(f"method {n}", *place) for n, place in enumerate(places)])
    boxes = extents(axes)
    assert set(boxes) == {f"method {n}" for n in range(5)}
    assert all(shared(a, b) == 0 for a, b in itertools.combinations(boxes.values(), 2))
    marks = axes.transData.transform(places)
    for extent in boxes.values():
        assert extent.count_contains(marks) == 0
        assert beyond(extent, axes.bbox) == 0


def test_names_avoid_lines(axes):
    axes.plot([0, 1], [0.5, 0.5])
    place_labels(axes, [Label("a method", 0.5, 0.5)])
    middle = axes.transData.transform((0.5, 0.5))[1]
    extent = extents(axes)["a method"]
    assert extent.ymin > middle or extent.ymax < middle


def test_names_avoid_the_legend(axes):
    axes.plot([0.5], [0.5], "o", label="a long entry of the legend")
    axes.legend(loc="center left", bbox_to_anchor=(0.51, 0.5))
    place_labels(axes, [Label("a method", 0.5, 0.5)])
    assert shared(extents(axes)["a method"], axes.get_legend().get_window_extent()) == 0


def test_a_name_with_room_is_next_to_its_point(axes):
    axes.plot([0.5], [0.5], "o")
    place_labels(axes, [Label("alone", 0.5, 0.5, "red")])
    (text,) = axes.texts  # and no line ties it to the point
    assert (text.get_text(), text.get_color(), text.get_horizontalalignment()) == (
        "alone", "red", "left",
    )  # fmt: skip
