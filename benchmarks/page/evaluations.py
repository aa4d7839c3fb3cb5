"""Tables of evaluations: real sets, the wardrobe, headroom, differences."""

import csv
from collections.abc import Callable
from functools import partial

from benchmarks.page.cells import MISSING, RESULTS, between, chance, half, number, read, table

Means = dict[tuple[str, str], tuple[float, float, float]]
SETS = ("clothing", "electronic", "playlists", "recipes")
OBJECTIVES = ("groundedness", "diversity", "alignment", "composite", "distinctness")
RECALLING = ("R4T-FOLM", "R4T-Diffusion")


def means(name: str) -> Means:
    """(method, measure) → mean, low, high of an evaluation."""
    found = read(f"{name}.json")["summary"]["means"]
    return {
        (row["method"], row["measure"]): (row["mean"], row["low"], row["high"]) for row in found
    }


def methods(name: str) -> list[str]:
    """Methods of an evaluation; not the points of curves."""
    return [method for method in read(f"{name}.json")["values"] if "λ=" not in method]


def measures(name: str, prefix: str, columns: tuple[str, ...]) -> str:
    """Methods × measures of one kind."""
    found = means(name)
    rows = [
        [
            method,
            *(
                half(*found[method, f"{prefix}/{column}"])
                if (method, f"{prefix}/{column}") in found
                else MISSING
                for column in columns
            ),
        ]
        for method in methods(name)
    ]
    return table(["method", *columns], rows)


def differences(name: str, recall: bool) -> str:
    """Paired differences; those of recall in a table of their own, both models side by side."""
    found = read(f"{name}.json")["summary"]["differences"]
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
                for row in found
                if row["measure"] != "items/recall"
            ],
        )
    told = {
        (row["first"], row["second"]): [
            between(row["mean"], row["low"], row["high"], "+.3f"),
            chance(row["p_value"]),
        ]
        for row in found
        if row["measure"] == "items/recall"
    }
    others = dict.fromkeys(second for _, second in told)
    header = ["recall less that of"] + [text for one in RECALLING for text in (one, "p")]
    return table(
        header,
        [[other, *(cell for one in RECALLING for cell in told[one, other])] for other in others],
    )


def real_sets(encoder: str, measure: str) -> str:
    """Methods × the four sets."""
    files = {name: read(f"real_sets/{name}-{encoder}.json") for name in SETS}
    header = [
        f"{name} ({told['queries']:,} queries, pool {told['pool']})" for name, told in files.items()
    ]
    rows = [
        [method, *(half(*told["methods"][method][f"items/{measure}"]) for told in files.values())]
        for method in files["clothing"]["methods"]
    ]
    return table(["method", *header], rows)


def headroom() -> str:
    """Terms × ends of the scale."""
    told = read("headroom_seed11.json")
    ends = ["random", "current", "oracle", "greedy bound", "bound alone"]
    rows = []
    for term, values in told["rows"].items():
        weight, gain = told["weights"].get(term, 1), values["greedy bound"] - values["current"]
        cells = [number(values[end]) for end in ends]
        rows.append([f"{term} × {weight}", *cells, number(gain), number(weight * gain)])
    return table(["term × weight", *ends, "gain", "weighted gain"], rows)


def milliseconds() -> dict[tuple[str, int], float]:
    """(method, batch) → milliseconds a query on the wardrobe of seed 11."""
    with (RESULTS / "oar_seed11_latency.csv").open(newline="", encoding="utf-8") as file:
        return {
            (row["method"], int(row["batch"])): 1000 * float(row["total seconds per query"])
            for row in csv.DictReader(file)
        }


def latency() -> str:
    """Methods × batch sizes, and how many times as fast as the language model."""
    found = milliseconds()
    rows = []
    for method in dict.fromkeys(method for method, _ in found):
        cells = [number(found[method, batch], ".3g") for batch in (1, 64)]
        faster = [number(found["R4T-FOLM", b] / found[method, b], ".3g") for b in (1, 64)]
        rows.append([method, *cells, *faster])
    header = ["method", "ms a query, batch 1", "batch 64", "R4T-FOLM takes × as long, 1", "64"]
    return table(header, rows)


def front() -> str:
    """The README's table."""
    found, took = means("oar_seed11"), milliseconds()
    columns: list[tuple[str, str, bool]] = [
        ("composite", "directions/composite", True),
        ("Vendi", "items/vendi", False),
        ("coherence", "items/coherence", False),
        ("complementarity", "items/complementarity", False),
        ("true-facet recall", "items/facet recall", True),
    ]
    rows = []
    for method in methods("oar_seed11"):
        if (method, 1) not in took or method in ("MMR", "DPP", "Zero-shot + RRF"):
            continue
        cells = []
        for _, measure, interval in columns:
            told = found.get((method, measure))
            form = ".1f" if measure == "items/vendi" else ".3f"
            shown = MISSING if told is None else number(told[0], form)
            cells.append(half(*told) if told is not None and interval else shown)
        rows.append(
            [method, *cells, number(took[method, 1], ".2g" if took[method, 1] < 10 else ".0f")]
        )
    header = ["method", *(name for name, *_ in columns), "ms a query, batch 1"]
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
            ),
        ),
    ),
    "oar, differences over the same queries": ("oar", partial(differences, "oar_seed11", False)),
    "oar, latency": ("oar_latency", latency),
}
for _name, _file, _what, _truth in (
    (
        *("wscr", "wscr_seed11", "recall and true facets"),
        ("recall", "hit", "facet recall", "alpha nDCG"),
    ),
    ("clothing", "clothing", "recall", ("recall", "hit", "alpha nDCG")),
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
