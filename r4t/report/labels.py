"""Named points of a plot → their names beside them, where there is room."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

Place = tuple[float, float]
DISTANCES = (5, 12, 20, 30, 42)  # points (1/72 inch) between a point and its name
TIE = {"arrowstyle": "-", "linewidth": 0.5, "color": "gray", "shrinkA": 0, "shrinkB": 3}
ANGLES = range(0, 360, 30)


class Label(NamedTuple):
    """A name, its point in data coordinates, and the color to write it in."""

    name: str
    x: float
    y: float
    color: str = "black"


class Box(NamedTuple):
    """A rectangle on paper, in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def hides(self, places: Sequence[Place]) -> int:
        """How many places lie in it, or as good as.

        Examples:
            >>> Box(0, 0, 10, 4).hides([(5, 2), (11, 2), (5, 9)])
            2
        """
        inside = (
            self.left - 2 < x < self.right + 2 and self.bottom - 2 < y < self.top + 2
            for x, y in places
        )
        return sum(inside)

    def shared(self, other: "Box") -> float:
        """Area that both cover.

        Examples:
            >>> Box(0, 0, 10, 4).shared(Box(8, 1, 20, 2))
            2
        """
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0) * max(height, 0)

    def beyond(self, frame: "Box") -> float:
        """How far it reaches out of a frame."""
        ends = (frame.left - self.left, self.right - frame.right)
        return sum(max(end, 0) for end in (*ends, frame.bottom - self.bottom, self.top - frame.top))


def place_labels(
    axes: "Axes",
    labels: Sequence[Label],
    points: Sequence[Place],
    lines: Sequence[Place] = (),
    font_size: float = 8,
) -> None:
    """Write each name where it hides no point, no line and no other name.

    Names are placed one by one, from the crowded points on; each takes the nearest of the places
    around its point that is free and within the axes, or else the one that hides least. A name
    that had to move away is tied to its point by a thin line.

    Args:
        axes: With everything drawn and its limits settled.
        labels: The points to name.
        points: (x, y) of all points that must stay visible.
        lines: (x, y) along lines that should, close together.
        font_size: Of the names.
    """
    from matplotlib.figure import Figure

    figure = axes.get_figure()
    if not isinstance(figure, Figure):
        raise TypeError("names are placed in the axes of a whole figure")
    figure.draw_without_rendering()  # settles the layout, so that sizes on paper are known

    def on_paper(place: Place) -> Place:
        x, y = axes.transData.transform(place)
        return x, y

    marks = [on_paper(point) for point in points]
    strokes = [on_paper(point) for point in lines]
    legend = axes.get_legend()
    taken = [] if legend is None else [Box(*legend.get_window_extent().extents)]
    frame = Box(*axes.bbox.extents)
    for label in sorted(labels, key=lambda label: _room(label, labels, axes)):
        text = _written(axes, label, font_size)
        size = text.get_window_extent()
        pixels = figure.dpi / 72
        best = (math.inf, 0, 0, frame)
        for distance, angle in itertools.product(DISTANCES, ANGLES):
            box = _box(
                on_paper((label.x, label.y)), size.width, size.height, distance * pixels, angle
            )
            cost = 100 * box.hides(marks) + 10 * box.hides(strokes) + 50 * box.beyond(frame)
            cost += sum(box.shared(other) for other in taken) + distance / 10
            best = min(best, (cost, distance, angle, box))
        _, distance, angle, box = best
        taken.append(box)
        text.xyann = _offset(distance, angle)
        text.set_horizontalalignment(_side(angle))
        if distance > DISTANCES[0]:
            axes.annotate("", text.xy, text.xyann, textcoords="offset points", arrowprops=TIE)


def _written(axes: "Axes", label: Label, font_size: float) -> "Annotation":
    return axes.annotate(
        label.name,
        (label.x, label.y),
        (0, 0),
        textcoords="offset points",
        fontsize=font_size,
        color=label.color,
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        zorder=4,
    )


def _offset(distance: float, angle: float) -> Place:
    """Where a name stands from its point: below and above, a little nearer to the middle line."""
    turn = math.radians(angle)
    return distance * math.cos(turn), (distance + 3) * math.sin(turn)


def _side(angle: int) -> Literal["left", "center", "right"]:
    """A name to the right of its point begins there; one to the left ends there."""
    cosine = math.cos(math.radians(angle))
    return "center" if abs(cosine) < 0.1 else "left" if cosine > 0 else "right"


def _box(point: Place, width: float, height: float, distance: float, angle: int) -> Box:
    """Where a name of this size would stand."""
    across, up = _offset(distance, angle)
    left = point[0] + across - width * {"left": 0.0, "center": 0.5, "right": 1.0}[_side(angle)]
    bottom = point[1] + up - height / 2
    return Box(left, bottom, left + width, bottom + height)


def _room(label: Label, labels: Sequence[Label], axes: "Axes") -> float:
    """Distance on paper to the nearest other named point."""
    here = axes.transData.transform((label.x, label.y))
    others = [axes.transData.transform((other.x, other.y)) for other in labels if other != label]
    return min((math.dist(here, there) for there in others), default=math.inf)
