"""Files of the stages of a real language model → tables: means, and paired differences, over folds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.bundles import difference, interval, pooled_clusters

MEASURES = {"recall": "recall in the pool", "set recall": "in ten", "vendi": "Vendi of ten"}
# Of sets whose items are grouped by what they say.
FACET_MEASURES = {"facet recall": "facet recall of ten", "alpha nDCG": "α-nDCG"}
PLAIN = ["No fan-out", "MMR", "MMR in pool", "Most popular items", "Nearest sets"]
PLAIN += ["Nearest sets by vote", "Ridge map"]
PLAIN += ["Set regression (matched)", "Set regression (mixture)", "Learned choice"]
# Stage → the method whose model it made, as tables call it → what it is called here.
STAGES: dict[str, dict[str, str]] = {
    "baselines": {name: name for name in PLAIN},
    "few-shot": {
        "Zero-shot": "Few-shot",
        "Best-of-5": "Few-shot, best of 5",
        "Zero-shot + consensus": "Few-shot, consensus",
    },
    "warm-start": {
        "Zero-shot": "Warm start",
        "Best-of-5": "Warm start, best of 5",
        "Zero-shot + consensus": "Warm start, consensus",
    },
    "tuned": {"R4T-FOLM": "Soft-GRPO", "R4T-FOLM + consensus": "Soft-GRPO, consensus"},
    "student": {"R4T-Student": "R4T-Student"},
    "student-no-memory": {"R4T-Student": "R4T-Student, without memory"},
    "student-references": {"R4T-Student": "R4T-Student, references alone"},
    "diffusion": {
        "R4T-Diffusion": "R4T-Diffusion",
        "R4T-Diffusion + consensus": "R4T-Diffusion, consensus",
    },
}
PAIRS = [("Few-shot", "No fan-out"), ("Few-shot, consensus", "No fan-out")]
PAIRS += [("Warm start", "Few-shot"), ("Soft-GRPO", "Warm start")]
PAIRS += [("Soft-GRPO, consensus", "Soft-GRPO"), ("Soft-GRPO, consensus", "Warm start, consensus")]
PAIRS += [("Warm start", "No fan-out"), ("Soft-GRPO", "Warm start, best of 5")]
PAIRS += [
    ("R4T-Student", other)
    for other in (
        "R4T-Student, without memory",
        "R4T-Student, references alone",
        "Soft-GRPO, consensus",
        "No fan-out",
        "Most popular items",
        "Nearest sets by vote",
        "Ridge map",
        "Set regression (matched)",
        "Set regression (mixture)",
        "Learned choice",
    )
]


def summary(files: Sequence[Path]) -> dict[str, Any]:
    """Return means and paired differences over the folds of a set, for each set of stages that folds have."""
    by_fold: dict[str, dict[str, Any]] = {}
    for path in files:
        content = json.loads(path.read_text(encoding="utf-8"))
        fold = by_fold.setdefault(path.stem.split("-")[1], {"methods": {}, "stages": ()})
        fold["methods"] |= content["methods"]
        fold["clusters"] = content["clusters"]
        fold["stages"] += (path.stem.split("-", 2)[2],)
    tables = {}
    for stages in sorted({frozenset(fold["stages"]) for fold in by_fold.values()}, key=len):
        folds = [fold for fold in by_fold.values() if stages <= set(fold["stages"])]
        named = [stage for stage in STAGES if stage in stages]
        known = [name for stage in named for name in STAGES[stage].values()]
        known = [name for name in known if all(name in fold["methods"] for fold in folds)]
        tables[", ".join(named)] = _table(folds, known)
    return tables


def _table(folds: list[dict[str, Any]], known: list[str]) -> dict[str, Any]:
    numbers = pooled_clusters(folds)
    measures = [
        m
        for m in (*MEASURES, *FACET_MEASURES)
        if all(m in fold["methods"][name] for fold in folds for name in known)
    ]
    values = {
        name: {
            m: torch.tensor([x for fold in folds for x in fold["methods"][name][m]])
            for m in measures
        }
        for name in known
    }
    return {
        "folds": len(folds),
        "queries": len(numbers),
        "clusters": int(numbers.max()) + 1,
        "methods": {
            name: {m: interval(column, numbers) for m, column in each.items()}
            for name, each in values.items()
        },
        "differences": {
            f"{one} − {other}": {
                m: difference(values[one][m] - values[other][m], numbers) for m in measures
            }
            for one, other in PAIRS
            if one in values and other in values
        },
    }


def markdown(name: str, tables: dict[str, Any]) -> str:
    """Return the tables of a set."""
    lines = []
    names = MEASURES | FACET_MEASURES
    for title, table in tables.items():
        measured = next(iter(table["methods"].values()), {})
        head = f"{' | '.join(names[m] for m in measured)} |"
        rule = f"|---|{'---:|' * len(measured)}"
        lines += [
            f"**{name}**, {title}: {table['folds']} fold(s), {table['queries']} test queries in "
            f"{table['clusters']} groups",
            "",
            f"| method | {head}",
            rule,
        ]
        for method, values in table["methods"].items():
            cells = [f"{mean:.3f} ({low:.3f} … {high:.3f})" for mean, low, high in values.values()]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        if not table["differences"]:
            lines.append("")
            continue
        lines += ["", f"| paired difference | {head}", rule]
        for pair, values in table["differences"].items():
            cells = [
                f"{mean:+.3f} ({low:+.3f} … {high:+.3f})" for mean, low, high, _ in values.values()
            ]
            lines.append(f"| {pair} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)
