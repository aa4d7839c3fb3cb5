"""The rooms of the code → ``docs/pictures/flow.svg``: how a query and a training batch flow through them.

    python docs/site/flow.py

Each column is one use of the code, read from top to bottom; a wide box is a room that several uses share.
Bold titles that contain a slash or end in ``.py`` are paths below ``r4t/``. The background is transparent.
"""

from itertools import pairwise
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "pictures" / "flow.svg"
WIDTH, HEIGHT = 760, 690
LEFT, COLUMN, GAP = 28, 170, 12  # of four columns
INK = "#758089"  # on the page: contrast of about 4 or more with white and with dark
SLATE, TEAL, ORANGE = "#37474f", "#00796b", "#b45309"  # start; retrieval; scores
USES = {
    "Answer": "r4t retrieve",
    "Evaluate": "r4t evaluate",
    "Synthesize": "r4t synthesize",
    "Tune": "r4t fit",
}
# Row's top and height; then boxes: first column, columns, title, line below it, fill.
ROWS: list[tuple[int, int, list[tuple[int, int, str, str, str]]]] = [
    (64, 52, [
        (0, 1, "retriever.py", "one query", SLATE),
        (1, 1, "cli/evaluate.py", "test queries", SLATE),
        (2, 1, "synthesis.py", "training queries", SLATE),
        (3, 1, "grpo/rollout.py", "B queries × G rollouts", SLATE),
    ]),
    (140, 52, [
        (0, 3, "methods/", "language, diffusion, MMR, DPP, k-means, yours: answers, and teachers", TEAL),
        (3, 1, "fanout/", "query → k sub-queries", TEAL),
    ]),
    (232, 52, [
        (0, 4, "search.py", "encoder/ and index.py: text → direction → nearest items of the catalog", TEAL),
    ]),
    (324, 52, [
        (0, 4, "sets.py", "SetBatch: B sets of k members; items, embeddings, mask, texts, pool, references",
         TEAL),
    ]),
    (400, 52, [(1, 3, "objective.py", "and objectives/: score(sets) → (B,), higher is better", ORANGE)]),
    (476, 52, [
        (0, 1, "report/answers.py", "items and scores", SLATE),
        (1, 1, "evaluation/", "scores and measures", ORANGE),
        (2, 1, "filters.py", "keeps the best sets", ORANGE),
        (3, 1, "reward.py", "a sum; credit.py shares it", ORANGE),
    ]),
    (552, 52, [
        (0, 1, "report/page.py", "terminal or HTML page", SLATE),
        (1, 1, "report/", "tables, plots, intervals", SLATE),
        (2, 1, "targets/", "(z_q, rows (L, d)) pairs", SLATE),
        (3, 1, "training/", "soft_grpo.py: the gradient", SLATE),
    ]),
    (628, 52, [
        (1, 3, "diffusion/", "Distill: data.py → network.py, student.py. Refine: refiner.py, by the reward",
         SLATE),
    ]),
]  # fmt: skip
ENDS = ("report/page.py", "report/")  # boxes without an arrow to the next row
LABELS = [  # on the ground: x, y, words
    (LEFT + 1.5 * COLUMN + GAP, 216, "directions (k, d)"),
    (LEFT + 3.5 * COLUMN + 3 * GAP, 216, "k texts"),
    (LEFT + 2 * COLUMN + 1.5 * GAP, 308, "items (k, top_k)"),
]


def main() -> None:
    """Draw it."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" role="img">',
        "<title>How a query and a training batch flow through the rooms</title>",
        '<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse">'
        f'<path d="M0 0L10 5L0 10z" fill="{INK}"/></marker></defs>',
    ]
    for column, (use, command) in enumerate(USES.items()):
        x = left(column) + COLUMN / 2
        parts.append(text(x, 26, use, INK, size=18))
        parts.append(text(x, 48, command, INK, size=13, family="ui-monospace, monospace"))
    for top, height, boxes in ROWS:
        for first, columns, title, line, fill in boxes:
            x, width = left(first), columns * (COLUMN + GAP) - GAP
            middle = x + width / 2
            parts.append(
                f'<rect x="{x}" y="{top}" width="{width}" height="{height}" rx="8" fill="{fill}" '
                f'stroke="{INK}"/>'
            )
            parts.append(text(middle, top + 22, title, "#ffffff", size=15))
            parts.append(text(middle, top + 41, line, "#ffffff", size=12.5, weight="400"))
    for above, below in pairwise(ROWS):
        parts += arrows(above, below)
    parts.append(arrow(f"M{left(0) + COLUMN / 2} 376V474"))
    parts.append(arrow(f"M{left(1)} 654H12V166H{LEFT - 2}", dashed=True))
    parts += [text(x + 10, y, words, INK, size=13, anchor="start") for x, y, words in LABELS]
    FILE.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def left(column: int) -> int:
    """Left edge of a column."""
    return LEFT + column * (COLUMN + GAP)


def arrows(above: tuple, below: tuple) -> list[str]:
    """One arrow for each pair of boxes in neighboring rows that share a column."""
    (top, height, upper), (end, _, lower) = above, below
    paths = []
    for first, columns, title, *_ in upper:
        for other, others, *_ in lower:
            shared = range(max(first, other), min(first + columns, other + others))
            if shared and title not in ENDS:
                x = left(shared[0]) + (len(shared) * (COLUMN + GAP) - GAP) / 2
                paths.append(arrow(f"M{x} {top + height}V{end - 2}"))
    return paths


def arrow(path: str, dashed: bool = False) -> str:
    """A line with a head at its end."""
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="{INK}" stroke-width="1.8" '
        f'marker-end="url(#a)"{dashes}/>'
    )


def text(
    x: float,
    y: float,
    words: str,
    fill: str,
    size: float,
    weight: str = "600",
    anchor: str = "middle",
    family: str = "",
) -> str:
    """Words on one line."""
    font = f' font-family="{family}"' if family else ""
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="{fill}"{font}>{words}</text>'
    )


if __name__ == "__main__":
    main()
