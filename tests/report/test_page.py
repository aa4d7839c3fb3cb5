"""The page of a comparison: escaped, self-contained, in both color schemes, and its numbers."""

import re
from html.parser import HTMLParser

import pytest

from r4t.report.answers import Answer, AnswerItem
from r4t.report.comparison import Comparison
from r4t.report.page import page

EVIL = "<script>alert(\"x\")</script> & 'so on'"
VOID = {"meta", "br", "link", "img"}


class Tree(HTMLParser):
    """Tags with attributes, visible text, and whether every tag is closed where it should be."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self._open = [], [], []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open and data.strip():
            self.text.append(data.strip())

    def all(self, tag, **wanted):
        return [a for name, a in self.tags if name == tag and wanted.items() <= a.items()]


def item(name, cosine=0.5, direction=None, **more):
    return AnswerItem(name, f"title {name}", cosine, direction, **more)


@pytest.fixture
def comparison():
    folm = Answer(
        "q1",
        "beach day",
        "R4T-FOLM",
        2,
        ["beach day hats", "sandals", "beach day"],
        [item("a", 0.25, 1), item("b", -0.001, 1, is_reference=True)],
        {"directions/groundedness": -0.5, "directions/spread": 0.75, "items/vendi": 1.5},
    )
    mmr = Answer(
        "q1",
        "beach day",
        "MMR",
        0,
        [],
        [item("a", 0.25), item("c", -0.5, metadata={"price": 3, "brand": None, "note": ""})],
        {"directions/groundedness": None, "directions/spread": None, "items/vendi": 2.0},
    )
    return Comparison(
        "Sets for “beach day”",
        [folm, mmr],
        about={"MMR": "re-ranked"},
        scales={"directions/groundedness": (-1.0, 1.0), "items/vendi": (0.0, 2.0)},
        facts={"run": "toy"},
        notes=["Not scored: judge."],
    )


def evil(text):
    answer = Answer(
        text,
        text,
        text,
        1,
        [text, f"{text} {text}"],
        [AnswerItem(text, text, 0.5, 1, text, metadata={text: text})],
        {f"items/{text}": 0.5},
        {f"items/{text}": text},
    )
    other = Answer(f"{text}2", text, text, 0, [], [], {})
    return Comparison(text, [answer, other], {text: text}, {}, {text: text}, [text])


def test_every_text_is_escaped():
    source = page(evil(EVIL))
    assert "<script" not in source
    tree = Tree(source)
    # Title, heading, facts, contents, two queries, methods and their words, score and its reason,
    # sub-queries, item, chip, note.
    assert tree.text.count(EVIL) >= 15
    assert {tag for tag, _ in tree.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "nav", "header", "footer"),
        *("section", "article", "div", "span", "p", "h1", "h2", "h3", "h4", "ol", "ul", "li"),
        *("a", "dl", "dt", "dd", "i"),
    }
    names = {name for _, attributes in tree.tags for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    assert EVIL in [attributes.get("title") for _, attributes in tree.tags]


def test_the_page_loads_nothing_from_elsewhere(comparison):
    source = page(comparison)
    assert "http://" not in source
    assert "https://" not in source
    assert not re.search(r"url\(|@import|src=|<link", source)
    tree = Tree(source)
    (policy,) = tree.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert tree.all("meta", name="viewport")


def test_both_color_schemes_name_the_same_colors(comparison):
    source = page(comparison)
    assert "color-scheme: light dark" in source
    blocks = re.findall(r":root \{(.*?)\}", source, re.DOTALL)
    light, dark = (dict(re.findall(r"(--[\w-]+): (#\w+)", block)) for block in blocks)
    assert "@media (prefers-color-scheme: dark)" in source
    assert light.keys() == dark.keys()
    assert not set(light.values()) & set(dark.values())
    used = set(re.findall(r"var\((--[\w-]+)\)", source)) - {"--hue", "--columns"}
    assert used <= light.keys()
    # Text on its card, both ways around: WCAG asks for 4.5.
    for colors in (light, dark):
        for ink in ("--ink", "--soft", "--good"):
            for ground in ("--card", "--chip", "--paper"):
                assert contrast(colors[ink], colors[ground]) > 4.5, (ink, ground)


def contrast(one, other):
    def luminance(color):
        channels = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_equal_comparisons_give_equal_pages(comparison):
    assert page(comparison) == page(comparison)


def test_scores_and_their_bars_by_hand(comparison):
    source = page(comparison)
    widths = re.findall(r'<i style="left: ([\d.]+)%; width: ([\d.]+)%"></i>', source)
    assert widths == [
        ("25.0", "25.0"),  # groundedness −0.5 on −1 … 1: from the middle to a quarter
        ("0.0", "75.0"),  # spread 0.75 of 0 … 1, the default scale
        ("0.0", "75.0"),  # vendi 1.5 of 2
        ("0.0", "100.0"),
    ]
    assert source.count('class="score top"') == 1  # vendi of MMR; only one method has directions
    text = Tree(source).text
    assert "−0.500" in text
    assert "none: it picks items" in text
    # A scale from −1 starts at 0 if no value is negative.
    scored = Answer("q", "q", "m", 1, [], [], {"directions/alignment": 0.5})
    above = Comparison("", [scored], scales={"directions/alignment": (-1.0, 1.0)})
    assert 'style="left: 0.0%; width: 50.0%"' in page(above)


def test_reasons_are_shown_below_their_scores():
    answer = Answer(
        "q1",
        "beach day",
        "FOLM",
        0,
        [],
        [],
        {"items/judge": 2.0, "items/other": None, "items/vendi": 1.5},
        {"items/judge": "All hats.", "items/other": "No answer."},
    )
    other = Answer("q1", "beach day", "MMR", 0, [], [], {"items/other": 1.0})
    source = page(Comparison("Two", [answer, other]))
    assert Tree(source).all("dd", **{"class": "reason"}) == [{"class": "reason", "dir": "auto"}] * 2
    text = Tree(source).text
    assert text[text.index("judge") :][:3] == ["judge", "2.000", "All hats."]
    assert text[text.index("other") :][:3] == ["other", "–", "No answer."]


def test_items_and_subqueries(comparison):
    source = page(comparison)
    text = Tree(source).text
    assert text.count("title a") == 2
    # a is in both answers; b and c are in one each.
    assert source.count("<li class=only>") == 2
    assert "in the reference set" in text
    assert "0.00" in text  # not −0.00
    assert "−0.50" in text
    assert Tree(source).all("span", **{"class": "chip"}) == [
        {"class": "chip", "title": "price", "dir": "auto"}  # brand and note are empty
    ]
    # The repeated query is set apart; the second and third found no item that is shown.
    flat = " ".join(source.split())
    assert '<span class="said">beach day</span> hats</span>' in flat
    assert '<span dir="auto"> beach day</span>' in flat
    assert source.count("<li class=idle>") == 2
    assert "3 sub-queries" in text
    vectors = Answer("q", "q", "m", 7, [], [], {})
    assert {"7 directions without words", "nothing was found"} <= set(
        Tree(page(Comparison("", [vectors]))).text
    )


def test_several_queries_have_a_table_of_contents(comparison):
    tree = Tree(page(comparison))
    assert tree.all("nav") == []
    other = Answer("q2", "rain", "MMR", 0, [], [], {})
    two = Comparison("Two", [*comparison.answers, other])
    tree = Tree(page(two))
    assert [link["href"] for link in tree.all("a")] == ["#query-1", "#query-2"]
    assert [section["id"] for section in tree.all("section")] == ["query-1", "query-2"]
