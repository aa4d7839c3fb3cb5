"""Recipes with a real language model → the front table."""

from collections.abc import Callable

from benchmarks.page.cells import half, number, read, table
from benchmarks.page.figures import recipe, recipe_interval

COLUMNS = {"recall": "recall in the pool", "set recall": "in ten", "vendi": "Vendi of ten"}
FRONT_ROWS = {
    "No fan-out": "nothing: the items nearest to the dish",
    "MMR": "nothing",
    "Most popular items": "which ingredients the training sets hold",
    "Nearest sets by vote": "the training sets",
    "Ridge map": "the training sets",
    "Set regression (matched)": "the training sets",
    "Set regression (mixture)": "the training sets",
    "Few-shot": "eight training sets in the language model's prompt",
    "Few-shot, consensus": "what most of 16 of its fan-outs hold; no training at all",
    "Warm start": "the language model, taught by the training sets",
    "Soft-GRPO": "the same, tuned by reward",
    "Soft-GRPO, consensus": "what most of 16 of its fan-outs hold",
    "R4T-Student": "the training sets and what the tuned model says of dishes it made up; one evaluation",
}


def front() -> str:
    """Means of the methods that tell the story, with half the width of their intervals."""
    rows = []
    for method, knows in FRONT_ROWS.items():
        cells = [
            number(recipe(method, measure), ".1f")
            if measure == "vendi"
            else half(*recipe_interval(method, measure))
            for measure in COLUMNS
        ]
        rows.append([method, knows, *cells])
    return table(["method", "what it knows", *COLUMNS.values()], rows, texts=2)


def sets() -> str:
    """What the student of a fold answers to queries of our own."""
    answered = read("real/sets-recipes-fold2.json")
    rows = [[query, ", ".join(texts)] for query, texts in answered.items()]
    return table(["query", "ten items"], rows, texts=2)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "real front": ("real", front),
    "real sets of our own": ("real", sets),
}
