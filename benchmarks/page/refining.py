"""Tables of stage 5 and of member credit: three seeds, ablations, credits, bundles, forward process."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

from benchmarks.page.cells import MISSING, RESULTS, between, half, number, read, table
from r4t.evaluation.results import Results, compare

SEEDS = (11, 23, 37)
MEASURES = ("facet recall", "fit precision", "vendi", "specificity")
TITLES = ("true-facet recall", "share fitting", "Vendi", "specificity")
REFINED = "R4T-Refined"
# Methods of the quickstart to show for every seed.
SHOWN = (
    *("No fan-out", "MMR", "DPP", "k-means facets", "Graded ridge", "Graded regression"),
    *("Zero-shot", "R4T-FOLM", "R4T-Diffusion", "R4T-Student", REFINED, "Oracle"),
)
# File of the ablation → what differs from the quickstart.
REFINEMENTS = {
    "quickstart": "as the quickstart: linear, credit per member, the judge errs in 10 %",
    "refined-error-0": "… the judge never errs",
    "refined-error-20": "… errs in 20 %",
    "refined-error-30": "… errs in 30 %",
    "refined-specificity": "… specificity as a second term, weight 0.4",
    "refined-set": "… one advantage for the whole set",
    "refined-shapley": "… Shapley credit",
    "refined-noise": "… Gaussian noise on directions instead of sampled items",
    "refined-transformer": "… the student's own network, 1,000 steps",
    "refined-long": "… three times as many steps",
    "refined-specific": "toy config: the student's own network, specific coverage alone",
}
TUNINGS = {
    "tuned-shopper": "the judge, credit per member, 60 rollouts",
    "tuned-shopper-set": "the judge, one advantage a set, 60 rollouts",
    "tuned-specific": "specific coverage, credit per member, 20 rollouts",
    "tuned-specific-set": "specific coverage, one advantage a set, 20 rollouts",
    "tuned-eq1": "eq. (1), credit per member, 60 rollouts",
    "tuned-eq1-set": "eq. (1), one advantage a set, 60 rollouts",
}


@cache
def ablation(seed: int, name: str) -> Results | None:
    """Results of a variant; None if it was not measured on that seed."""
    path = f"ablate/oar{seed}-{name}.json"
    return Results(**read(path)) if (RESULTS / path).is_file() else None


def value(seed: int, name: str, method: str, measure: str) -> float:
    """Mean of a measure of items."""
    found = ablation(seed, name)
    assert found is not None, f"oar{seed}-{name} is not measured"
    mean = found.mean(method, f"items/{measure}")
    assert mean is not None
    return mean


def _interval(results: Results | None, method: str, measure: str) -> str:
    if results is None or method not in results.values:
        return MISSING
    interval = results.interval(method, f"items/{measure}")
    return MISSING if interval is None else half(interval.mean, interval.low, interval.high)


def seeds(measure: str) -> str:
    """Methods × seeds."""
    rows = [
        [method, *(_interval(ablation(seed, "quickstart"), method, measure) for seed in SEEDS)]
        for method in SHOWN
    ]
    return table(["method", *(f"seed {seed}" for seed in SEEDS)], rows)


def variants(names: dict[str, str], method: str) -> str:
    """Variants × seeds, of facet recall; and the other measures on the first seed."""
    rows = []
    for name, what in names.items():
        found = [ablation(seed, name) for seed in SEEDS]
        others = [
            MISSING if found[0] is None else number(found[0].mean(method, f"items/{measure}"))
            for measure in MEASURES[1:]
        ]
        rows.append([what, *(_interval(each, method, "facet recall") for each in found), *others])
    header = ["", *(f"{TITLES[0]}, seed {seed}" for seed in SEEDS)]
    return table([*header, *(f"{title}, seed {SEEDS[0]}" for title in TITLES[1:])], rows)


def compared(seed: int, name: str, first: str, second: str, measure: str) -> tuple[float, ...]:
    """Mean, low and high of the difference of a variant's method and one of the quickstart."""
    found, beside = ablation(seed, name), ablation(seed, "quickstart")
    assert found is not None
    assert beside is not None
    assert found.queries == beside.queries
    values = {"variant": found.values[first], "quickstart": beside.values[second]}
    difference = compare(replace(beside, values=values), *values, f"items/{measure}")
    return difference.mean, difference.low, difference.high


def leads(pairs: dict[str, str], method: str) -> str:
    """Paired differences of facet recall, variant × seed."""
    rows = []
    for name, other in pairs.items():
        cells = [
            MISSING
            if ablation(seed, name) is None
            else between(*compared(seed, name, method, other, "facet recall"), "+.3f")  # type: ignore[arg-type]
            for seed in SEEDS
        ]
        rows.append([f"{TUNINGS.get(name, REFINEMENTS.get(name, name))} − {other}", *cells])
    return table(["difference of true-facet recall", *(f"seed {seed}" for seed in SEEDS)], rows)


def bundles() -> str:
    """Methods × data sets: recall in the pool and Vendi of the ten items."""
    sets = read("bundles/refined.json")
    header = [f"{name}, {what}" for name in sets for what in ("recall in 150", "Vendi of ten")]
    methods = next(iter(sets.values()))["methods"]
    rows: list[list[str]] = [
        [method, *(half(*each["methods"][method][m]) for each in sets.values() for m in VALUES)]
        for method in methods
    ]
    return table(["method", *header], rows)


VALUES = ("recall", "vendi")


def report(name: str) -> Callable[[], str]:
    """Return what reads the Markdown table that a benchmark wrote."""

    def text() -> str:
        content: Any = (RESULTS / name).read_text(encoding="utf-8")
        return str(content).strip()

    return text


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    **{
        f"three seeds, {title}": ("ablate", partial(seeds, measure))
        for title, measure in zip(TITLES, MEASURES, strict=True)
    },
    "refinements": ("ablate", partial(variants, REFINEMENTS, REFINED)),
    "tunings": ("ablate", partial(variants, TUNINGS, "R4T-FOLM")),
    "tunings, leads": (
        "ablate",
        partial(
            leads, {"tuned-shopper": "k-means facets", "tuned-specific": "Zero-shot"}, "R4T-FOLM"
        ),
    ),
    "bundles, refined": ("bundles_refined", bundles),
    "credit": ("credit", report("credit/credit.md")),
    "forward process": ("forward_process", report("forward_process/forward_process.md")),
}
