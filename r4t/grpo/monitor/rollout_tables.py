"""Rollouts of a tuner → tables of its completions with their scores."""

import json
import math
from itertools import count
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from r4t.errors import check_least
from r4t.grpo.monitor.statistics import FanoutCallback
from r4t.grpo.rollout import Rollout

Row = dict[str, Any]
COLUMNS = ("reward", "query", "subqueries", "completion")


def sample_rows(rollout: Rollout, number: int, step: int) -> list[Row]:
    """Return one row per completion of rollout ``number`` (from 1), after ``step`` optimizer steps.

    Scores are None for completions that were not scored; those of objectives begin with ``score/``.
    """
    fanouts, group = rollout.fanouts, len(rollout.rewards) // len(rollout.queries)
    columns = {"reward": rollout.rewards.tolist()}
    columns |= {f"score/{name}": scores.tolist() for name, scores in rollout.components.items()}
    columns["advantage"] = rollout.advantages.tolist()
    rows = []
    for place, (text, subqueries) in enumerate(zip(fanouts.texts, fanouts.subqueries)):
        query = rollout.queries[place // group]
        row: Row = {"rollout": number, "step": step, "query_id": query.id, "query": query.text}
        row |= {"fanout": place % group, "completion": text, "subqueries": list(subqueries)}
        scores = {name: values[place] for name, values in columns.items()}
        rows.append(row | {name: x if math.isfinite(x) else None for name, x in scores.items()})
    return rows


def extremes(rows: list[Row], number: int) -> list[Row]:
    """Return the ``number`` best and the ``number`` worst rows by reward, best first, none twice."""
    scored = [row for row in rows if row["reward"] is not None]
    order = sorted(scored, key=lambda row: -row["reward"])
    return order if len(order) <= 2 * number else order[:number] + order[len(order) - number :]


def markdown(rows: list[Row]) -> str:
    """Return rows as a Markdown table of reward, query, sub-queries and completion."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    for row in rows:
        shown = row | {"reward": f"{row['reward']:.4f}", "subqueries": "; ".join(row["subqueries"])}
        cells = (shown[name].replace("|", "\\|").replace("\n", " ⏎ ") for name in COLUMNS)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


class SampleTable(FanoutCallback):
    """Writes the completions of a rollout with their scores as a JSON Lines table.

    The first rollout and every ``every``-th go to ``FOLDER/version_N/rollout-NUMBER.jsonl``, one
    completion per line. Each fit has its own folder, with the logger's number if that is free. The
    best and the worst also go to TensorBoard as text and to Weights & Biases as a table, if there is
    such a logger. Rank zero writes its own rollouts.

    Args:
        every: Rollouts from one table to the next, at least 1.
        folder: Output folder; by default ``samples`` in the folder of the module's step.
        shown: How many of the best and of the worst go to the logger; 0 for none.

    Raises:
        InputError: If ``every`` is below 1 or ``shown`` below 0.
    """

    def __init__(self, every: int = 10, folder: str | None = None, shown: int = 3) -> None:
        check_least({"every": (every, 1), "shown": (shown, 0)})
        self.every, self.folder, self.shown = every, folder, shown
        self.reset(None)

    def reset(self, module: Any) -> None:
        """Count from 0, into a new folder."""
        self.rollouts = 0
        self.version: Path | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        """Write the rollout if it is due."""
        self.rollouts += 1
        due = self.rollouts == 1 or self.rollouts % self.every == 0
        if not (due and trainer.is_global_zero):
            return
        rows = sample_rows(pl_module.rollout, self.rollouts, trainer.global_step)
        self.version = self.version or self._new_folder(trainer, pl_module)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path = self.version / f"rollout-{self.rollouts:06d}.jsonl"
        path.write_text(text, encoding="utf-8")
        shown = extremes(rows, self.shown)
        for logger in trainer.loggers if shown else []:
            _show(logger, shown, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return how many rollouts there were."""
        return {"rollouts": self.rollouts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue to count."""
        self.rollouts = state_dict["rollouts"]

    def _new_folder(self, trainer: Trainer, module: Any) -> Path:
        """Make a folder that no earlier fit wrote to."""
        version = getattr(trainer.logger, "version", 0)
        folder = Path(self.folder or module.run.step(module.step) / "samples")
        paths = (
            folder / f"version_{number}"
            for number in count(version if isinstance(version, int) else 0)
        )
        path = next(path for path in paths if not path.exists())
        path.mkdir(parents=True)
        return path


def _show(logger: Any, rows: list[Row], step: int) -> None:
    """Give rows to a logger that takes text (TensorBoard) or tables (Weights & Biases)."""
    if callable(table := getattr(logger, "log_table", None)):
        rows = [row | {"subqueries": "; ".join(row["subqueries"])} for row in rows]
        data = [list(row.values()) for row in rows]
        table(key="train/samples", columns=list(rows[0]), data=data, step=step)
    elif callable(text := getattr(getattr(logger, "experiment", None), "add_text", None)):
        text("train/samples", markdown(rows), step)
