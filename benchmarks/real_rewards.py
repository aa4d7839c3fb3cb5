"""Which rewards degenerate if the model knows language? The paper's Figure 4 with SmolLM2 on recipes.

    python -m benchmarks.models                              # first: brings both models
    python -m benchmarks.real_models --folds 0 --stages warm-start
    python -m benchmarks.real_rewards                        # every missing run
    python -m benchmarks.real_rewards --settings 6:2:2
    python -m benchmarks.real_rewards --draw                 # only figure and table of the finished runs

A setting is the weights of groundedness, diversity and alignment (eq. 1) with one advantage a set, as in
the paper, or *specific coverage*, this project's default without references, with credit per member.
Every setting tunes the warm start of recipes, fold 0, which none of these rewards has seen. Each row of
``held_out`` measures one fan-out for each of 64 validation queries; recall is that of the ingredients
in the pool, the facets of a dish. At the end the tuned model, the warm start and the best of its five
fan-outs (by the same reward) answer the test queries. A run writes RESULTS/SETTING.json.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks import figure4
from benchmarks.bundles import clusters, interval
from benchmarks.figure4 import TRAINING, WINDOW, curves, dump, plot, rollouts, shown, write_rows
from benchmarks.held_out import FILE
from benchmarks.models import MINILM, SMOLLM2
from benchmarks.real_models import RUNS, SEED, SETS, evaluate_words, run_name, run_once
from benchmarks.real_sets import hardware
from benchmarks.real_tables import MEASURES
from r4t.__main__ import run as run_verb
from r4t.run import Run
from r4t.support.files import write_text

NAMES = ("groundedness", "diversity", "alignment")
SPECIFIC = "specific coverage"
SETTINGS = {
    **{
        name: figure4.SETTINGS[name] for name in ("groundedness", "groundedness+alignment", "6:2:2")
    },
    SPECIFIC: (0.0, 0.0, 0.0),
}
OVERLAY = Path(__file__).with_suffix(".yaml")
ONE, FOLD = SETS["recipes"], 0
METHODS = {"Zero-shot": "warm start", "Best-of-5": "best of 5", "R4T-FOLM": "tuned"}
HELD_OUT = {"recall": "recall in the pool, held-out queries"}


def weights(setting: str) -> str:
    """Return the weights of a setting as YAML; those that are 0 are audited.

    Example:
        >>> weights("6:2:2")
        '{groundedness: 0.6, diversity: 0.2, alignment: 0.2, specific_coverage: 0.0}'
    """
    values = {
        **dict(zip(NAMES, SETTINGS[setting])),
        "specific_coverage": float(setting == SPECIFIC),
    }
    return "{" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}"


def command(setting: str, run: Path, start: Run) -> list[str]:
    """Return the words of the command that tunes a setting."""
    layers = [f"configs/{folder}/1_tune.yaml" for folder in ("toy", "wscr", "real")]
    layers.append(os.path.relpath(OVERLAY))
    return [
        "fit",
        *[word for layer in layers for word in ("--config", layer)],
        *("--run", str(run), "--catalog", str(start.catalog), "--queries", str(start.queries)),
        *("--seed_everything", str(SEED), "--model.init_args.reward.init_args.weights"),
        weights(setting),
        *("--model.init_args.credit", "LeaveOneOut" if setting == SPECIFIC else "WholeSet"),
        *("--model.init_args.retrieval.pool_size", str(ONE.pool)),
        *("--model.init_args.sampling.max_new_tokens", str(ONE.tokens)),
    ]


def measure(setting: str, runs: Path, results: Path, more: list[str]) -> None:
    """Tune one setting and write its file, unless it exists."""
    path = results / f"{setting.replace(':', '').replace(' ', '-')}.json"
    if path.is_file():
        print(f"skipped: {path} exists")
        return
    start = Run.open(runs / run_name(ONE, FOLD, "warm-start"))
    run = Run.begin(runs / f"rewards-{path.stem}", start.catalog, start.queries)
    if not run.step("warm_start").exists():
        run.step("warm_start").symlink_to(os.path.relpath(start.step("warm_start"), run.folder))
    words = [*command(setting, run.folder, start), *more]
    minutes = run_once(run, "tuned 0", words)
    asked = evaluate_words(ONE, run.folder, [*METHODS])
    asked[asked.index("--weights") + 1] = weights(setting)
    begun = time.perf_counter()
    run_verb(asked)
    minutes += (time.perf_counter() - begun) / 60
    content = {
        "setting": setting,
        "weights": dict(zip(NAMES, SETTINGS[setting])),
        "commands": [shown(each, runs, RUNS) for each in (words, asked)],
        "hardware": hardware(),
        "models": [SMOLLM2.name, MINILM.name],
        "minutes": round(minutes, 1),
        "rollouts": rollouts(run.step("tune")),
        "held_out": json.loads((run.step("tune") / FILE).read_text(encoding="utf-8")),
        "methods": answers(run.folder),
        "clusters": clusters(run),
    }
    results.mkdir(parents=True, exist_ok=True)
    write_text(path, dump(content))


def answers(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return method → reward of the fan-outs and measures of the items, for each test query."""
    results = json.loads((folder / "results" / "results.json").read_text(encoding="utf-8"))
    keys = {"reward": "directions/composite"} | {name: f"items/{name}" for name in MEASURES}
    return {
        name: {
            key: [round(x, 5) for x in results["values"][method][at]] for key, at in keys.items()
        }
        for method, name in METHODS.items()
    }


def table(runs: list[dict[str, Any]]) -> str:
    """Return a Markdown table: what each reward does to its own value and to what nobody rewarded."""
    lines = [
        "| reward | fan-out | its reward | recall in the pool | in ten | Vendi of ten |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for run in runs:
        for name, values in run["methods"].items():
            cells = [f"{mean(values[key]):.3f}" for key in ("reward", *MEASURES)]
            lines.append(f"| {run['setting']} | {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| difference over the same test queries | its reward | recall in the pool |",
        "|---|---:|---:|",
    ]
    for run in runs:
        tuned, best, start = (run["methods"][name] for name in ("tuned", "best of 5", "warm start"))
        for name, (left, right) in {
            "tuned − best of 5": (tuned, best),
            "best of 5 − warm start": (best, start),
        }.items():
            numbers = torch.tensor(run["clusters"])
            cells = [difference(left[key], right[key], numbers) for key in ("reward", "recall")]
            lines.append(f"| {run['setting']}: {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def difference(left: list[float], right: list[float], numbers: torch.Tensor) -> str:
    """Return the mean difference with its interval over clusters of queries."""
    change, low, high = interval(torch.tensor(left) - torch.tensor(right), numbers)
    return f"{change:+.3f} ({low:+.3f} … {high:+.3f})"


def draw(results: Path) -> None:
    """Write rewards.csv, rewards.png and rewards.md from the finished runs."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in results.glob("*.json")]
    runs.sort(key=lambda run: [*SETTINGS].index(run["setting"]))
    rows = curves(runs, HELD_OUT)
    write_rows(results / "rewards.csv", rows)
    title = (
        f"reward: weights of groundedness : diversity : alignment; training over {WINDOW} rollouts"
    )
    finished = [run["setting"] for run in runs]
    plot(results / "rewards.png", rows, {**TRAINING, **HELD_OUT}, finished, title)
    write_text(results / "rewards.md", table(runs))
    print(table(runs))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[*SETTINGS])
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/real_rewards"))
    parser.add_argument(
        "--more", nargs=argparse.REMAINDER, default=[], help="last: further words for the tuning"
    )
    parser.add_argument("--draw", action="store_true", help="only draw the finished runs")
    options = parser.parse_args(arguments)
    if not options.draw:
        for setting in options.settings:
            measure(setting, options.runs, options.results, options.more)
    draw(options.results)


if __name__ == "__main__":
    main()
