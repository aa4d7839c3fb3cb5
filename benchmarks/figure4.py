"""Which rewards degenerate? The paper's Figure 4 on the embedded benchmark.

    python -m benchmarks.figure4                         # every missing run
    python -m benchmarks.figure4 --seeds 0 --settings groundedness 6:2:2
    python -m benchmarks.figure4 --draw                  # only figures and CSV of the finished runs

A setting is the weights of groundedness, diversity and alignment (eq. 1); weight 0 is audited. All
members of a set have one advantage, as in the paper, but for ``+members``: there each has its own. Each
seed has its own wardrobe, open queries and warm start. Every setting tunes the same warm-started model
(configs/toy/1_tune.yaml with the overlay benchmarks/figure4.yaml). A run writes
RESULTS/SETTING-seedN.json: the log of each rollout, and measures of the policy's fan-outs for held-out
queries. A run whose file exists is skipped.
"""

import argparse
import csv
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.held_out import FILE
from benchmarks.real_sets import hardware
from r4t.__main__ import run as run_verb
from r4t.report.plots import STYLE
from r4t.support.configs import configs_folder

SETTINGS = {
    "groundedness": (0.6, 0.0, 0.0),
    "groundedness+alignment": (0.6, 0.0, 0.2),
    "6:2:2": (0.6, 0.2, 0.2),
    "4:3:3": (0.4, 0.3, 0.3),
    "2:4:4": (0.2, 0.4, 0.4),
    "6:2:2+members": (0.6, 0.2, 0.2),
}
MEMBERS = "+members"  # settings with this ending give each member its own credit
TEACHER = ["--model.init_args.teacher.init_args.near", "5"]  # words of the 5 nearest items
RUNS = Path("runs/figure4")
WINDOW = 5  # rollouts averaged in a plotted training value
OVERLAY = Path(__file__).with_suffix(".yaml")


def weights(setting: str) -> str:
    """Return the weights of a setting as YAML.

    Example:
        >>> weights("groundedness")
        '{groundedness: 0.6, diversity: 0.0, alignment: 0.0}'
    """
    names = ("groundedness", "diversity", "alignment")
    entries = [f"{name}: {weight}" for name, weight in zip(names, SETTINGS[setting])]
    return "{" + ", ".join(entries) + "}"


def warm(seed: int, runs: Path, more: list[str]) -> Path:
    """Make catalog, queries and warm start of a seed, unless they exist; return their run."""
    run = runs / f"seed{seed}"
    if (run / "warm_start" / "model").is_dir():
        return run
    catalog, queries = str(run / "catalog"), str(run / "queries")
    run_verb(["catalog", "wardrobe", "--out", catalog, "--seed", str(seed), "--overwrite"])
    run_verb(["queries", catalog, "--out", queries, "--wardrobe", "oar", "--overwrite"])
    config = str(configs_folder() / "toy" / "0_warm_start.yaml")
    options = ["--run", str(run), "--seed_everything", str(seed)]
    run_verb(["fit", "--config", config, *options, *TEACHER, *more])
    return run


def command(setting: str, seed: int, run: Path, start: Path) -> list[str]:
    """Return the words of the command that tunes a setting."""
    config = configs_folder() / "toy" / "1_tune.yaml"
    return [
        *("fit", "--config", os.path.relpath(config), "--config", os.path.relpath(OVERLAY)),
        *("--run", str(run)),
        *("--catalog", str(start / "catalog"), "--queries", str(start / "queries")),
        *("--seed_everything", str(seed), "--model.init_args.reward.init_args.weights"),
        weights(setting),
        *("--model.init_args.credit", "LeaveOneOut" if setting.endswith(MEMBERS) else "WholeSet"),
    ]


def measure(setting: str, seed: int, runs: Path, results: Path, more: list[str]) -> None:
    """Tune one setting with one seed and write its file, unless it exists."""
    path = results / f"{setting.replace(':', '')}-seed{seed}.json"
    if path.is_file():
        print(f"skipped: {path} exists")
        return
    start = warm(seed, runs, [])
    run = runs / f"seed{seed}-{setting.replace(':', '')}"
    shutil.rmtree(run / "tune", ignore_errors=True)
    shutil.copytree(start / "warm_start", run / "warm_start", dirs_exist_ok=True)
    words = command(setting, seed, run, start)
    begun = time.perf_counter()
    run_verb([*words, *more])
    content = {
        "setting": setting,
        "weights": dict(zip(("groundedness", "diversity", "alignment"), SETTINGS[setting])),
        "seed": seed,
        "command": shown(words, runs, RUNS),
        "hardware": hardware(),
        "minutes": round((time.perf_counter() - begun) / 60, 1),
        "rollouts": rollouts(run / "tune"),
        "held_out": json.loads((run / "tune" / FILE).read_text(encoding="utf-8")),
    }
    results.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(content), encoding="utf-8")


def rollouts(folder: Path) -> list[dict[str, float]]:
    """Read the log of each rollout, without times, from a step's newest metrics.csv."""
    files = sorted(folder.glob("logs/version_*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    rows = []
    with files[-1].open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = {
                name.removeprefix("train/"): round(float(value), 5)
                for name, value in row.items()
                if name.startswith("train/") and value and not name.endswith("second")
            }
            if values:
                rows.append({n: v for n, v in values.items() if not n.endswith("/seconds")})
    return rows


def shown(words: list[str], runs: Path, default: Path) -> str:
    """Return a command as its result file states it, with the default folder of runs.

    Example:
        >>> shown(["fit", "--run", "/mnt/a/seed0"], Path("/mnt/a"), Path("runs/figure4"))
        'r4t fit --run runs/figure4/seed0'
    """
    return "r4t " + " ".join(word.replace(str(runs), str(default)) for word in words)


def dump(content: dict[str, object]) -> str:
    """Return JSON with one line per row."""
    text = json.dumps(content, ensure_ascii=False)
    return text.replace("[{", "[\n{").replace("}, {", "},\n{").replace("}]", "}\n]") + "\n"


# Log key of a rollout or key of a held-out row → title of its panel.
TRAINING = {
    "groundedness/mean": "groundedness",
    "diversity/mean": "diversity (Vendi / k)",
    "alignment/mean": "alignment",
    "entropy/mean": "entropy of a token, nats",
    "duplicate_subqueries/share": "repeated sub-queries, share",
    "universal_subqueries/share": "same additions for most queries, share",
    "query_copies/share": "copies of the query, share",
}
HELD_OUT = {"facet recall": "true-facet recall, held-out queries"}
COLORS = ("#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9")  # Okabe and Ito


def curves(
    results: list[dict[str, Any]], held_out: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return mean and range over the seeds at each rollout, for runs that differ only in seed.

    Training values are first averaged over ``WINDOW`` rollouts.

    Args:
        results: Contents of the runs' files.
        held_out: Keys of held-out rows → titles; those of ``HELD_OUT`` if None.

    Returns:
        Rows with setting, metric, rollout, mean, low, high and seeds.
    """
    rows, measured = [], HELD_OUT if held_out is None else held_out
    for setting in dict.fromkeys(run["setting"] for run in results):
        runs = [run for run in results if run["setting"] == setting]
        for metric in [*TRAINING, *measured]:
            series = [_series(run, metric, metric in measured) for run in runs]
            for rollout in sorted(set(series[0]).intersection(*series[1:])):
                values = [points[rollout] for points in series]
                row = {"setting": setting, "metric": metric, "rollout": rollout}
                spread = {"low": min(values), "high": max(values), "seeds": len(values)}
                rows.append({**row, "mean": sum(values) / len(values), **spread})
    return rows


def _series(run: dict[str, Any], metric: str, held_out: bool) -> dict[int, float]:
    """Rollout → value."""
    if held_out:
        return {row["rollout"]: row[metric] for row in run["held_out"]}
    values = [row[metric] for row in run["rollouts"]]
    windows = {end: values[max(0, end - WINDOW) : end] for end in range(1, len(values) + 1)}
    return {end: sum(window) / len(window) for end, window in windows.items()}


def draw(results: Path) -> None:
    """Write figure4.csv and figure4.png from the finished runs."""
    files = sorted(results.glob("*-seed*.json"))
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    runs.sort(key=lambda run: list(SETTINGS).index(run["setting"]))
    rows = curves(runs)
    write_rows(results / "figure4.csv", rows)
    seeds = max(row["seeds"] for row in rows)
    title = (
        f"reward: weights of groundedness : diversity : alignment (+members: each has its own credit); "
        f"mean and range of {seeds} seeds, training over {WINDOW} rollouts"
    )
    plot(results / "figure4.png", rows, {**TRAINING, **HELD_OUT}, list(SETTINGS), title)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows of ``curves`` as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {n: round(v, 5) if isinstance(v, float) else v for n, v in row.items()} for row in rows
        )


def plot(
    path: Path, rows: list[dict[str, Any]], titles: dict[str, str], settings: list[str], title: str
) -> None:
    """Draw rows of ``curves``: a panel for each metric, of at most eight, a line for each setting."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 5.6), layout="constrained")
        panels = figure.subplots(2, 4).flatten()
        for panel, (metric, name) in zip(panels, titles.items()):
            for color, setting in zip(COLORS, settings):
                points = [r for r in rows if (r["metric"], r["setting"]) == (metric, setting)]
                at = [row["rollout"] for row in points]
                low, high = ([row[end] for row in points] for end in ("low", "high"))
                panel.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
                panel.plot(at, [row["mean"] for row in points], color=color, label=setting)
            panel.set_title(name)
            panel.set_ylim(bottom=0)
        for panel in panels[4:]:
            panel.set_xlabel("rollout")
        lines, names = panels[0].get_legend_handles_labels()
        figure.legend(lines, names, title=title, loc="outside lower center", ncols=6, frameon=False)
        figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/figure4"))
    parser.add_argument("--draw", action="store_true", help="only draw the finished runs")
    arguments = parser.parse_args()
    if not arguments.draw:
        for seed in arguments.seeds:
            for setting in arguments.settings:
                measure(setting, seed, arguments.runs, arguments.results, [])
    draw(arguments.results)


if __name__ == "__main__":
    main()
