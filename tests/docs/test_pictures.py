"""The pictures of the pages: legible on light and dark pages, and the same as their script draws."""

import json
import re
import runpy
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

pytestmark = pytest.mark.docs

PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
GROUNDS = ("#ffffff", "#0b0c0f", "#0d1117")  # the site's light and dark ones, GitHub's dark one
SVG = "{http://www.w3.org/2000/svg}"


def luminance(color: str) -> float:
    """Relative luminance of WCAG, from 0 to 1, of #rgb or #rrggbb."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(one: str, other: str) -> float:
    """From 1 (none) to 21 (black on white)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def within(text: ET.Element, x: float, y: float, cards: list[tuple[float, ...]]) -> str:
    """Fill of the card under a text; empty on the ground."""
    place = (x + float(text.get("x", 0)), y + float(text.get("y", 0)))
    for left, top, width, height, fill in cards:
        if left <= place[0] <= left + width and top <= place[1] <= top + height:
            return str(fill)
    return ""


def drawn(root: ET.Element):
    """Cards as (left, top, width, height, fill), and each text with the position of its group."""
    cards, texts = [], []
    groups = [(root, 0.0, 0.0)]
    for group in root.findall(f"{SVG}g"):
        moved = re.fullmatch(r"translate\((\S+) (\S+)\)", group.get("transform"))
        groups.append((group, float(moved[1]), float(moved[2])))
    for group, x, y in groups:
        for rect in group.findall(f"{SVG}rect"):
            left, top = x + float(rect.get("x", 0)), y + float(rect.get("y", 0))
            size = (float(rect.get("width")), float(rect.get("height")))
            cards.append((left, top, *size, rect.get("fill")))
        texts += [(text, x, y) for text in group.findall(f"{SVG}text")]
    return cards, texts


def test_contrast_by_hand():
    assert contrast("#000000", "#fff") == pytest.approx(21)
    gray = contrast("#777777", "#ffffff")  # an example from WCAG
    assert gray == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("picture", PICTURES, ids=[path.name for path in PICTURES])
def test_it_has_no_ground_and_is_legible_on_all(picture):
    root = ET.parse(picture).getroot()
    width, height = map(float, root.get("viewBox").split()[2:])
    cards, texts = drawn(root)
    assert max(w * h for _, _, w, h, _ in cards) < width * height / 4
    assert texts
    for text, x, y in texts:
        card, fill = within(text, x, y, cards), text.get("fill")
        if card:
            assert contrast(fill, card) >= 4.5
        else:  # large or heavy words only
            assert text.get("font-weight") == "600"
            assert min(contrast(fill, ground) for ground in GROUNDS) >= 3.7


def test_the_set_is_what_its_script_draws(tmp_path, monkeypatch):
    """The script redraws the items that the picture shows."""
    picture = ROOT / "docs" / "pictures" / "set.svg"
    root = ET.parse(picture).getroot()
    query = root.find(f"{SVG}text").text.strip("“”")
    middle = float(root.get("viewBox").split()[2]) / 2
    answers = {"No fan-out": [], "R4T-Refined": []}
    for group in root.findall(f"{SVG}g"):
        left = float(re.match(r"translate\((\S+) ", group.get("transform"))[1])
        color, category = (text.text for text in group.findall(f"{SVG}text"))
        item = {"title": group.find(f"{SVG}title").text}
        item["metadata"] = {"color": color, "category": category}
        answers["No fan-out" if left < middle else "R4T-Refined"].append(item)
    assert [len(items) for items in answers.values()] == [10, 10]
    (tmp_path / "results").mkdir()
    lines = [
        json.dumps({"query": query, "method": method, "items": items})
        for method, items in answers.items()
    ]
    (tmp_path / "results" / "sets.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["picture.py", str(tmp_path)])
    writer = runpy.run_path(str(ROOT / "docs" / "site" / "picture.py"))
    again = tmp_path / "set.svg"
    monkeypatch.setitem(writer["main"].__globals__, "FILE", again)
    writer["main"]()
    assert again.read_bytes() == Path(picture).read_bytes()


def test_the_flow_is_what_its_script_draws_and_names_paths_that_exist(tmp_path, monkeypatch):
    writer = runpy.run_path(str(ROOT / "docs" / "site" / "flow.py"))
    again = tmp_path / "flow.svg"
    monkeypatch.setitem(writer["main"].__globals__, "FILE", again)
    writer["main"]()
    picture = ROOT / "docs" / "pictures" / "flow.svg"
    assert again.read_bytes() == picture.read_bytes()
    texts = [text.text for text in ET.parse(picture).getroot().findall(f"{SVG}text")]
    paths = [words for words in texts if re.fullmatch(r"[\w/]+(/|\.py)", words)]
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / "r4t" / path).exists()] == []
