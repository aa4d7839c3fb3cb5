"""One step of a finished run made again with other settings, and measured on the test queries.

    python -m benchmarks.ablate runs/oar11 --out benchmarks/results/ablate
    python -m benchmarks.ablate runs/oar11 refined-error-0 refined-error-30 --out …

``quickstart`` is the run as it is, with all methods. Each variant gets a run folder of its own beside the
run, with links to what it does not change. Its values per query go to OUT/RUN-VARIANT.json, written when
the variant is done: what is there is not made again. Without names, all are made. ``--table`` makes none.
The table of all files comes last, and OUT/summary.json: means with intervals, and the differences between
a variant and the methods of its quickstart.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from benchmarks.device import hardware
from r4t.__main__ import run as run_verb
from r4t.evaluation.results import Results, compare
from r4t.run import CONFIGS, Run
from r4t.support.files import write_text

MEASURES = ("facet recall", "fit precision", "vendi", "specificity", "exposure", "recall")
SHOPPER = ["--config", "configs/shopper/{config}"]
REWARD = "--model.init_args.reward.init_args"
EQUATION_1 = [f"{REWARD}.weights", "{groundedness: 0.6, diversity: 0.2, alignment: 0.2}"]
SPECIFIC = [f"{REWARD}.weights", "{specific_coverage: 1.0}"]
SET = ["--model.init_args.credit", "WholeSet"]


def erring(error: float) -> list[str]:
    """Return what makes the shopper err with this probability."""
    judge = {"class_path": "r4t_objectives.shopper.Shopper", "init_args": {"error": error}}
    return [*SHOPPER, f"{REWARD}.objectives", json.dumps({"shopper": judge})]


def fitting(error: float) -> list[str]:
    """Return what also pays for the mean of the erring judge's grades of single items."""
    judge = {"class_path": "r4t_objectives.shopper.Shopper", "init_args": {"error": error}}
    fit = {"class_path": "r4t_objectives.fit.Fit", "init_args": {"by": judge}}
    both = [f"{REWARD}.objectives", json.dumps({"shopper": judge, "fit": fit})]
    return [*SHOPPER, *both, f"{REWARD}.weights", "{shopper: 0.5, fit: 1.0}"]


def steps(number: int) -> list[str]:
    """Return what sets the number of optimizer steps."""
    return ["--trainer.max_steps", f"{number}", "--trainer.val_check_interval", f"{number // 4}"]


# The student's own network, as the toy config refines it on label-free rewards.
TRANSFORMER = ["--model.init_args.start.linear", "none", *steps(1000)]
TRANSFORMER += ["--model.init_args.optimizer.init_args.lr", "5.0e-4"]

SUMMARY = "summary.json"
QUICKSTART = "quickstart"  # not a variant: the results of the run itself
# Name → the step, the method that answers with its model, and the settings that differ.
VARIANTS: dict[str, tuple[str, str, list[str]]] = {
    "tuned-shopper": (
        "tune",
        "folm",
        [*SHOPPER, *steps(120)],
    ),  # 60 rollouts, where the config has 20
    "tuned-shopper-set": ("tune", "folm", [*SHOPPER, *steps(120), *SET]),
    "tuned-specific": ("tune", "folm", SPECIFIC),
    "tuned-specific-set": ("tune", "folm", [*SPECIFIC, *SET]),
    "tuned-eq1": ("tune", "folm", [*EQUATION_1, *steps(120)]),
    "tuned-eq1-set": ("tune", "folm", [*EQUATION_1, *steps(120), *SET]),
    "refined": ("refine", "refined", SHOPPER),
    "refined-long": ("refine", "refined", [*SHOPPER, *steps(9000)]),
    "refined-transformer": ("refine", "refined", [*SHOPPER, *TRANSFORMER]),
    "refined-specificity": (
        "refine",
        "refined",
        [*SHOPPER, f"{REWARD}.weights", "{shopper: 1.0, specificity: 0.4}"],
    ),
    "refined-set": ("refine", "refined", [*SHOPPER, *SET]),
    "refined-shapley": (
        "refine",
        "refined",
        [
            *SHOPPER,
            "--model.init_args.credit",
            "{class_path: Shapley, init_args: {permutations: 1}}",
        ],
    ),
    "refined-noise": (
        "refine",
        "refined",
        [*SHOPPER, "--model.init_args.exploration", "{class_path: GaussianNoise}"],
    ),
    "refined-specific": ("refine", "refined", SPECIFIC),
    "refined-fit": ("refine", "refined", fitting(0.1)),
    "refined-error-30-fit": ("refine", "refined", fitting(0.3)),
    **{f"refined-error-{x}": ("refine", "refined", erring(x / 100)) for x in (0, 20, 30)},
}


def variant_of(run: Run, name: str, keep: Sequence[str] = ()) -> Path:
    """Return a run folder for a variant, with links to the steps before the one that it changes."""
    folder = run.folder.parent / f"{run.folder.name}-{name}"
    Run.begin(folder, run.catalog, run.queries)
    for step in keep:
        place = folder / step
        if not place.exists():
            place.symlink_to(os.path.relpath(run.step(step), folder))
    return folder


def make(run: Run, name: str, extra: Sequence[str]) -> Results:
    """Make the step of a variant and measure it."""
    step, method, settings = VARIANTS[name]
    before = list(takewhile(lambda other: other != step, CONFIGS))
    folder = variant_of(run, name, [other for other in before if run.step(other).is_dir()])
    config = CONFIGS[step]
    words = [word.format(config=config) if word.endswith("{config}") else word for word in settings]
    configs = ["--config", f"configs/toy/{config}"]
    # A variant may fail the gate: that it does is a result.
    gate = ["--model.init_args.max_loss", "20"] if step == "refine" else []
    run_verb(["fit", *configs, *words, *gate, "--run", str(folder), *extra])
    run_verb(["evaluate", str(folder), *EVALUATE, "--methods", f"[{method}]"])
    return Results.load(folder / "results")


EVALUATE = ["--weights", "{specific_coverage: 1.0}", "--across_runs", "0", "--plots", "false"]
EVALUATE += ["--latency_batches", "[]", "--curves", "[]"]


def table(folder: Path) -> str:
    """Return a Markdown table of the files of a folder."""
    lines = [f"| run | method | {' | '.join(MEASURES)} |", f"|---|---|{'---:|' * len(MEASURES)}"]
    for path in each_file(folder):
        results = Results(**json.loads(path.read_text(encoding="utf-8")))
        for method in results.methods:
            cells = [_cell(results, method, f"items/{measure}") for measure in MEASURES]
            lines.append(f"| {path.stem} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(results: Results, method: str, measure: str) -> str:
    interval = results.interval(method, measure) if measure in results.measures else None
    return "–" if interval is None else f"{interval.mean:.3f} ± {interval.half:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(VARIANTS)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ablate"))
    parser.add_argument("--seed", default="0", help="of the training")
    parser.add_argument("--smoke", action="store_true", help="a few steps each")
    parser.add_argument("--table", action="store_true", help="only the table and summary.json")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        measure(options)
    write_text(options.out / SUMMARY, json.dumps(summary(options.out), indent=1) + "\n")
    print(table(options.out))


def measure(options: argparse.Namespace) -> None:
    """Write the file of every variant that was asked for, unless it exists."""
    run = Run.open(options.run)
    extra = ["--seed_everything", options.seed]
    extra += ["--config", "configs/toy/smoke.yaml"] if options.smoke else []
    for name in options.names or (QUICKSTART, *VARIANTS):
        path = options.out / f"{run.folder.name}-{name}.json"
        if path.is_file():
            continue
        if name == QUICKSTART:
            results = Results.load(run.folder / "results")
        else:
            results = make(run, name, extra)
        results = replace(results, settings=results.settings | {"hardware": hardware()})
        write_text(path, json.dumps(vars_of(results)) + "\n")


def summary(folder: Path) -> dict[str, dict[str, Any]]:
    """Return run → variant → means of its methods, and differences from those of the quickstart."""
    found: dict[str, dict[str, Results]] = {}
    for path in each_file(folder):
        run, _, name = path.stem.partition("-")
        found.setdefault(run, {})[name] = Results(**json.loads(path.read_text(encoding="utf-8")))
    return {
        run: {name: _summary(each, by_name.get(QUICKSTART)) for name, each in by_name.items()}
        for run, by_name in found.items()
    }


def _summary(results: Results, beside: Results | None) -> dict[str, Any]:
    means = {}
    for method in results.methods:
        known = [m for m in MEASURES if f"items/{m}" in results.measures]
        intervals = {m: results.interval(method, f"items/{m}") for m in known}
        means[method] = {
            measure: [round(x, 5) for x in (each.mean, each.low, each.high)]
            for measure, each in intervals.items()
            if each is not None
        }
    if beside is None or beside.methods == results.methods:
        return {"means": means}
    (mine,) = results.methods
    assert beside.queries == results.queries
    both_know = set(results.measures) & set(beside.measures)
    differences: dict[str, dict[str, list[float]]] = {}
    for other in beside.methods:
        values = {"variant": results.values[mine], "other": beside.values[other]}
        both = replace(beside, values=values)
        for measure in MEASURES[:2]:
            if f"items/{measure}" not in both_know:
                continue
            found = compare(both, "variant", "other", f"items/{measure}")
            row = [round(x, 5) for x in (found.mean, found.low, found.high)]
            differences.setdefault(other, {})[measure] = row
    return {"means": means, "differences": differences}


def each_file(folder: Path) -> list[Path]:
    """Return the files of variants."""
    return sorted(path for path in folder.glob("*.json") if path.name != SUMMARY)


def vars_of(results: Results) -> dict[str, object]:
    """Return what ``Results.load`` reads, without texts and without measures that no table shows."""
    shown = [f"items/{measure}" for measure in MEASURES]
    values = {
        method: {
            name: [None if x is None else round(x, 5) for x in column]
            for name, column in columns.items()
            if name in shown
        }
        for method, columns in results.values.items()
        if "λ=" not in method  # points of curves
    }
    return {**vars(results), "values": values, "texts": []}


if __name__ == "__main__":
    main()
