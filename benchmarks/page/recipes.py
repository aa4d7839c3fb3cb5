"""A real language model: its front table, its speed; and Perspectrum, without one."""

from collections.abc import Callable

from benchmarks.page.cells import between, half, number, read, table
from benchmarks.page.language_model import recipe, recipe_interval

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


def sets(file: str = "real/sets-recipes-fold2.json") -> str:
    """What the student of a fold answers to queries of our own."""
    answered = read(file)
    rows = [[query, ", ".join(texts)] for query, texts in answered.items()]
    return table(["query", "ten items"], rows, texts=2)


def latency() -> str:
    """Milliseconds of every side at both batch sizes, how many times the student's, and its sets' quality."""
    record = read("real_latency/latency.json")
    by_side: dict[str, dict[int, str]] = {}
    for row in record["rows"]:
        taken = number(row["ms per query"]["total"], ".4g")
        times, low, high = (
            number(each, ".3g") for each in row["times as long as"]["R4T-Student"]["total"]
        )
        by_side.setdefault(row["method"], {})[row["batch"]] = (
            taken if row["method"] == "R4T-Student" else f"{taken}: {times} ({low} … {high})"
        )
    rows = [
        [method, cells[1], cells[64], *(number(record["worth"][method][m], ".3f") for m in QUALITY)]
        for method, cells in by_side.items()
    ]
    head = ["method", "batch 1: ms per query: times the student's", "batch 64"]
    return table([*head, *(COLUMNS[measure] for measure in QUALITY)], rows)


def speed() -> str:
    """How many times as fast as ``generate`` a rollout is written, by model and prompt."""
    record = read("rollout_speed.json")
    rows = []
    for kind, facts in record.items():
        if "times as fast as" in facts:
            model, _, prompt = kind.rpartition(", ")
            cells = [between(*facts["times as fast as"][pair]) for pair in SPEEDS]
            written = (f"{facts['tokens written'][side]:,.0f}" for side in ("ours", "trl"))
            rows.append(
                [model.split(" (")[-1].split(",")[0], prompt, *cells, " and ".join(written)]
            )
    head = ["model", "prompt", *SPEEDS.values(), "tokens written: ours, TRL's call"]
    return table(head, rows, texts=2)


def perspectrum() -> str:
    """Means of every method, with half the width of their intervals, and milliseconds."""
    record = read("perspectrum/perspectrum.json")
    rows = []
    for method, values in record["methods"].items():
        cells = [half(*values[measure]) for measure in ("facet recall", "alpha nDCG", "recall")]
        rows.append([method, *cells, number(record["milliseconds"][method], ".1f")])
    head = ["method", "facet recall of ten", "α-nDCG", "recall in the pool", "ms per query"]
    return table(head, rows)


QUALITY = ("recall", "set recall")
SPEEDS = {
    "ours, generate": "times as fast as generate",
    "ours, trl": "… as TRL's call",
    "bfloat16, ours": "bfloat16: … as float32",
}
TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "real front": ("real", front),
    "real sets of our own": ("real", sets),
    "real small sets": ("real_small", lambda: sets("real_small/sets-recipes-fold0.json")),
    "real latency": ("real_latency", latency),
    "rollout speed": ("rollout_speed", speed),
    "perspectrum": ("perspectrum", perspectrum),
}
