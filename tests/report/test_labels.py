import itertools

import pytest
from matplotlib.figure import Figure

from r4t.report.labels import Box, Label, place_labels


def test_boxes_by_hand():
    box = Box(0, 0, 10, 4)
    assert box.hides([(5, 2), (12.5, 2), (5, 7), (-1, 5)]) == 2  # two pixels around it count
    assert box.shared(Box(8, 3, 20, 9)) == 2 * 1
    assert box.shared(Box(10, 0, 20, 4)) == 0
    assert box.beyond(Box(1, -9, 7, 3)) == 1 + 3 + 0 + 1
    assert box.beyond(Box(-1, -1, 11, 5)) == 0


@pytest.fixture
def crowd():
    """Five points, three of them so close that names beside them would cover one another."""
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    places = [(0.5, 0.5), (0.51, 0.51), (0.52, 0.49), (0.02, 0.95), (0.98, 0.05)]
    labels = [Label(f"method {n}", *place) for n, place in enumerate(places)]
    place_labels(axes, labels, places)
    return axes, labels


def extents(axes):
    texts = [text for text in axes.texts if text.get_text()]
    return {text.get_text(): Box(*text.get_window_extent().extents) for text in texts}


def test_names_cover_neither_each_other_nor_points_and_stay_inside(crowd):
    axes, labels = crowd
    boxes = extents(axes)
    assert set(boxes) == {label.name for label in labels}
    assert all(a.shared(b) == 0 for a, b in itertools.combinations(boxes.values(), 2))
    marks = [axes.transData.transform((label.x, label.y)) for label in labels]
    for box in boxes.values():
        assert not any(box.left < x < box.right and box.bottom < y < box.top for x, y in marks)
        assert box.beyond(Box(*axes.bbox.extents)) == 0


def test_names_avoid_lines():
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    level = [(x / 100, 0.5) for x in range(101)]
    place_labels(axes, [Label("a method", 0.5, 0.5)], [(0.5, 0.5)], level)
    middle = axes.transData.transform((0.5, 0.5))[1]
    box = extents(axes)["a method"]
    assert box.bottom > middle or box.top < middle


def test_a_name_with_room_stands_beside_its_point():
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    place_labels(axes, [Label("alone", 0.5, 0.5, "red")], [(0.5, 0.5)])
    (text,) = axes.texts  # and no line ties it to the point
    assert (text.get_text(), text.get_color(), text.get_horizontalalignment()) == (
        "alone", "red", "left",
    )  # fmt: skip
