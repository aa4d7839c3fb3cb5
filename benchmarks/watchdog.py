"""Runs that were watched on held-out queries → does the watchdog alarm for those that collapse?

    python -m benchmarks.watchdog

**What a collapse is**, judged on held-out queries that the watchdog never sees, one fan-out each,
before tuning and after every tenth rollout. A run has collapsed from the first of two measurements
in a row at which one of these holds:

* *narrow*: the Vendi score of what is retrieved is below half of what it was before tuning;
* *blind*: what is retrieved answers the query less than half as well as before tuning: true-facet
  recall where the truth is known, recall of the reference set in the pool elsewhere;
* *deaf*: more than half of the sub-queries add what most other queries get as well;
* *silent*: fewer than 70 % of the completions can be parsed.

The watchdog is replayed on what each rollout logged, with the rules, window and patience that it has
by default. A *hit* is an alarm in a run that collapses, a *miss* none; a *false alarm* is one in a
run that never does. The thresholds were chosen on seed 0 of benchmarks/results/figure4 alone.
Writes RESULTS/watchdog.json and watchdog.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from r4t.grpo.monitor.collapse import Alarm
from r4t.grpo.monitor.watchdog import Watchdog

HALF, PARSED, IN_A_ROW = 0.5, 0.7, 2
ANSWERS = ("facet recall", "recall")  # the first that a row has


def collapse(rows: list[dict[str, float]]) -> tuple[int, str] | None:
    """Return the rollout from which a run has collapsed, and how; None if it never does.

    Args:
        rows: Held-out measurements in their order, the first before tuning.

    Example:
        >>> held = {"recall": 0.4, "parsed": 1.0, "universal_subqueries": 0.0}
        >>> vendi = enumerate((0.6, 0.2, 0.5, 0.2, 0.2))
        >>> collapse([{"rollout": 10 * n, "diversity": d, **held} for n, d in vendi])
        (30, 'narrow')
    """
    held = [(row["rollout"], signs(rows[0], row)) for row in rows[1:]]
    for place in range(len(held) - IN_A_ROW + 1):
        lasting = set.intersection(*(found for _, found in held[place : place + IN_A_ROW]))
        if lasting:
            return int(held[place][0]), "+".join(sorted(lasting))
    return None


def signs(before: dict[str, float], now: dict[str, float]) -> set[str]:
    """Return which of the four a measurement is, beside the one before tuning."""
    answer = next(name for name in ANSWERS if name in before)
    found = {
        "narrow": now["diversity"] < HALF * before["diversity"],
        "blind": now[answer] < HALF * before[answer],
        "deaf": now["universal_subqueries"] > HALF,
        "silent": now["parsed"] < PARSED,
    }
    return {name for name, holds in found.items() if holds}


def alarms(run: dict[str, Any], watchdog: Watchdog) -> list[Alarm]:
    """Return what a watchdog would have raised over a run's rollouts."""
    names = [name for name, weight in run["weights"].items() if weight == 0]
    audited = [f"train/{name}/mean" for name in sorted(names)]
    watchdog.detector.begin(audited)
    rows = [{f"train/{name}": value for name, value in row.items()} for row in run["rollouts"]]
    return [alarm for row in rows for alarm in watchdog.detector.see(row)]


def verdict(run: dict[str, Any], watchdog: Watchdog) -> dict[str, Any]:
    """Return, of one run, its collapse, its first alarm, and what that makes it."""
    fallen, raised = collapse(run["held_out"]), alarms(run, watchdog)
    kinds = {(True, True): "hit", (True, False): "miss", (False, True): "false alarm"}
    return {
        "run": f"{run['setting']}, seed {run['seed']}",
        "collapse": None if fallen is None else {"rollout": fallen[0], "how": fallen[1]},
        "first_alarm": None if not raised else raised[0].rollout,
        "rules": sorted({f"{alarm.rule} at {alarm.rollout}" for alarm in raised}),
        "verdict": kinds.get((fallen is not None, bool(raised)), "quiet"),
    }


def table(found: list[dict[str, Any]]) -> str:
    """Return the verdicts as a Markdown table, and their counts."""
    lines = ["| run | collapse on held-out queries | first alarm | verdict |", "|---|---|---:|---|"]
    for row in found:
        fallen = row["collapse"]
        told = "–" if fallen is None else f"rollout {fallen['rollout']}, {fallen['how']}"
        alarm = "–" if row["first_alarm"] is None else f"{row['first_alarm']}"
        lines.append(f"| {row['run']} | {told} | {alarm} | {row['verdict']} |")
    verdicts = [row["verdict"] for row in found]
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
    found = [verdict(run, Watchdog()) for run in runs]
    text = table(found)
    print(text)
    told = {"command": "python -m benchmarks.watchdog", "runs": found}
    (arguments.results / "watchdog.json").write_text(
        json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (arguments.results / "watchdog.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
