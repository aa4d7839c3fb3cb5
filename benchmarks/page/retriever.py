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
    for told in read("synthesis.json")["sizes"]:
        counts = [f"{told[name]:,}" for name in ("queries", "samples", "sets")]
        rates = [number(told[name], ".0f") for name in ("seconds", "samples/s", "sets/s")]
        rows.append([*counts, *rates, f"{told['peak MiB']:.0f} MiB"])
    return table(
        ["queries", "samples", "sets", "seconds", "samples/s", "sets/s", "peak memory"], rows
    )


def steps() -> list[dict[str, Any]]:
    """Every sampler and student."""
    found: list[dict[str, Any]] = read("quality_steps/quality_steps.json")["table"]
    return found


def quality_steps() -> str:
    """Samplers × measures, and shares of the converged ODE and of the paper's sampler."""
    rows = []
    for told in steps():
        shares = [
            f"{told[f'composite / {of}']:.1%}, {told[f'vendi / {of}']:.1%}"
            for of in ("ODE", "SDE-256")
        ]
        values = [number(told[name], ".4f") for name in ("composite", "groundedness")]
        more = [number(told["vendi"]), number(told["alignment"], ".4f")]
        rows.append([told["name"], f"{told['evaluations']}", *values, *more, *shares])
    header = ["sampler", "evaluations", "composite", "groundedness", "Vendi", "alignment"]
    return table([*header, "composite, Vendi / ODE", "/ SDE-256"], rows)


def oversample() -> str:
    """Choices × measures."""
    rows = []
    for told in read("oversample/oversample.json")["table"]:
        values = [number(told[name], ".4f") for name in ("composite", "groundedness")]
        apart = between(told["difference"], told["low"], told["high"], "+.4f")
        rows.append(
            [
                told["name"],
                *values,
                number(told["vendi"]),
                f"{told['of R4T-FOLM']:.1%}",
                MISSING if told["name"] == "R4T-FOLM" else apart,
                number(told["ms, batch 1"], ".1f"),
                number(told["ms, batch 64"], ".1f"),
            ]
        )
    header = ["", "composite", "groundedness", "Vendi", "of R4T-FOLM", "composite − R4T-FOLM"]
    return table([*header, "ms a query, batch 1", "batch 64"], rows)


def bundles() -> str:
    """Methods × recall, Vendi and the distance to the MMR curve of both sets."""
    found = {name: read("bundles/diffusion.json")[name] for name in BUNDLES}
    rows = []
    for method in (*NAMED, *OURS):
        cells = []
        for name in BUNDLES:
            told = found[name][method]
            cells += [number(told["recall"]), number(told["vendi"], ".2f")]
            cells.append(number(round(told["above"][0], 3) + 0.0, "+.3f"))
        rows.append([method, *cells])
    header = [t for name in BUNDLES for t in (f"{name}: recall", "Vendi", "above the MMR curve")]
    return table(["method", *header], rows)


def bundle_differences() -> str:
    """Pairs × both sets."""
    found = markdown_tables(RESULTS / "bundles/diffusion.md")
    apart = [{pair: told for pair, *told in rows[1:]} for rows in found[1::2]]
    rows = []
    for pair in apart[0]:
        cells = []
        for told in apart:
            mean, interval, p = told[pair]
            cells += [f"{mean} ({interval})".replace("-", "−"), chance(float(p))]
        rows.append([pair, *cells])
    header = [text for name in BUNDLES for text in (name, "p")]
    return table(["paired difference of recall", *header], rows)


def anchors() -> str:
    """Anchors × recall on validation and test queries, and the distance to the curve."""
    found = {name: read(f"bundles/diffusion-{name}-anchors.json")["means"] for name in BUNDLES}
    rows = []
    for anchor in [key.removeprefix("val, ") for key in found["clothing"] if key[:3] == "val"]:
        cells = []
        for name in BUNDLES:
            val, test = found[name][f"val, {anchor}"], found[name][f"test, {anchor}"]
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
    """Methods × batch sizes: seconds, and the ratios of the fan-out and of all."""
    found = calls(name)
    batches = dict.fromkeys(batch for _, batch in found)
    rows = []
    for method in dict.fromkeys(method for method, _ in found):
        note = found[method, 1]["note"]
        named = f"{method}: {note}" if note and note.split(",")[0] not in method else method
        cells = []
        for batch in batches:
            told = found[method, batch]
            ratios = [number(told[f"ratio_{part}"], ".1f") for part in ("generate", "total")]
            took = number(1000 * told["total"], ".0f" if told["total"] > 0.01 else ".1f")
            cells.append(f"{took} ({', '.join(ratios)})")
        rows.append([named, *cells])
    header = [f"batch {batch:,}: ms (÷ fan-out, ÷ all)" for batch in batches]
    return table(["", *header], rows)


def training() -> str:
    """What a training step of stage 3 takes, with data read and with data held."""
    told = read("train_diffusion.json")["lightning"]["eager"]
    low, high = told["data_share_of_cpu_interval"]
    rows = [
        [
            "toy network, batches of 64, float32",
            *(number(told[side]["steps_per_second"], ".2f") for side in ("read", "held")),
            f"{told['data_share_of_cpu']:.1%} ({low:.1%} … {high:.1%})",
            f"{1000 * read('train_diffusion.json')['loader_seconds']:.1f}",
        ]
    ]
    header = ["", "steps/s, data read", "steps/s, one batch held", "reading's share of CPU seconds"]
    return table([*header, "loader alone, ms a batch"], rows)


def objectives() -> str:
    """Objectives × milliseconds."""
    found = read("objectives.json")["least_ms"]
    return table(
        ["4,096 sets of ten", "ms"], [[name, number(took, ".1f")] for name, took in found.items()]
    )


def rerank() -> str:
    """Methods × milliseconds a query."""
    rows = [
        [f"{told['method']}, {told['picked']} of 500", f"{told['batch']}"]
        + [number(told[name], ".2f") for name in ("least_ms", "median_ms")]
        for told in read("rerank.json")["rows"]
    ]
    return table(["", "batch", "least ms a query", "median"], rows)


def noise() -> str:
    """Batch sizes × ways to draw."""
    found = read("noise.json")["milliseconds"]
    rows = [
        [
            f"{int(batch):,}",
            *(number(told[way], ".2f") for way in ("one generator a query", "hash")),
        ]
        for batch, told in found.items()
    ]
    return table(["B", "one generator a query, ms", "hash, ms"], rows)


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
}
