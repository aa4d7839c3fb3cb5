import re

import pytest
from matplotlib.image import imread

from r4t.evaluation.results import Results
from r4t.report.plots import CURVES, WITH, WITHOUT, bars, draw, plane

# Recall 0 and 1 over two queries: a mean of ½ with an interval from 0 to 1.
VALUES = {
    "No fan-out": {"items/recall": [0.0, 1.0], "items/vendi": [2.0, 2.0]},
    "R4T-Diffusion": {
        "directions/groundedness": [-0.5, -0.5],
        "items/recall": [0.25, 0.75],
        "items/vendi": [3.0, 5.0],
    },
}


def results(values=VALUES, **settings):
    return Results({"set_size": 10, "pool_size": 150, **settings}, ["p", "q"], values)


def curved():
    points = {f"MMR λ={x}": {"items/recall": [x, x], "items/vendi": [4 - x] * 2} for x in (0, 1)}
    return results(VALUES | points, curves={"MMR": [["MMR λ=1", 1.0], ["MMR λ=0", 0.0]]})


def lines(axes):
    """Lines with data, as (color, xs, ys)."""
    drawn = [(x.get_color(), list(x.get_xdata()), list(x.get_ydata())) for x in axes.lines]
    return [line for line in drawn if line[1]]


def test_bars_show_means_with_their_intervals():
    panels = [axes for axes in bars(results()).axes if axes.get_visible()]
    recall, vendi = panels
    assert [axes.get_title() for axes in panels] == ["recall", "vendi"]
    assert [bar.get_width() for bar in recall.patches] == [0.5, 0.5]
    assert [bar.get_width() for bar in vendi.patches] == [2.0, 4.0]
    names = [label.get_text() for label in recall.get_yticklabels()]
    assert names == ["No fan-out", "R4T-Diffusion"]
    intervals = [line[1:] for line in lines(recall)]
    assert ([0.0, 1.0], [0, 0]) in intervals  # of No fan-out
    assert ([0.25, 0.75], [1, 1]) in intervals


def test_a_measure_that_a_method_lacks_is_a_dash():
    panel = bars(results(), "directions/").axes[0]
    # No fan-out has no directions at all: no row.
    assert [label.get_text() for label in panel.get_yticklabels()] == ["R4T-Diffusion"]
    values = VALUES | {"Random": {"items/vendi": [1.0, 1.0]}}
    recall = bars(results(values)).axes[0]
    assert [text.get_text() for text in recall.texts] == ["–"]
    assert len(recall.patches) == 2


def test_the_plane_shows_every_method_with_both_intervals():
    axes = plane(results()).axes[0]
    assert axes.get_xlabel() == "recall in the pool of 150 distinct items"
    assert axes.get_ylabel() == "diversity: Vendi score of the 10 items returned"
    drawn = lines(axes)
    assert (WITHOUT, [0.5], [2.0]) in drawn
    assert (WITHOUT, [0.0, 1.0], [2.0, 2.0]) in drawn
    assert (WITH, [0.5], [4.0]) in drawn  # it has directions
    assert (WITH, [0.5, 0.5], [3.0, 5.0]) in drawn
    assert {text.get_text() for text in axes.texts} - {""} == {"No fan-out", "R4T-Diffusion"}


def test_without_references_the_plane_shows_closeness():
    values = {"MMR": {"items/cosine": [0.25, 0.25], "items/vendi": [2.0, 2.0]}}
    axes = plane(results(values)).axes[0]
    assert axes.get_xlabel() == ("closeness: mean cosine of the 10 items returned with the query")
    assert (WITHOUT, [0.25], [2.0]) in lines(axes)


def test_curves_are_lines_in_the_order_of_lambda_and_not_bars():
    axes = plane(curved()).axes[0]
    assert (CURVES[0], [0.0, 1.0], [4.0, 3.0]) in lines(axes)
    names = {text.get_text() for text in axes.texts} - {""}
    assert names == {"No fan-out", "R4T-Diffusion", "λ = 0", "λ = 1"}
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["MMR over λ", "searches with directions", "picks items"]
    assert len(bars(curved()).axes[0].patches) == 2


def test_figures_without_content_are_not_drawn(tmp_path):
    bare = results({"MMR": {"items/cosine": [0.5, 0.5]}})
    assert plane(bare) is None
    assert bars(bare, "directions/") is None
    assert [path.name for path in draw(tmp_path / "new", bare)] == ["items.png", "items.svg"]


def test_files_are_pictures_with_searchable_words(tmp_path):
    paths = draw(tmp_path, curved())
    assert [path.name for path in paths] == [
        f"{name}.{kind}" for name in ("items", "directions", "plane") for kind in ("png", "svg")
    ]
    assert imread(tmp_path / "plane.png").shape == pytest.approx((920, 1280, 4), abs=1)
    text = (tmp_path / "plane.svg").read_text(encoding="utf-8")
    assert "R4T-Diffusion" in text
    assert not re.search(r"<dc:date>", text)
    again = draw(tmp_path / "again", curved())
    assert again[-1].read_bytes() == paths[-1].read_bytes()
