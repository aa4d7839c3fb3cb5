"""Results → tables of how hard the generated wardrobe is."""

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.page.cells import RESULTS, markdown_tables, table

SEEDS = (0, 1, 2, 3)
MEASURES = ("vendi", "cosine", "facet recall", "fit precision", "pool facet recall")
COMPARED = ("MMR", "Nearest sets", "Hand fan-out")
Task = tuple[dict[tuple[str, str], str], dict[str, str]]


def ranks() -> str:
    """Seeds × shares of the reference items."""
    tables = [markdown_tables(RESULTS / f"wardrobe/seed{seed}.md")[0] for seed in SEEDS]
    header = ["seed", *tables[0][0][1:]]
    return table(header, [[f"{seed}", *rows[1][1:]] for seed, rows in zip(SEEDS, tables)])


def tasks(seed: int) -> Iterator[Task]:
    """For outfits, then for open queries: (method, measure) → cell, and pair → mean and interval."""
    cells: dict[tuple[str, str], str] = {}
    for header, *rows in markdown_tables(RESULTS / f"wardrobe/seed{seed}.md"):
        if header[0] == "method":
            cells |= {
                (name, measure): value
                for name, *values in rows
                for measure, value in zip(header[1:], values)
            }
        elif header[0] == "paired difference":
            differences = {pair: f"{mean} ({interval})" for pair, _, mean, interval, _ in rows}
            yield cells, {pair: cell.replace("-", "−") for pair, cell in differences.items()}
            cells = {}


def baselines(number: int, measures: tuple[str, ...]) -> str:
    """Methods × measures of one task, seed 0."""
    cells, _ = list(tasks(0))[number]
    rows = [
        [name, *(cells[name, m] for m in measures)] for name in dict.fromkeys(n for n, _ in cells)
    ]
    return table(["method", *measures], rows)


def differences() -> str:
    """Seeds × methods: recall on outfits minus that of No fan-out."""
    rows = []
    for seed in SEEDS:
        cells, pairs = next(tasks(seed))
        compared = [pairs[f"{name} − No fan-out"] for name in COMPARED]
        rows.append([f"{seed}", cells["No fan-out", "recall"], *compared])
    return table(["seed", "No fan-out", *COMPARED], rows)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "wardrobe, ranks": ("wardrobe", ranks),
    "wardrobe, outfits": ("wardrobe", partial(baselines, 0, ("recall", "hit", *MEASURES))),
    "wardrobe, open queries": (
        "wardrobe",
        partial(baselines, 1, (*MEASURES, "pool fit precision")),
    ),
    "wardrobe, differences": ("wardrobe", differences),
}
