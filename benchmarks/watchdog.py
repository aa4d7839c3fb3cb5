"""Runs measured on held-out queries → whether the watchdog raises an alarm for those that collapse.

    python -m benchmarks.watchdog

**Collapse** is measured on held-out queries that the watchdog never sees, with one fan-out each, before
tuning and after every tenth rollout. A run has collapsed at the first of two consecutive measurements
at which one of these holds:

* *narrow*: the Vendi score of the retrieved items is below half of its value before tuning;
* *blind*: the retrieved items answer the query less than half as well as before tuning (true-facet
  recall if the truth is known, else recall of the reference set in the pool);
* *deaf*: more than half of the sub-queries add what most other queries also get;
* *silent*: fewer than 70 % of the completions are readable.

The watchdog is replayed on the log of each rollout, with its default rules, window and patience. In a
run that collapses, an alarm is a *hit* and no alarm a *miss*; in a run that does not, an alarm is a
*false alarm*. The thresholds were set only on seed 0 of benchmarks/results/figure4. Writes
RESULTS/watchdog.json and watchdog.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from r4t.training.collapse import Alarm
from r4t.training.watchdog import Watchdog

HALF, PARSED, IN_A_ROW = 0.5, 0.7, 2
ANSWERS = ("facet recall", "recall")  # the first one in a row counts


def collapse(rows: list[dict[str, float]]) -> tuple[int, str] | None:
    """Return the rollout at which a run has collapsed, and how; None if it never does.

    Args:
        rows: Held-out measurements in order, the first one before tuning.

    Example:
        >>> held = {"recall": 0.4, "parsed": 1.0, "universal_subqueries": 0.0}
        >>> vendi = enumerate((0.6, 0.2, 0.5, 0.2, 0.2))
        >>> collapse([{"rollout": 10 * n, "diversity": d, **held} for n, d in vendi])
        (30, 'narrow')
    """
    held = [(row["rollout"], signs(rows[0], row)) for row in rows[1:]]
    for place in range(len(held) - IN_A_ROW + 1):
        lasting = set.intersection(*(names for _, names in held[place : place + IN_A_ROW]))
        if lasting:
            return int(held[place][0]), "+".join(sorted(lasting))
    return None


def signs(before: dict[str, float], now: dict[str, float]) -> set[str]:
    """Return which of the four signs a measurement shows, compared with the one before tuning."""
    answer = next(name for name in ANSWERS if name in before)
    holds = {
        "narrow": now["diversity"] < HALF * before["diversity"],
        "blind": now[answer] < HALF * before[answer],
        "deaf": now["universal_subqueries"] > HALF,
        "silent": now["parsed"] < PARSED,
    }
    return {name for name, true in holds.items() if true}


def alarms(run: dict[str, Any], watchdog: Watchdog) -> list[Alarm]:
    """Return the alarms that a watchdog would have raised during a run."""
    names = [name for name, weight in run["weights"].items() if weight == 0]
    audited = [f"train/{name}/mean" for name in sorted(names)]
    watchdog.detector.begin(audited)
    rows = [{f"train/{name}": value for name, value in row.items()} for row in run["rollouts"]]
    return [alarm for row in rows for alarm in watchdog.detector.see(row)]


def verdict(run: dict[str, Any], watchdog: Watchdog) -> dict[str, Any]:
    """Return the collapse of one run, its first alarm, and the verdict."""
    collapsed, raised = collapse(run["held_out"]), alarms(run, watchdog)
    kinds = {(True, True): "hit", (True, False): "miss", (False, True): "false alarm"}
    return {
        "run": f"{run['setting']}, seed {run['seed']}",
        "collapse": None if collapsed is None else {"rollout": collapsed[0], "how": collapsed[1]},
        "first_alarm": None if not raised else raised[0].rollout,
        "rules": sorted({f"{alarm.rule} at {alarm.rollout}" for alarm in raised}),
        "verdict": kinds.get((collapsed is not None, bool(raised)), "quiet"),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the verdicts as a Markdown table, and their counts."""
    lines = ["| run | collapse on held-out queries | first alarm | verdict |", "|---|---|---:|---|"]
    for row in rows:
        collapsed = row["collapse"]
        cell = "–" if collapsed is None else f"rollout {collapsed['rollout']}, {collapsed['how']}"
        alarm = "–" if row["first_alarm"] is None else f"{row['first_alarm']}"
        lines.append(f"| {row['run']} | {cell} | {alarm} | {row['verdict']} |")
    verdicts = [row["verdict"] for row in rows]
    counts = [f"{name}: {verdicts.count(name)}" for name in ("hit", "miss", "false alarm", "quiet")]
    return "\n".join([*lines, "", ", ".join(counts), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path("benchmarks/results")
    parser.add_argument(
        "--runs", type=Path, nargs="+", default=[folder / "figure4", folder / "bundles"]
    )
    parser.add_argument("--results", type=Path, default=folder)
    parser.add_argument("--seeds", type=int, nargs="+", help="all by default")
    arguments = parser.parse_args()
    files = [path for runs in arguments.runs for path in sorted(runs.glob("*-seed*.json"))]
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    runs = [run for run in runs if arguments.seeds is None or run["seed"] in arguments.seeds]
    rows = [verdict(run, Watchdog()) for run in runs]
    text = table(rows)
    print(text)
    content = {"command": "python -m benchmarks.watchdog", "runs": rows}
    (arguments.results / "watchdog.json").write_text(
        json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (arguments.results / "watchdog.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
