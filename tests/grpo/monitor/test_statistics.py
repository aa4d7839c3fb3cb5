"""The numbers that a tuner logs, by hand and through a fit."""

import csv
import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.grpo.monitor.gaming import gaming
from r4t.grpo.monitor.rollout_tables import SampleTable
from r4t.grpo.monitor.statistics import (
    FanoutStatistics,
    policy_statistics,
    rollout_statistics,
    speed_statistics,
)
from r4t.grpo.rollout import Rollout
from r4t.reward import Ramp, Reward
from r4t.search import Retrieval

NAN = float("nan")


@pytest.fixture
def rollout():
    """Two queries of three fan-outs; the last one could be neither parsed nor scored."""
    fanouts = SimpleNamespace(
        subqueries=[["x"]] * 5 + [[]],
        completion_mask=torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]] * 2),
    )
    return Rollout(
        queries=[Query("q1", "red hat", "set"), Query("q2", "blue coat", "set")],
        fanouts=fanouts,
        items=torch.tensor([[1, 1], [1, 2], [3, -1]] * 2),
        truncated=torch.tensor([True, False, False, False, False, False]),
        rewards=torch.tensor([0.1, 0.2, 0.3, 0.5, 0.5, NAN]),
        components={
            "groundedness": torch.tensor([0.0, 0.2, 0.4, 0.5, 0.5, 0.5]),
            "diversity": torch.tensor([1.0, 1.0, 1.0, 0.0, 0.5, 1.0]),
        },
        advantages=torch.zeros(6),
        token_advantages=torch.zeros(6, 3),
        mask=fanouts.completion_mask,
    )


def test_means_shares_and_spreads_of_a_rollout(rollout):
    reward = Reward({"groundedness": Ramp(0.0, 1.0, steps=4), "diversity": 0.5})
    numbers = rollout_statistics(rollout, reward, step=2)
    assert {name: round(value.item(), 5) for name, value in numbers.items()} == {
        "train/reward/mean": 0.32,  # 1.6 / 5
        "train/reward/spread": 0.05,  # deviations 0.1 (of three, n − 1) and 0
        "train/zero_variance/share": 0.5,
        "train/tokens/mean": 2.0,
        "train/truncated/share": 0.16667,
        "train/parsed/share": 0.83333,
        "train/distinct_items/mean": 1.33333,  # 1, 2 and 1
        "train/groundedness/mean": 0.35,
        "train/groundedness/weighted": 0.175,  # half of the ramp
        "train/groundedness/spread": 0.1,  # 0.2 and 0
        "train/diversity/mean": 0.75,
        "train/diversity/weighted": 0.375,
        "train/diversity/spread": 0.25,  # 0 and 0.5
    }


def test_policy_statistics_by_hand():
    old = torch.tensor([[0.5, 0.5, 0.5]]).log()
    new = torch.tensor([[0.5, 0.75, 0.1]]).log()
    mask = torch.tensor([[1, 1, 0]])
    numbers = policy_statistics(new, old, mask, clip=0.2)
    # Ratios 1 and 1.5: k3 of KL(new, old) = 1.5 ln 1.5 - 0.5; of KL(old, new) = 0.5 - ln 1.5.
    assert numbers["train/kl_new_old/mean"].item() == pytest.approx(
        (1.5 * math.log(1.5) - 0.5) / 2, abs=1e-6
    )
    assert numbers["train/kl_old_new/mean"].item() == pytest.approx(
        (0.5 - math.log(1.5)) / 2, abs=1e-6
    )
    assert numbers["train/clipped/mean"].item() == 0.5


def test_policy_statistics_ignore_masked_tokens():
    old = torch.tensor([[-1.0, -200.0]])
    numbers = policy_statistics(torch.tensor([[-1.0, 0.0]]), old, torch.tensor([[1, 0]]), clip=0.2)
    assert {name: value.item() for name, value in numbers.items()} == dict.fromkeys(numbers, 0.0)


def test_seconds_and_tokens_per_second():
    searcher = SimpleNamespace(vectors=None, found=None, neighbors=None)
    seconds = {"generate": 2.0, "encode": 0.5, "update": 1.5}
    assert speed_statistics(seconds, 300, searcher) == {
        "train/generate/seconds": 2.0,
        "train/encode/seconds": 0.5,
        "train/update/seconds": 1.5,
        "train/step/seconds": 4.0,
        "train/generate/tokens_per_second": 150.0,
    }


def test_a_fit_logs_the_seconds_of_every_part_and_the_cache_hits(tiny):
    ends = tiny.Ends()
    tiny.fit(ends, rollouts=3)
    for row, rollout in zip(ends.logged, ends.rollouts):
        parts = [row[f"train/{part}/seconds"] for part in ("generate", "encode", "search")]
        parts += [row[f"train/{part}/seconds"] for part in ("score", "update")]
        assert min(parts) > 0
        assert row["train/step/seconds"] == pytest.approx(sum(parts), rel=1e-5)
        tokens = row["train/tokens/mean"] * len(rollout.fanouts.texts)
        speed = tokens / row["train/generate/seconds"]
        assert row["train/generate/tokens_per_second"] == pytest.approx(speed, rel=1e-4)
    # Of the first rollout nothing was there before; repeats within it count.
    written = [[text for texts in r.fanouts.subqueries for text in texts] for r in ends.rollouts]
    seen: set[str] = set()
    for row, texts in zip(ends.logged, written):
        new = len(set(texts) - seen)
        seen |= set(texts)
        assert row["train/search/hits"] == pytest.approx(1 - new / len(texts), abs=1e-6)


def test_without_caches_there_are_no_hits(tiny):
    ends = tiny.Ends()
    tiny.fit(ends, rollouts=1, module=tiny.tuner(retrieval=Retrieval()))
    assert not any("hits" in name for name in ends.logged[0])


def test_caches_change_no_weight(tiny):
    first = tiny.flat(tiny.fit(rollouts=3, module=tiny.tuner(retrieval=Retrieval())))
    second = tiny.flat(tiny.fit(rollouts=3, module=tiny.tuner(retrieval=Retrieval(cached=7))))
    assert torch.equal(first, second)


def test_gaming_is_logged_for_each_rollout(tiny, tmp_path):
    ends = tiny.Ends()
    logger = CSVLogger(str(tmp_path), name="logs", version=0)
    tiny.fit(FanoutStatistics(), ends, rollouts=3, logger=logger)
    with (tmp_path / "logs" / "version_0" / "metrics.csv").open() as file:
        written = list(csv.DictReader(file))
    assert len(written) == 3
    for rollout, logged, row in zip(ends.rollouts, ends.logged, written):
        expected = gaming([query.text for query in rollout.queries], rollout.fanouts.subqueries)
        assert {name: logged[name] for name in expected} == pytest.approx(expected, nan_ok=True)
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("callback", [SampleTable(), FanoutStatistics()])
def test_a_module_without_rollouts_is_refused(callback):
    trainer = Trainer(callbacks=[callback], logger=False, enable_checkpointing=False)
    name = type(callback).__name__
    message = f"a FanoutTuner, whose rollouts {name} reads, but found a LightningModule\\."
    with pytest.raises(InputError, match=message):
        callback.setup(trainer, LightningModule(), "fit")
