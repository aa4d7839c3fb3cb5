"""Every decimal and percentage in the text of a page has a source, and says what its file says."""

import pytest

from benchmarks.page import __main__ as page
from benchmarks.page import figures
from benchmarks.page.figures import Figure, mistakes, parts, rewritten


@pytest.mark.parametrize("path", page.every_page(), ids=lambda path: path.stem)
def test_every_figure_has_a_source_and_agrees_with_it(path):
    assert mistakes(path.read_text(encoding="utf-8")) == [], (
        "Name the source in a comment below the paragraph, <!-- figures: … -->, or mark settings with "
        "<!-- figures: settings -->; benchmarks/page/figures.py explains how. "
        "`python -m benchmarks.page` rewrites figures that have changed."
    )


@pytest.fixture
def one(monkeypatch):
    """Sources that are names of numbers."""
    monkeypatch.setattr(figures, "NAMES", {"a": 0.98641, "b": -0.5, "c": 12345.6, "setting": None})


TEXT = """# A title of 1.5

It keeps 98.6 % (a drop of −0.50) at 0.9.

<!-- figures: a, b, setting -->

* one is 0.986
* `0.1` and 95 % and λ = 0.7 and [link](a/1.5.md) need none; +0.99 does
  <!-- figures: a, a -->
* 12,345.6 or 12345.6 ms
  <!-- figures: c, c -->
"""


def test_figures_and_their_sources_are_found_in_order(one):
    found = [([each.text for each in part.figures], part.sources) for part in parts(TEXT)]
    assert found == [
        (["1.5"], None),
        (["98.6 %", "−0.50", "0.9"], " a, b, setting "),
        (["0.986", "+0.99"], " a, a "),
        (["12,345.6", "12345.6"], " c, c "),
    ]
    (title,) = mistakes(TEXT)
    assert title == "ValueError('no sources') for 1 figures: 1.5 in line 1"
    assert mistakes(TEXT.replace(" of 1.5", "")) == []


def test_what_is_no_figure():
    text = """Python 3.11, torch ≥ 2.11 and transformers 5.17 and 5.23, arXiv:2603.06397, 0.8M weights,
4.0e9 operations, section 3.2.1, 8:1:1, 198 queries, a 95 % interval, x2.5.

```text
0.25
```

<!-- [[[cog show("a") ]]] -->
| 0.5 |
<!-- [[[end]]] -->
"""
    assert list(parts(text)) == []


def test_wrong_figures_are_named_and_rewritten(one):
    text = "It keeps 97.0 % and 0.1 of it; 3.5 is ours.\n\n<!-- figures: a, b, setting -->\n"
    assert mistakes(text) == [
        "line 1: 97.0 %, but the files say 98.6 %",
        "line 1: 0.1, but the files say −0.5",
    ]
    assert rewritten(text) == text.replace("97.0 %", "98.6 %").replace("0.1", "−0.5")
    assert mistakes(rewritten(text)) == []


def test_sources_that_do_not_fit_are_named_and_change_nothing(one):
    for sources, message in (("a", "1 sources"), ("nowhere, a", "nowhere"), ("a, ,", "syntax")):
        text = f"0.5 of 0.25\n<!-- figures: {sources} -->\n"
        (found,) = mistakes(text)
        assert message in found
        assert found.endswith("for 2 figures: 0.5 in line 1, 0.25 in line 1")
        assert rewritten(text) == text
    assert mistakes("0.5 of 0.25\n\n<!-- figures: settings -->\n") == []


def test_a_value_is_shown_as_its_figure():
    assert Figure(0, "98.6 %").shown(0.12345) == "12.3 %"
    assert Figure(0, "0.6%").shown(0.02) == "2.0%"
    assert Figure(0, "85 %").shown(0.996) == "100 %"
    assert Figure(0, "+0.020").shown(-0.0312) == "−0.031"
    assert Figure(0, "+0.020").shown(0.5) == "+0.500"
    assert Figure(0, "−0.50").shown(0.25) == "0.25"
    assert Figure(0, "1,909.0").shown(4321.04) == "4,321.0"
    assert Figure(0, "1.9").shown(4321.04) == "4321.0"


def test_the_program_checks_and_rewrites_figures(tmp_path, capsys):
    """`loader_seconds` of the stage-3 benchmark: 0.000299 s."""
    text = "It takes 0.4 ms.\n<!-- figures: 1000 * read('train_diffusion.json')['loader_seconds'] -->\n"
    path = tmp_path / "page.md"
    path.write_text(text, "utf-8")
    assert page.main(["--check", str(path)]) == 1
    assert "line 1: 0.4, but the files say 0.3" in capsys.readouterr().err
    assert page.main([str(path)]) == 0
    assert path.read_text("utf-8") == text.replace("0.4", "0.3")
    assert page.main(["--check", str(path)]) == 0
