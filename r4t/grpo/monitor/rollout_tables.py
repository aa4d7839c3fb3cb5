"""Rollouts of a tuner → tables of its completions with their scores, and signs of gaming in the log."""

import json
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from r4t.errors import InputError
from r4t.grpo.monitor.gaming import gaming
from r4t.grpo.rollout import Rollout

Row = dict[str, Any]
SHOWN = ("reward", "query", "subqueries", "completion")


def check_tuner(callback: Callback, module: LightningModule) -> None:
    """Refuse a module that makes no rollouts.

    Raises:
        InputError: The module is not a tuner.
    """
    if not hasattr(module, "rollout"):
        raise InputError(
            f"{type(callback).__name__} reads the rollouts of a FanoutTuner, found a "
            f"{type(module).__name__}, which makes none; remove the callback from this step."
        )


def sample_rows(rollout: Rollout, number: int, step: int) -> list[Row]:
    """Return one row a completion: what was asked, written, and what it was worth.

    Args:
        rollout: What a training step wrote.
        number: Of the rollout, counted from 1.
        step: Optimizer steps made.

    Returns:
        B·G rows, groups together. What could not be scored is None; objectives begin with
        ``score/``.
    """
    group = len(rollout.texts) // len(rollout.queries)
    columns = {"reward": rollout.rewards.tolist()}
    columns |= {f"score/{name}": found.tolist() for name, found in rollout.components.items()}
    columns["advantage"] = rollout.advantages.tolist()
    rows = []
    for place, (text, subqueries) in enumerate(zip(rollout.texts, rollout.subqueries)):
        query = rollout.queries[place // group]
        told = {"rollout": number, "step": step, "query_id": query.id, "query": query.text}
        wrote = {"fanout": place % group, "completion": text, "subqueries": list(subqueries)}
        scores = {name: _number(values[place]) for name, values in columns.items()}
        rows.append(told | wrote | scores)
    return rows


def extremes(rows: list[Row], count: int) -> list[Row]:
    """Return the ``count`` best and the ``count`` worst rows by reward, best first, none twice.

    Rows without a reward are left out.
    """
    order = sorted(
        (row for row in rows if row["reward"] is not None), key=lambda row: -row["reward"]
    )
    return order if len(order) <= 2 * count else [*order[:count], *order[len(order) - count :]]


def markdown(rows: list[Row]) -> str:
    """Return rows as a Markdown table of reward, query, sub-queries and completion."""
    lines = [f"| {' | '.join(SHOWN)} |", "|" + " --- |" * len(SHOWN)]
    for row in rows:
        shown = row | {"reward": f"{row['reward']:.4f}", "subqueries": "; ".join(row["subqueries"])}
        cells = (shown[name].replace("|", "\\|").replace("\n", " ⏎ ") for name in SHOWN)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


class SampleTable(Callback):
    """Writes the completions of a rollout with their scores as a JSON Lines table.

    The first rollout and every ``every``-th go to ``FOLDER/version_N/rollout-NUMBER.jsonl``, one
    completion a line (columns: ``sample_rows``). Each fit has a folder of its own, numbered as the
    logger's where that one is free. The best and the worst also go to TensorBoard as text and to
    Weights & Biases as a table, where such a logger is there. Rank zero writes its own rollouts.

    Args:
        every: Rollouts from one table to the next, at least 1.
        folder: Where to; by default ``samples`` in the folder of the module's step.
        shown: How many of the best and of the worst go to the logger; 0 for none.

    Raises:
        InputError: ``every`` is below 1, or ``shown`` below 0.
    """

    def __init__(self, every: int = 10, folder: str | None = None, shown: int = 3) -> None:
        if every < 1 or shown < 0:
            raise InputError(
                f"SampleTable needs every of at least 1 rollout and shown of at least 0, found "
                f"{every} and {shown}; remove the callback to write no tables."
            )
        self.every = every
        self.folder = folder
        self.shown = shown
        self.rollouts = 0
        self.version: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin to count, with a folder of its own to come.

        Raises:
            InputError: The module is not a tuner.
        """
        if stage == "fit":
            check_tuner(self, pl_module)
            self.rollouts = 0
            self.version = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Write the rollout if it is its turn."""
        rollout: Any = pl_module.rollout
        self.rollouts += 1
        due = self.rollouts == 1 or self.rollouts % self.every == 0
        if not (due and trainer.is_global_zero):
            return
        rows = sample_rows(rollout, self.rollouts, trainer.global_step)
        if self.version is None:
            self.version = self._free(trainer, pl_module)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path = self.version / f"rollout-{self.rollouts:06d}.jsonl"
        path.write_text(text, encoding="utf-8")
        found = extremes(rows, self.shown)
        for logger in trainer.loggers if found else []:
            _show(logger, found, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return how many rollouts there were."""
        return {"rollouts": self.rollouts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.rollouts = state_dict["rollouts"]

    def _free(self, trainer: Trainer, module: Any) -> Path:
        """Make a folder that no earlier fit wrote to."""
        if self.folder is None:
            folder = module.run.step(module.step) / "samples"
        else:
            folder = Path(self.folder)
        number = getattr(trainer.logger, "version", 0)
        number = number if isinstance(number, int) else 0
        while (folder / f"version_{number}").exists():
            number += 1
        path = folder / f"version_{number}"
        path.mkdir(parents=True)
        return path


class FanoutStatistics(Callback):
    """Logs of each rollout what shows that a reward is gamed (``r4t.grpo.monitor.gaming``).

    Under several processes, each looks at its own queries.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that there will be rollouts.

        Raises:
            InputError: The module is not a tuner.
        """
        if stage == "fit":
            check_tuner(self, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Log the shares of the last rollout."""
        rollout: Any = pl_module.rollout
        pl_module.log_dict(signs(rollout), batch_size=len(rollout.queries))


def signs(rollout: Rollout) -> dict[str, float]:
    """Return the shares of ``gaming`` for a rollout."""
    return gaming([query.text for query in rollout.queries], rollout.subqueries)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _show(logger: Any, rows: list[Row], step: int) -> None:
    """Give rows to a logger that takes text (TensorBoard) or tables (Weights & Biases)."""
    if callable(table := getattr(logger, "log_table", None)):
        names = list(rows[0])
        data = [[_cell(row[name]) for name in names] for row in rows]
        table(key="train/samples", columns=names, data=data, step=step)
    elif callable(text := getattr(getattr(logger, "experiment", None), "add_text", None)):
        text("train/samples", markdown(rows), step)


def _cell(value: Any) -> Any:
    return "; ".join(value) if isinstance(value, list) else value
