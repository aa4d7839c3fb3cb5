"""Named points of a plot → their names beside them, where there is room."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.transforms import Bbox

DISTANCES = (5, 12, 20, 30, 42)  # from a point to its name, in points (1/72 inch)
ANGLES = range(0, 360, 30)
TIE = {"arrowstyle": "-", "linewidth": 0.5, "color": "gray", "shrinkA": 0, "shrinkB": 3}
STYLE: Any = {
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

    def cost(box: Bbox, distance: float) -> float:
        around = box.padded(2)
        hidden = 100 * around.count_contains(marks)
        hidden += 30 * sum(stroke.intersects_bbox(around, filled=False) for stroke in strokes)
        covered = sum(shared(box, other) for other in taken)
        return hidden + 50 * beyond(box, axes.bbox) + covered + distance / 10

    for label in sorted(labels, key=lambda label: _room(axes, label, labels)):
        name, x, y, color = label
        text = axes.annotate(name, (x, y), (0, 0), textcoords="offset points", color=color, **STYLE)
        size = text.get_window_extent()
        boxes = {
            (distance, angle): _box(axes, label, size, distance, angle)
            for distance, angle in itertools.product(DISTANCES, ANGLES)
        }
        distance, angle = min(boxes, key=lambda place: cost(boxes[place], place[0]))
        taken.append(boxes[distance, angle])
        text.xyann = _offset(distance, angle)
        text.set_horizontalalignment(_side(angle))
        if distance > DISTANCES[0]:
            axes.annotate("", (x, y), text.xyann, textcoords="offset points", arrowprops=TIE)


def shared(box: Bbox, other: Bbox) -> float:
    """Area that both boxes cover."""
    both = Bbox.intersection(box, other)
    return 0.0 if both is None else both.width * both.height


def beyond(box: Bbox, frame: Bbox) -> float:
    """How far a box reaches out of a frame, summed over the four sides."""
    ends = (np.subtract(frame.min, box.min), np.subtract(box.max, frame.max))
    return float(np.clip(ends, 0, None).sum())


def _offset(distance: float, angle: float) -> tuple[float, float]:
    """From a point to its name; a little more above and below, where letters have height."""
    turn = math.radians(angle)
    return distance * math.cos(turn), (distance + 3) * math.sin(turn)


def _side(angle: int) -> Literal["left", "center", "right"]:
    """A name to the right of its point begins there; one to the left ends there."""
    cosine = math.cos(math.radians(angle))
    return "center" if abs(cosine) < 0.1 else "left" if cosine > 0 else "right"


def _box(axes: Axes, label: Label, size: Bbox, distance: int, angle: int) -> Bbox:
    """Pixels that a name of this size would cover."""
    x, y = axes.transData.transform((label.x, label.y))
    across, up = _offset(distance * axes.figure.dpi / 72, angle)
    left = x + across - size.width * {"left": 0.0, "center": 0.5, "right": 1.0}[_side(angle)]
    return Bbox.from_bounds(left, y + up - size.height / 2, size.width, size.height)


def _room(axes: Axes, label: Label, labels: Sequence[Label]) -> float:
    """Pixels to the nearest other named point."""
    x, *others = axes.transData.transform(
        [(one.x, one.y) for one in (label, *(other for other in labels if other != label))]
    )
    return min((math.dist(x, other) for other in others), default=math.inf)
