"""Tables of stages 2 to 4: synthesis, samplers, oversampling, bundles, latency, speed."""

from collections.abc import Callable
from typing import Any

from benchmarks.page.cells import (
    MISSING,
    RESULTS,
    between,
    chance,
    markdown_tables,
    number,
    read,
    table,
)
from benchmarks.page.tuning import BUNDLES

NAMED = ("No fan-out", "MMR", "DPP", "MMR in pool", "DPP in pool", "Ridge map")
OURS = ("R4T-FOLM", "R4T-Diffusion", "R4T-Student")


def synthesis() -> str:
    """Sizes × time and memory."""
    rows = []
    for size in read("synthesis.json")["sizes"]:
        counts = [f"{size[name]:,}" for name in ("queries", "samples", "sets")]
        rates = [number(size[name], ".0f") for name in ("seconds", "samples/s", "sets/s")]
        rows.append([*counts, *rates, f"{size['peak MiB']:.0f} MiB"])
    return table(
        ["queries", "samples", "sets", "seconds", "samples/s", "sets/s", "peak memory"], rows
    )


def steps() -> list[dict[str, Any]]:
    """Every sampler and student."""
    rows: list[dict[str, Any]] = read("quality_steps/quality_steps.json")["table"]
    return rows


def quality_steps() -> str:
    """Samplers × measures, and shares of the converged ODE and of the paper's sampler."""
    rows = []
    for row in steps():
        shares = [
            f"{row[f'composite / {of}']:.1%}, {row[f'vendi / {of}']:.1%}"
            for of in ("ODE", "SDE-256")
        ]
        values = [number(row[name], ".4f") for name in ("composite", "groundedness")]
        more = [number(row["vendi"]), number(row["alignment"], ".4f")]
        rows.append([row["name"], f"{row['evaluations']}", *values, *more, *shares])
    header = ["sampler", "evaluations", "composite", "groundedness", "Vendi", "alignment"]
    return table([*header, "composite, Vendi / ODE", "/ SDE-256"], rows)


def oversample() -> str:
    """Ways to choose × measures."""
    rows = []
    for row in read("oversample/oversample.json")["table"]:
        values = [number(row[name], ".4f") for name in ("composite", "groundedness")]
        difference = between(row["difference"], row["low"], row["high"], "+.4f")
        rows.append(
            [
                row["name"],
                *values,
                number(row["vendi"]),
                f"{row['of R4T-FOLM']:.1%}",
                MISSING if row["name"] == "R4T-FOLM" else difference,
                number(row["ms, batch 1"], ".1f"),
                number(row["ms, batch 64"], ".1f"),
            ]
        )
    header = ["", "composite", "groundedness", "Vendi", "of R4T-FOLM", "composite − R4T-FOLM"]
    return table([*header, "ms per query, batch 1", "batch 64"], rows)


def bundles() -> str:
    """Methods × recall, Vendi and distance to the MMR curve, for both data sets."""
    results = {name: read("bundles/diffusion.json")[name] for name in BUNDLES}
    rows = []
    for method in (*NAMED, *OURS):
        cells = []
        for name in BUNDLES:
            values = results[name][method]
            cells += [number(values["recall"]), number(values["vendi"], ".2f")]
            cells.append(number(round(values["above"][0], 3) + 0.0, "+.3f"))
        rows.append([method, *cells])
    header = [t for name in BUNDLES for t in (f"{name}: recall", "Vendi", "above the MMR curve")]
    return table(["method", *header], rows)


def bundle_differences() -> str:
    """Pairs × both data sets."""
    tables = markdown_tables(RESULTS / "bundles/diffusion.md")
    by_set = [{pair: cells for pair, *cells in rows[1:]} for rows in tables[1::2]]
    rows = []
    for pair in by_set[0]:
        cells = []
        for differences in by_set:
            mean, interval, p = differences[pair]
            cells += [f"{mean} ({interval})".replace("-", "−"), chance(float(p))]
        rows.append([pair, *cells])
    header = [text for name in BUNDLES for text in (name, "p")]
    return table(["paired difference of recall", *header], rows)


def anchors() -> str:
    """Anchors × recall on validation and test queries, and the distance to the curve."""
    means = {name: read(f"bundles/diffusion-{name}-anchors.json")["means"] for name in BUNDLES}
    rows = []
    for anchor in [key.removeprefix("val, ") for key in means["clothing"] if key[:3] == "val"]:
        cells = []
        for name in BUNDLES:
            val, test = means[name][f"val, {anchor}"], means[name][f"test, {anchor}"]
            cells += [number(val["recall"]), number(test["recall"])]
            cells.append(number(test["above MMR"], "+.3f"))
        rows.append([anchor, *cells])
    header = [
        text
        for name in BUNDLES
        for text in (f"{name}: validation recall", "test recall", "above the MMR curve")
    ]
    return table(["anchor", *header], rows)


def calls(name: str) -> dict[tuple[str, int], dict[str, Any]]:
    """(method, batch) → its times and ratios."""
    rows = read(f"latency/{name}/latency.json")["rows"]
    return {(row["method"], row["batch"]): row for row in rows}


def latency(name: str) -> str:
    """Methods × batch sizes: milliseconds, and speed relative to R4T-FOLM: fan-out, everything."""
    times = calls(name)
    batches = dict.fromkeys(batch for _, batch in times)
    rows = []
    for method in dict.fromkeys(method for method, _ in times):
        note = times[method, 1]["note"]
        title = f"{method}: {note}" if note and note.split(",")[0] not in method else method
        cells = []
        for batch in batches:
            row = times[method, batch]
            ratios = [number(row[f"ratio_{part}"], ".1f") for part in ("generate", "total")]
            milliseconds = number(1000 * row["total"], ".0f" if row["total"] > 0.01 else ".1f")
            cells.append(f"{milliseconds} ({', '.join(ratios)})")
        rows.append([title, *cells])
    header = [f"batch {batch:,}: ms (× fan-out, × all)" for batch in batches]
    return table(["", *header], rows)


def training() -> str:
    """Speed of a training step of stage 3, reading data and with one batch held."""
    sides = read("train_diffusion.json")["lightning"]["eager"]
    low, high = sides["data_share_of_cpu_interval"]
    rows = [
        [
            "toy network, batches of 64, float32",
            *(number(sides[side]["steps_per_second"], ".2f") for side in ("read", "held")),
            f"{sides['data_share_of_cpu']:.1%} ({low:.1%} … {high:.1%})",
            f"{1000 * read('train_diffusion.json')['loader_seconds']:.1f}",
        ]
    ]
    header = ["", "steps/s, data read", "steps/s, one batch held", "reading's share of CPU seconds"]
    return table([*header, "loader alone, ms per batch"], rows)


def objectives() -> str:
    """Objectives × milliseconds."""
    times = read("objectives.json")["least_ms"]
    return table(
        ["4,096 sets of ten", "ms"], [[name, number(time, ".1f")] for name, time in times.items()]
    )


def rerank() -> str:
    """Methods × milliseconds per query."""
    rows = [
        [f"{row['method']}, {row['picked']} of 500", f"{row['batch']}"]
        + [number(row[name], ".2f") for name in ("least_ms", "median_ms")]
        for row in read("rerank.json")["rows"]
    ]
    return table(["", "batch", "minimum ms per query", "median"], rows)


def noise() -> str:
    """Batch sizes × ways to draw."""
    times = read("noise.json")["milliseconds"]
    rows = [
        [
            f"{int(batch):,}",
            *(number(ways[way], ".2f") for way in ("one generator a query", "hash")),
        ]
        for batch, ways in times.items()
    ]
    return table(["B", "one generator per query, ms", "hash, ms"], rows)


def variants() -> str:
    """Methods × facet recall, fit precision and Vendi score, without and with ``distinct_by``."""
    rows = []
    for method, by in read("variants.json")["means"].items():
        cells = [
            f"{number(means['facet recall'])} / {number(means['fit precision'])} / "
            f"{number(means['vendi'], '.2f')}"
            for means in (by["none"], by["auto"])
        ]
        rows.append([method, *cells])
    return table(["facet recall / fit precision / Vendi", "`none`", "`auto`"], rows)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "synthesis": ("synthesis", synthesis),
    "samplers": ("quality_steps", quality_steps),
    "oversampling": ("oversample", oversample),
    "bundles, retriever": ("bundles_diffusion", bundles),
    "bundles, differences of the retriever": ("bundles_diffusion", bundle_differences),
    "bundles, anchors": ("bundles_anchors", anchors),
    "latency": ("latency", lambda: latency("cpu")),
    "latency, trial": ("latency_trial", lambda: latency("trial")),
    "noise": ("noise", noise),
    "training step": ("train_diffusion", training),
    "objectives": ("objectives", objectives),
    "re-ranking": ("rerank", rerank),
    "variants": ("variants", variants),
}
