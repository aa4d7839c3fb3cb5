"""Results → bars with intervals and the recall–diversity plane, each as .png and .svg."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from r4t.evaluation.resampling import Interval
from r4t.evaluation.results import DIRECTIONS, ITEMS, Results
from r4t.report.labels import Label, place_labels
from r4t.support.files import replacing

FIGURES = ("items", "directions", "plane")
KINDS: dict[str, Any] = {".png": {"dpi": 200}, ".svg": {"metadata": {"Date": None}}}
RECALL, CLOSENESS, DIVERSITY = "items/recall", "items/cosine", "items/vendi"
WITH, WITHOUT = "#0072b2", "#8c8c8c"  # methods with directions; methods that pick items
KIND_NAMES = {WITH: "searches with directions", WITHOUT: "picks items"}
CURVES = ("#d55e00", "#009e73", "#cc79a7", "#e69f00")  # with WITH: colors of Okabe and Ito
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "r4t",
}


def draw(folder: str | Path, results: Results) -> list[Path]:
    """Write `items`, `directions` (bars) and `plane`, return their paths; remove outdated ones."""
    folder = Path(folder)
    figures = (bars(results, ITEMS), bars(results, DIRECTIONS), plane(results))
    drawn = {name: figure for name, figure in zip(FIGURES, figures) if figure is not None}
    clear(folder, [name for name in FIGURES if name not in drawn])
    return [path for name, figure in drawn.items() for path in _save(figure, folder / name)]


def clear(folder: str | Path, names: Sequence[str] = FIGURES) -> None:
    """Remove figures of an older evaluation."""
    for name, kind in itertools.product(names, KINDS):
        (Path(folder) / f"{name}{kind}").unlink(missing_ok=True)


def _save(figure: Figure, stem: Path) -> list[Path]:
    for kind, settings in KINDS.items():
        with matplotlib.rc_context(STYLE), replacing(stem.with_suffix(kind)) as part:
            figure.savefig(part, format=kind[1:], **settings)
    return [stem.with_suffix(kind) for kind in KINDS]


def bars(results: Results, prefix: str = ITEMS) -> Figure | None:
    """One panel per measure of a block ("items/"): a bar for each method's mean, with its interval.

    None if the block has no value.
    """
    names = [n for n in results.measures if n.startswith(prefix) and _measured(results, [n])]
    methods = _measured(results, names)
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
        handles = [Patch(color=color, label=kind) for color, kind in _kinds(results, methods)]
        title = f"mean of {len(results.queries)} queries, 95 % interval"
        where: Any = {"loc": "outside lower center", "ncols": 2, "frameon": False}
        figure.legend(handles=handles, title=title, **where)
    return figure


def _kinds(results: Results, methods: Sequence[str]) -> list[tuple[str, str]]:
    """Color and name of each kind of method that occurs."""
    colors = {_color(results, method) for method in methods}
    return [(color, name) for color, name in KIND_NAMES.items() if color in colors]


def _measured(results: Results, names: Sequence[str]) -> list[str]:
    """The methods with a value of any of these measures."""
    return [m for m in results.methods if any(results.interval(m, name) for name in names)]


def _bar_panel(panel: Axes, results: Results, methods: Sequence[str], name: str) -> None:
    for place, method in enumerate(methods):
        interval = results.interval(method, name)
        if interval is None:
            panel.annotate("–", (0, place), (3, 0), textcoords="offset points", va="center")
            continue
        panel.barh(place, interval.mean, height=0.7, color=_color(results, method))
        panel.plot([interval.low, interval.high], [place, place], color="black", linewidth=1)
    panel.set_yticks(range(len(methods)), methods)
    panel.axvline(0, color="black", linewidth=0.8)
    panel.locator_params(axis="x", nbins=4)


def _color(results: Results, method: str) -> str:
    names = (name for name in results.measures if name.startswith(DIRECTIONS))
    return WITH if any(results.interval(method, name) for name in names) else WITHOUT


def plane(results: Results) -> Figure | None:
    """Every method as a point: relevance to the right, diversity upward, both with intervals.

    Relevance is recall if there are references, else the mean cosine of the returned items with the
    query; diversity is their Vendi score. The methods of ``settings["curves"]`` are joined to a line
    over their λ. None if no method has both numbers.
    """
    across = RECALL if RECALL in results.measures else CLOSENESS
    crosses = {m: pair for m in results.methods if (pair := _cross(results, m, across))}
    if not crosses:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.subplots()
        labels: list[Label] = []
        for color, curve in zip(itertools.cycle(CURVES), results.curves):
            labels += _draw_curve(axes, results, curve, across, color)
        for method, (x, y) in crosses.items():
            color = _color(results, method)
            axes.plot([x.low, x.high], [y.mean, y.mean], color=color, linewidth=1, alpha=0.6)
            axes.plot([x.mean, x.mean], [y.low, y.high], color=color, linewidth=1, alpha=0.6)
            axes.plot(x.mean, y.mean, "o", color=color, markersize=5)
            labels.append(Label(method, x.mean, y.mean))
        size = results.settings.get("set_size", "k")
        axes.set_xlabel(
            f"recall in the pool of {results.settings.get('pool_size', 'P')} distinct items"
            if across == RECALL
            else f"closeness: mean cosine of the {size} items returned with the query"
        )
        axes.set_ylabel(f"diversity: Vendi score of the {size} items returned")
        axes.margins(0.12)
        for color, name in _kinds(results, list(crosses)):
            axes.plot([], [], "o", color=color, markersize=5, label=name)
        axes.legend(frameon=False, loc="best", fontsize=8)
        place_labels(axes, labels)
    return figure


def _cross(results: Results, method: str, across: str) -> tuple[Interval, Interval] | None:
    """A method's relevance and diversity; None unless it has both."""
    if not {across, DIVERSITY} <= set(results.measures):
        return None
    x, y = (results.interval(method, name) for name in (across, DIVERSITY))
    return None if x is None or y is None else (x, y)


def _draw_curve(axes: Axes, results: Results, curve: str, across: str, color: str) -> list[Label]:
    """Draw a line over λ; return λ at both ends as labels."""
    points = [
        (pair[0].mean, pair[1].mean, value)
        for name, value in results.curves[curve]
        if (pair := _cross(results, name, across))
    ]
    if not points:
        return []
    places = [(x, y) for x, y, _ in points]
    axes.plot(*zip(*places), ".-", color=color, linewidth=1, markersize=4, label=f"{curve} over λ")
    ends = (points[0], points[-1])
    return [Label(f"λ = {value:g}", x, y, color) for x, y, value in ends]
