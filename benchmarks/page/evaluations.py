"""Tables of evaluations: real sets, the wardrobe, headroom, differences."""

import csv
from collections.abc import Callable
from functools import partial

from benchmarks.page.cells import MISSING, RESULTS, between, chance, half, number, read, table

Means = dict[tuple[str, str], tuple[float, float, float]]
SETS = ("clothing", "electronic", "playlists", "recipes")
OBJECTIVES = ("groundedness", "diversity", "alignment", "composite", "distinctness")
# Columns of the front page: title, measure, whether with an interval.
FRONT = (
    ("true-facet recall", "items/facet recall", True),
    ("share fitting", "items/fit precision", False),
    ("Vendi", "items/vendi", False),
    ("specificity", "items/specificity", False),
    ("exposure", "items/exposure", False),
)
# Its rows: with one draw each, and without near copies of other rows.
FRONT_ROWS = ("No fan-out", "MMR", "DPP", "k-means facets", "Graded ridge", "Graded regression")
FRONT_ROWS += ("Zero-shot", "R4T-FOLM", "R4T-Diffusion", "R4T-Student", "R4T-Refined")
RECALLING = ("R4T-FOLM", "R4T-Diffusion", "R4T-Refined")


def means(name: str) -> Means:
    """(method, measure) → mean, low, high of an evaluation."""
    rows = read(f"{name}.json")["summary"]["means"]
    return {(row["method"], row["measure"]): (row["mean"], row["low"], row["high"]) for row in rows}


def methods(name: str) -> list[str]:
    """Methods of an evaluation, without the points of curves."""
    return [method for method in read(f"{name}.json")["values"] if "λ=" not in method]


def measures(name: str, prefix: str, columns: tuple[str, ...]) -> str:
    """Methods × measures of one kind, as far as they were measured."""
    values = means(name)
    known = {measure for _, measure in values}
    columns = tuple(column for column in columns if f"{prefix}/{column}" in known)
    rows = [
        [
            method,
            *(
                half(*values[method, f"{prefix}/{column}"])
                if (method, f"{prefix}/{column}") in values
                else MISSING
                for column in columns
            ),
        ]
        for method in methods(name)
    ]
    return table(["method", *columns], rows)


def differences(name: str, recall: bool) -> str:
    """Paired differences: of recall, with both models side by side, or of all other measures."""
    pairs = read(f"{name}.json")["summary"]["differences"]
    if not recall:
        header = ["paired difference", "measure", "mean", "95 % interval", "p (sign flips)"]
        return table(
            header,
            [
                [
                    f"{row['first']} − {row['second']}",
                    row["measure"],
                    number(row["mean"], "+.3f"),
                    f"{number(row['low'], '+.3f')} … {number(row['high'], '+.3f')}",
                    chance(row["p_value"]),
                ]
                for row in pairs
                if row["measure"] != "items/recall"
            ],
        )
    cells = {
        (row["first"], row["second"]): [
            between(row["mean"], row["low"], row["high"], "+.3f"),
            chance(row["p_value"]),
        ]
        for row in pairs
        if row["measure"] == "items/recall"
    }
    others = dict.fromkeys(second for _, second in cells)
    recalling = [one for one in RECALLING if any(first == one for first, _ in cells)]
    header = ["recall minus that of"] + [text for one in recalling for text in (one, "p")]
    return table(
        header,
        [[other, *(cell for one in recalling for cell in cells[one, other])] for other in others],
    )


def real_sets(encoder: str, measure: str) -> str:
    """Methods × the four sets."""
    files = {name: read(f"real_sets/{name}-{encoder}.json") for name in SETS}
    header = [
        f"{name} ({file['queries']:,} queries, pool {file['pool']})" for name, file in files.items()
    ]
    rows = [
        [method, *(half(*file["methods"][method][f"items/{measure}"]) for file in files.values())]
        for method in files["clothing"]["methods"]
    ]
    return table(["method", *header], rows)


def headroom() -> str:
    """Terms × methods, and the possible gain."""
    report = read("headroom_seed11.json")
    columns = ["random", "current", "oracle", "greedy bound", "bound alone"]
    rows = []
    for term, values in report["rows"].items():
        weight, gain = report["weights"].get(term, 1), values["greedy bound"] - values["current"]
        cells = [number(values[column]) for column in columns]
        rows.append([f"{term} × {weight}", *cells, number(gain), number(weight * gain)])
    return table(["term × weight", *columns, "gain", "weighted gain"], rows)


def milliseconds() -> dict[tuple[str, int], float]:
    """(method, batch) → milliseconds per query on the wardrobe of seed 11."""
    with (RESULTS / "oar_seed11_latency.csv").open(newline="", encoding="utf-8") as file:
        return {
            (row["method"], int(row["batch"])): 1000 * float(row["total seconds per query"])
            for row in csv.DictReader(file)
        }


def latency() -> str:
    """Methods × batch sizes, and how many times as fast as the language model."""
    times = milliseconds()
    rows = []
    for method in dict.fromkeys(method for method, _ in times):
        cells = [number(times[method, batch], ".3g") for batch in (1, 64)]
        faster = [number(times["R4T-FOLM", b] / times[method, b], ".3g") for b in (1, 64)]
        rows.append([method, *cells, *faster])
    header = ["method", "ms per query, batch 1", "batch 64", "× as fast as R4T-FOLM, batch 1"]
    return table([*header, "batch 64"], rows)


def front() -> str:
    """The README's table."""
    values, times = means("oar_seed11"), milliseconds()
    known = {measure for _, measure in values}
    columns = [column for column in FRONT if column[1] in known]
    rows = []
    for method in FRONT_ROWS:
        cells = []
        for _, measure, interval in columns:
            value = values.get((method, measure))
            form = ".1f" if measure == "items/vendi" else ".3f"
            mean = MISSING if value is None else number(value[0], form)
            cells.append(half(*value) if value is not None and interval else mean)
        both = [times[method, batch] for batch in (1, 64)]
        rows.append([method, *cells, *(number(ms, ".2g" if ms < 10 else ".0f") for ms in both)])
    header = ["method", *(name for name, *_ in columns), "ms per query, batch 1", "batch 64"]
    return table(header, rows)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "front": ("oar oar_latency", front),
    "real sets, recall in the pool": ("real_sets", partial(real_sets, "minilm", "recall")),
    "real sets, Vendi score of the ten items returned": (
        "real_sets",
        partial(real_sets, "minilm", "vendi"),
    ),
    "real sets, recall with LSA": ("real_sets", partial(real_sets, "lsa", "recall")),
    "headroom": ("headroom", headroom),
    "oar, directions": (
        "oar",
        partial(measures, "oar_seed11", "directions", (*OBJECTIVES, "vendi across runs")),
    ),
    "oar, items": (
        "oar",
        partial(
            measures,
            "oar_seed11",
            "items",
            (
                *("vendi", "cosine", "coherence", "complementarity"),
                *("facet recall", "pool facet recall", "alpha nDCG"),
                *("fit precision", "specificity", "exposure"),
            ),
        ),
    ),
    "oar, differences over the same queries": ("oar", partial(differences, "oar_seed11", False)),
    "oar, latency": ("oar_latency", latency),
}
for _name, _file, _what, _truth in (
    (
        *("wscr", "wscr_seed11", "recall and true facets"),
        ("recall", "hit", "facet recall", "fit precision", "alpha nDCG", "exposure"),
    ),
    ("clothing", "clothing", "recall", ("recall", "hit", "alpha nDCG", "exposure")),
):
    TABLES |= {
        f"{_name}, directions": (
            _name,
            partial(
                measures, _file, "directions", ("composite", "distinctness", "vendi across runs")
            ),
        ),
        f"{_name}, {_what}": (_name, partial(measures, _file, "items", _truth)),
        f"{_name}, the ten items returned": (
            _name,
            partial(measures, _file, "items", ("vendi", "coherence", "complementarity", "novelty")),
        ),
        f"{_name}, differences over the same queries": (_name, partial(differences, _file, False)),
        f"{_name}, differences of recall": (_name, partial(differences, _file, True)),
    }
