"""Named points of a plot → their names beside them, where there is room."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.transforms import Bbox

DISTANCES = (5, 12, 20, 30, 42)  # from a point to its name, in points (1/72 inch)
# A name to the right (1) of its point begins there.
SIDES: dict[int, Literal["left", "center", "right"]] = {1: "left", 0: "center", -1: "right"}
Place = tuple[int, int, float]  # distance, side, and how far up (1) or down (−1)
PLACES: list[Place] = [
    (distance, side, up)
    for distance, side, up in itertools.product(DISTANCES, SIDES, (0, 0.5, -0.5, 1, -1))
    if side != 0 or abs(up) == 1
]
TIE = {"arrowstyle": "-", "linewidth": 0.5, "color": "gray", "shrinkA": 0, "shrinkB": 3}
STYLE: Any = {
    "textcoords": "offset points",
    "va": "center",
    "fontsize": 8,
    "zorder": 4,
    "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
}


class Label(NamedTuple):
    """A name, its point in data coordinates, and the color of its letters."""

    name: str
    x: float
    y: float
    color: str = "black"


def place_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each name where it hides no marker, no line and no other name.

    Call it last, when everything is drawn and the limits are settled. Names are placed one by one,
    those of crowded points first. Each takes the nearest free place inside the axes, or else the
    place where it hides least. A thin line ties a name to its point unless it is next to it.
    """
    # Settles the layout, so that sizes in pixels are known.
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    pixels = [(line, line.get_transform().transform(line.get_xydata())) for line in axes.lines]
    marks = [place for line, places in pixels if line.get_marker() != "None" for place in places]
    strokes = [Path(places) for line, places in pixels if line.get_linestyle() != "None"]
    legend = axes.get_legend()
    taken = [] if legend is None else [legend.get_window_extent()]

    def cost(box: Bbox) -> float:
        around = box.padded(2)
        hidden = 100 * around.count_contains(marks)
        hidden += 30 * sum(stroke.intersects_bbox(around, filled=False) for stroke in strokes)
        return hidden + 50 * beyond(box, axes.bbox) + sum(shared(box, other) for other in taken)

    points = axes.transData.transform([(label.x, label.y) for label in labels])
    gaps = np.sort(np.linalg.norm(points[:, None] - points, axis=-1))[:, 1:2]  # to the nearest
    for number in np.argsort(gaps.sum(1), kind="stable"):
        name, x, y, color = labels[number]
        text = axes.annotate(name, (x, y), (0, 0), color=color, **STYLE)
        size, pixel = np.array(text.get_window_extent().size), axes.figure.dpi / 72
        boxes = {place: _box(points[number], size, pixel, place) for place in PLACES}
        best = min(PLACES, key=lambda place: cost(boxes[place]) + place[0] / 10)
        taken.append(boxes[best])
        text.xyann = _offset(best)
        text.set_horizontalalignment(SIDES[best[1]])
        if best[0] > DISTANCES[0]:
            axes.annotate("", (x, y), text.xyann, textcoords="offset points", arrowprops=TIE)


def _offset(place: Place) -> tuple[float, float]:
    """From a point to the near end of its name; a little more up and down, for the letters."""
    distance, side, up = place
    return distance * side, (distance + 3) * up


def _box(point: np.ndarray, size: np.ndarray, pixel: float, place: Place) -> Bbox:
    """Pixels that a name of this size would cover."""
    left, bottom = point + np.multiply(_offset(place), pixel) - size * ((1 - place[1]) / 2, 0.5)
    return Bbox.from_bounds(left, bottom, *size)


def shared(box: Bbox, other: Bbox) -> float:
    """Area that both boxes cover."""
    both = Bbox.intersection(box, other)
    return 0.0 if both is None else both.width * both.height


def beyond(box: Bbox, frame: Bbox) -> float:
    """How far a box reaches out of a frame, summed over the four sides."""
    ends = (np.subtract(frame.min, box.min), np.subtract(box.max, frame.max))
    return float(np.clip(ends, 0, None).sum())
