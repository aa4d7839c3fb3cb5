"""Results → bars with intervals and the recall–diversity plane, each as .png and .svg."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r4t.evaluation.results import DIRECTIONS, ITEMS, Results
from r4t.report.labels import Label, Place, place_labels
from r4t.support.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES, KINDS = ("items", "directions", "plane"), (".png", ".svg")
RECALL, CLOSENESS, DIVERSITY = "items/recall", "items/cosine", "items/vendi"
WITH, WITHOUT = "#0072b2", "#8c8c8c"  # methods with directions; methods that pick items
CURVES = ("#d55e00", "#009e73", "#cc79a7", "#e69f00")  # these and WITH: Okabe and Ito
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "r4t",
}


def draw(folder: str | Path, results: Results) -> list[Path]:
    """Write `items`, `directions` (bars) and `plane`, as far as there is something to show.

    Those of an older evaluation are replaced, or removed where this one has nothing to show.

    Returns:
        The files written.
    """
    folder = Path(folder)
    found = (bars(results, ITEMS), bars(results, DIRECTIONS), plane(results))
    drawn = {name: figure for name, figure in zip(FIGURES, found) if figure is not None}
    written = [path for name, figure in drawn.items() for path in _save(figure, folder / name)]
    clear(folder, [name for name in FIGURES if name not in drawn])
    return written


def clear(folder: str | Path, names: Sequence[str] = FIGURES) -> None:
    """Remove figures that an older evaluation has drawn."""
    for name in names:
        for kind in KINDS:
            (Path(folder) / f"{name}{kind}").unlink(missing_ok=True)


def _save(figure: "Figure", stem: Path) -> list[Path]:
    import matplotlib

    settings: list[dict[str, Any]] = [{"dpi": 200}, {"metadata": {"Date": None}}]
    paths = [stem.with_suffix(kind) for kind in KINDS]
    with matplotlib.rc_context(STYLE):
        for path, setting in zip(paths, settings):
            with replacing(path) as part:
                figure.savefig(part, format=path.suffix[1:], **setting)
    return paths


def bars(results: Results, prefix: str = ITEMS) -> "Figure | None":
    """One panel a measure: a bar for each method's mean, with its 95 % interval.

    Args:
        results: Of one evaluation.
        prefix: The block, "items/" or "directions/".

    Returns:
        None where the block has no value.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    names = [n for n in results.measures if n.startswith(prefix) and _methods(results, [n])]
    methods = _methods(results, names)
    if not names:
        return None
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with matplotlib.rc_context(STYLE):
        size = (1.4 + 2.2 * columns, rows * (0.6 + 0.22 * len(methods)) + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
        for panel, name in zip(panels, names):
            _bar_panel(panel, results, methods, name)
            panel.set_title(name.removeprefix(prefix))
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        panels[0].invert_yaxis()  # first method on top; the panels share the axis
        kinds = _kinds(results, methods)
        handles = [Patch(color=color, label=name) for color, name in kinds.items()]
        title = f"mean of {len(results.queries)} queries, 95 % interval"
        figure.legend(
            handles=handles, title=title, loc="outside lower center", ncols=2, frameon=False
        )
    return figure


def _kinds(results: Results, methods: Sequence[str]) -> dict[str, str]:
    """Color → kind of method, of those there are."""
    colors = {_color(results, method) for method in methods}
    kinds = {WITH: "searches with directions", WITHOUT: "picks items"}
    return {color: name for color, name in kinds.items() if color in colors}


def _methods(results: Results, names: Sequence[str]) -> list[str]:
    return [m for m in results.methods if any(results.interval(m, name) for name in names)]


def _bar_panel(panel: "Axes", results: Results, methods: Sequence[str], name: str) -> None:
    for place, method in enumerate(methods):
        found = results.interval(method, name)
        if found is None:
            panel.annotate("–", (0, place), (3, 0), textcoords="offset points", va="center")
            continue
        panel.barh(place, found.mean, height=0.7, color=_color(results, method))
        panel.plot([found.low, found.high], [place, place], color="black", linewidth=1)
    panel.set_yticks(range(len(methods)), methods)
    panel.axvline(0, color="black", linewidth=0.8)
    panel.locator_params(axis="x", nbins=4)


def _color(results: Results, method: str) -> str:
    directed = any(
        results.interval(method, name) for name in results.measures if name.startswith(DIRECTIONS)
    )
    return WITH if directed else WITHOUT


def plane(results: Results) -> "Figure | None":
    """Every method as a point: relevance to the right, diversity upward, both with intervals.

    Relevance is recall where there are references, else the mean cosine of the returned items
    with the query; diversity is the Vendi score of the returned items. The methods of
    ``settings["curves"]`` are joined to a line over their λ.

    Returns:
        None where no method has both.
    """
    import matplotlib
    from matplotlib.figure import Figure

    across = RECALL if RECALL in results.measures else CLOSENESS
    methods = [m for m in results.methods if _point(results, m, across)]
    if not methods:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.subplots()
        drawn: list[Place] = []
        lines: list[Place] = []
        labels: list[Label] = []
        for number, (curve, points) in enumerate(results.curves.items()):
            color = CURVES[number % len(CURVES)]
            places, ends = _curve(axes, results, curve, points, across, color)
            drawn += places
            lines += _along(places)
            labels += ends
        for method in methods:
            x, y, strokes = _cross(axes, results, method, across)
            drawn.append((x, y))
            lines += strokes
            labels.append(Label(method, x, y))
        axes.set_xlabel(_axis_name(results, across))
        axes.set_ylabel(f"diversity: Vendi score of the {_size(results)} items returned")
        axes.margins(0.12)
        for color, name in _kinds(results, methods).items():
            axes.plot([], [], "o", color=color, markersize=5, label=name)
        axes.legend(frameon=False, loc="best", fontsize=8)
        place_labels(axes, labels, drawn, lines)
    return figure


def _size(results: Results) -> str:
    return str(results.settings.get("set_size", "k"))


def _axis_name(results: Results, across: str) -> str:
    if across == RECALL:
        return f"recall in the pool of {results.settings.get('pool_size', 'P')} distinct items"
    return f"closeness: mean cosine of the {_size(results)} items returned with the query"


def _point(results: Results, method: str, across: str) -> Place | None:
    if not {across, DIVERSITY} <= set(results.measures):
        return None
    x, y = (results.interval(method, name) for name in (across, DIVERSITY))
    return None if x is None or y is None else (x.mean, y.mean)


def _cross(
    axes: "Axes", results: Results, method: str, across: str
) -> tuple[float, float, list[Place]]:
    """Draw a point with its two intervals; return it and places along them."""
    x, y = (results.interval(method, name) for name in (across, DIVERSITY))
    assert x is not None  # only methods that have both are drawn
    assert y is not None
    color = _color(results, method)
    ends = ([(x.low, y.mean), (x.high, y.mean)], [(x.mean, y.low), (x.mean, y.high)])
    for pair in ends:
        axes.plot(*zip(*pair), color=color, linewidth=1, alpha=0.6)
    axes.plot(x.mean, y.mean, "o", color=color, markersize=5)
    return x.mean, y.mean, [place for pair in ends for place in _along(pair)]


def _along(places: Sequence[Place], steps: int = 8) -> list[Place]:
    """Places close together along a line."""
    return [
        (a[0] + (b[0] - a[0]) * step / steps, a[1] + (b[1] - a[1]) * step / steps)
        for a, b in itertools.pairwise(places)
        for step in range(steps + 1)
    ]


def _curve(
    axes: "Axes",
    results: Results,
    curve: str,
    points: Sequence[tuple[str, float]],
    across: str,
    color: str,
) -> tuple[list[Place], list[Label]]:
    """Draw a line over λ; return its points and the λ at its ends."""
    found = [(_point(results, name, across), value) for name, value in points]
    known = [(point, value) for point, value in found if point is not None]
    if not known:
        return [], []
    places = [point for point, _ in known]
    axes.plot(*zip(*places), ".-", color=color, linewidth=1, markersize=4, label=f"{curve} over λ")
    ends = [Label(f"λ = {value:g}", *point, color) for point, value in (known[0], known[-1])]
    return places, ends
