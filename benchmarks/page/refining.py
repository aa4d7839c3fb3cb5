"""Tables of stage 5, of member credit and of real models: seeds, ablations, bundles, recipes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.page.cells import MISSING, RESULTS, between, half, number, read, table

SEEDS = (11, 23, 37)
MEASURES = ("facet recall", "fit precision", "vendi", "specificity")
TITLES = ("true-facet recall", "share fitting", "Vendi", "specificity")
BUNDLES = ("recall", "vendi")  # measures of a bundle
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
    "refined-error-30-fit": "… errs in 30 %, with `fit` beside (weights 0.5 and 1)",
    "refined-fit": "… errs in 10 %, with `fit` beside",
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


def ablation(seed: int, name: str) -> dict[str, Any] | None:
    """Means and differences of a variant; None if it was not measured on that seed."""
    found: dict[str, Any] | None = read("ablate/summary.json").get(f"oar{seed}", {}).get(name)
    return found


def value(seed: int, name: str, method: str, measure: str) -> float:
    """Mean of a measure of items."""
    found = ablation(seed, name)
    assert found is not None, f"oar{seed}-{name} is not measured"
    return float(found["means"][method][measure][0])


def _interval(found: dict[str, Any] | None, method: str, measure: str) -> str:
    if found is None or method not in found["means"]:
        return MISSING
    return half(*found["means"][method][measure])


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
            MISSING if found[0] is None else number(found[0]["means"][method][measure][0])
            for measure in MEASURES[1:]
        ]
        rows.append([what, *(_interval(each, method, "facet recall") for each in found), *others])
    header = ["", *(f"{TITLES[0]}, seed {seed}" for seed in SEEDS)]
    return table([*header, *(f"{title}, seed {SEEDS[0]}" for title in TITLES[1:])], rows)


def compared(seed: int, name: str, other: str, measure: str) -> list[float]:
    """Mean, low and high of the difference between a variant and a method of the quickstart."""
    found = ablation(seed, name)
    assert found is not None, f"oar{seed}-{name} is not measured"
    difference: list[float] = found["differences"][other][measure]
    return difference


def leads(pairs: dict[str, str]) -> str:
    """Paired differences of facet recall, variant × seed."""
    rows = []
    for name, other in pairs.items():
        cells = [
            MISSING
            if ablation(seed, name) is None
            else between(*compared(seed, name, other, "facet recall"), "+.3f")
            for seed in SEEDS
        ]
        rows.append([f"{TUNINGS[name]} − {other}", *cells])
    return table(["difference of true-facet recall", *(f"seed {seed}" for seed in SEEDS)], rows)


def bundles() -> str:
    """Methods × data sets: recall in the pool and Vendi of the ten items."""
    sets = read("bundles/refined.json")
    header = [f"{name}, {what}" for name in sets for what in ("recall in 150", "Vendi of ten")]
    methods = next(iter(sets.values()))["methods"]
    rows: list[list[str]] = [
        [method, *(half(*each["methods"][method][m]) for each in sets.values() for m in BUNDLES)]
        for method in methods
    ]
    return table(["method", *header], rows)


def report(name: str) -> Callable[[], str]:
    """Return what reads the Markdown table that a benchmark wrote."""

    def text() -> str:
        return (RESULTS / name).read_text(encoding="utf-8").strip()

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
        partial(leads, {"tuned-shopper": "k-means facets", "tuned-specific": "Zero-shot"}),
    ),
    "bundles, refined": ("bundles_refined", bundles),
    "credit": ("credit", report("credit/credit.md")),
    "refine speed": ("refine_speed", report("refine_speed/refine_speed.md")),
    "real rewards": ("real_rewards", report("real_rewards/rewards.md")),
    "real models": ("real", report("real/recipes.md")),
    "forward process": ("forward_process", report("forward_process/forward_process.md")),
}
