"""Named points of a plot → their names beside them, as far apart as there is room for."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

DISTANCES = (6, 14, 24, 36)  # points (1/72 inch) between a point and its name
ANGLES = range(0, 360, 30)


def place_labels(
    axes: "Axes",
    labels: Sequence[tuple[str, float, float]],
    points: Sequence[tuple[float, float]],
    font_size: float = 8,
) -> None:
    """Write each name where it covers no point and no other name.

    Names are placed one by one, from the crowded points on; each takes the nearest of the places
    around its point that is free and within the axes, or else the one that covers least. A name
    that had to move away is tied to its point by a thin line.

    Args:
        axes: With everything drawn and its limits settled.
        labels: Name, x and y of each point to name, in data coordinates.
        points: (x, y) of all points that must stay visible.
        font_size: Of the names.
    """
    figure = axes.get_figure()
    if figure is None:
        return
    figure.draw_without_rendering()  # settles the layout, so that sizes on paper are known
    marks = [axes.transData.transform(point) for point in points]
    legend = axes.get_legend()
    taken = [legend.get_window_extent()] if legend is not None else []
    for name, x, y in sorted(labels, key=lambda label: _room(label, labels, axes)):
        text = axes.annotate(
            name,
            (x, y),
            (0, 0),
            textcoords="offset points",
            fontsize=font_size,
            va="center",
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "gray", "shrinkB": 3},
        )
        best = None
        for distance, angle in itertools.product(DISTANCES, ANGLES):
            text.xyann = (
                distance * math.cos(math.radians(angle)),
                distance * math.sin(math.radians(angle)),
            )
            text.set_horizontalalignment(_side(angle))
            box = text.get_window_extent()
            cost = _covered(box, marks, taken, axes.bbox)
            if best is None or cost < best[0]:
                best = (cost, text.xyann, text.get_horizontalalignment(), box, distance)
            if cost == 0:
                break
        if best is not None:
            _, text.xyann, alignment, box, distance = best
            text.set_horizontalalignment(alignment)
            if distance == DISTANCES[0] and text.arrow_patch is not None:
                text.arrow_patch.set_visible(False)
            taken.append(box)


def _side(angle: int) -> str:
    """A name to the right of its point begins there; one to the left ends there."""
    cosine = math.cos(math.radians(angle))
    return "center" if abs(cosine) < 0.1 else "left" if cosine > 0 else "right"


def _room(
    label: tuple[str, float, float], labels: Sequence[tuple[str, float, float]], axes: "Axes"
) -> float:
    """Distance on paper to the nearest other named point."""
    here = axes.transData.transform(label[1:])
    others = [axes.transData.transform(other[1:]) for other in labels if other is not label]
    return min((math.dist(here, there) for there in others), default=math.inf)


def _covered(
    box: "Bbox", marks: Sequence[Sequence[float]], taken: Sequence["Bbox"], frame: "Bbox"
) -> float:
    """How bad a place is: area over other names, points hidden, parts outside the axes."""
    hidden = sum(box.x0 - 2 < x < box.x1 + 2 and box.y0 - 2 < y < box.y1 + 2 for x, y in marks)
    overlap = 0.0
    for other in taken:
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        overlap += max(width, 0) * max(height, 0)
    outside = max(frame.x0 - box.x0, 0) + max(box.x1 - frame.x1, 0)
    outside += max(frame.y0 - box.y0, 0) + max(box.y1 - frame.y1, 0)
    return overlap + 100 * hidden + 50 * outside
