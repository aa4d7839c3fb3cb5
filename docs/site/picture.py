"""A run's ``results/sets.jsonl`` → ``docs/pictures/set.svg``, a set beside a plain search.

    python docs/site/picture.py runs/oar11

Shows how No fan-out and R4T-Refined answer the run's first test query: ten items each, drawn by category
and color. The background is transparent, because pages are light or dark. Small words are on the card of
their item; large words have a tone that is legible on both.
"""

import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

FILE = Path(__file__).resolve().parents[1] / "pictures" / "set.svg"
METHODS = {"No fan-out": "Plain search", "R4T-Refined": "A set (R4T-Refined)"}
TILE, GAP, HEAD, WORDS = 62, 8, 34, 28
INK, TITLE = "#758089", "#00897b"  # contrast on white and on dark pages: about 4 or more
CARD, TEXT = "#eef1f1", "#444"
COLORS = {  # of the wardrobe, if they are not CSS names or CSS means another color
    "amethyst": "#9966cc", "ash": "#b2beb5", "blush": "#de9aa8", "burgundy": "#800020",
    "camel": "#c19a6b", "charcoal": "#36454f", "cobalt": "#0047ab", "cream": "#f3e9c9",
    "emerald": "#2f9e68", "jet": "#343434", "lilac": "#c8a2c8", "mint": "#98e6c0",
    "mustard": "#d9a514", "oatmeal": "#dcd3c0", "peach": "#ffcba4", "plum": "#7b3f72",
    "ruby": "#c0143c", "rust": "#b7410e", "sand": "#d8c59b", "sapphire": "#0f52ba",
    "stone": "#a9a396", "taupe": "#8b7e74", "terracotta": "#cc6b49",
}  # fmt: skip
SHAPES = {  # paths in a square of 24 by 24
    "dress": "M9 2h6l-1 6 6 13H4l6-13z",
    "top": "M8 3h8l5 4-3 4-2-1v11H8V10l-2 1-3-4z",
    "bottom": "M7 2h10l2 20h-5l-2-12-2 12H5z",
    "skirt": "M8 4h8l5 16H3z",
    "suit": "M8 2h8l-1 8 3 12h-5l-1-8-1 8H6l3-12z",
    "coat": "M7 2h10l4 7-3 2v11h-5V8h-2v14H6V11L3 9z",
    "shoes": "M3 9h5l3 5c4 1 9 1 10 4v2H3z",
    "boots": "M8 2h7v11c3 1 6 2 6 5v3H8z",
    "bag": "M4 10h3a5 5 0 0 1 10 0h3l1 11H3zM9 10h6a3 3 0 0 0-6 0z",
    "ring": "M12 7l3-4H9zM12 7a7 7 0 1 0 .1 0zm0 3a4 4 0 1 1-.1 0z",
    "earrings": "M7 3a1 1 0 0 1 1 2v4a4 4 0 1 1-2 0V5a1 1 0 0 1 1-2z"
    "M17 3a1 1 0 0 1 1 2v4a4 4 0 1 1-2 0V5a1 1 0 0 1 1-2z",
    "scarf": "M6 3h12v5h-4l2 13h-5L10 8H6z",
    "hat": "M7 6h10l2 9c2 0 4 1 4 2s-5 3-11 3-11-2-11-3 2-2 4-2z",
    "belt": "M1 9h22v6H1zM8 7h8v10H8zM10 9v6h4V9z",
}
KINDS = {
    "dress": "dress gown", "top": "shirt tee sweater tank", "bottom": "trousers jeans shorts",
    "skirt": "skirt", "suit": "jumpsuit romper", "coat": "coat jacket blazer cardigan",
    "shoes": "heels sandals sneakers", "boots": "boots", "bag": "tote clutch crossbody backpack",
    "ring": "ring bracelet", "earrings": "earrings necklace", "scarf": "scarf", "hat": "hat beanie",
    "belt": "belt",
}  # fmt: skip
SHAPE = {category: shape for shape, words in KINDS.items() for category in words.split()}


def main() -> None:
    """Draw the first query of the run named on the command line."""
    text = (Path(sys.argv[1]) / "results" / "sets.jsonl").read_text(encoding="utf-8")
    answers = [json.loads(line) for line in text.splitlines()]
    query = answers[0]["query"]
    shown = {
        answer["method"]: answer["items"]
        for answer in answers
        if answer["query"] == query and answer["method"] in METHODS
    }
    panel = 5 * (TILE + GAP) - GAP
    width, height = 2 * panel + 4 * 16, HEAD + 62 + 2 * (TILE + WORDS + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" role="img">',
        f"<title>{escape(query)}: a plain search beside a set</title>",
        f'<text x="{width / 2}" y="30" text-anchor="middle" font-size="20" font-weight="600" fill="{INK}">'
        f"“{escape(query)}”</text>",
    ]
    for side, (method, title) in enumerate(METHODS.items()):
        left = 16 + side * (panel + 32)
        parts.append(
            f'<text x="{left}" y="{HEAD + 32}" font-size="17" font-weight="600" fill="{TITLE}">'
            f"{title}</text>"
        )
        for place, item in enumerate(shown[method]):
            x = left + place % 5 * (TILE + GAP)
            y = HEAD + 46 + place // 5 * (TILE + WORDS + GAP)
            parts.append(tile(item, x, y))
    if side == 1:
        x = 16 + panel + 16
        parts.append(f'<path d="M{x} {HEAD + 16}V{height - 14}" stroke="{INK}"/>')
    FILE.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def tile(item: dict, x: int, y: int) -> str:
    """One item: its shape in its color, and their names."""
    color, category = item["metadata"]["color"], item["metadata"]["category"]
    fill = COLORS.get(color, color)
    return (
        f'<g transform="translate({x} {y})"><title>{escape(item["title"])}</title>'
        f'<rect width="{TILE}" height="{TILE + WORDS}" rx="6" fill="{CARD}"/>'
        f'<g transform="translate(9 9) scale(1.83)"><path fill-rule="evenodd" d="{SHAPES[SHAPE[category]]}" '
        f'fill="{fill}" stroke="#555" stroke-width=".5"/></g>'
        f'<text x="{TILE / 2}" y="{TILE + 9}" text-anchor="middle" font-size="11" fill="{TEXT}">'
        f"{color}</text>"
        f'<text x="{TILE / 2}" y="{TILE + 22}" text-anchor="middle" font-size="11" fill="{TEXT}">'
        f"{category}</text></g>"
    )


if __name__ == "__main__":
    main()
