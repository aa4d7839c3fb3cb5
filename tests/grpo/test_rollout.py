"""The numbers that tell how tuning goes, by hand and through a fit."""

from types import SimpleNamespace

import pytest
import torch

from r4t.data.queries import Query
from r4t.grpo.rollout import Rollout, component_numbers, rollout_numbers, speed_numbers
from r4t.reward import Ramp, Reward

NAN = float("nan")


@pytest.fixture
def rollout():
    """Two queries of three fan-outs; the last one could be neither read nor scored."""
    return Rollout(
        [Query("q1", "red hat", "set"), Query("q2", "blue coat", "set")],
        list("abcdef"),
        [["x"]] * 5 + [[]],
        torch.tensor([0.1, 0.2, 0.3, 0.5, 0.5, NAN]),
        {
            "groundedness": torch.tensor([0.0, 0.2, 0.4, 0.5, 0.5, 0.5]),
            "diversity": torch.tensor([1.0, 1.0, 1.0, 0.0, 0.5, 1.0]),
        },
        torch.zeros(6),
    )


def test_means_and_shares_of_a_rollout(rollout):
    fanouts = SimpleNamespace(
        subqueries=rollout.subqueries,
        completion_mask=torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]] * 2),
    )
    sets = SimpleNamespace(items=torch.tensor([[1, 1], [1, 2], [3, -1]] * 2))
    cut = torch.tensor([True, False, False, False, False, False])
    found = rollout_numbers(rollout, fanouts, sets, cut)
    assert {name: round(value.item(), 5) for name, value in found.items()} == {
        "train/reward/mean": 0.32,  # 1.6 / 5
        "train/reward/spread": 0.05,  # deviations 0.1 (of three, n − 1) and 0
        "train/zero_variance/share": 0.5,
        "train/tokens/mean": 2.0,
        "train/truncated/share": 0.16667,
        "train/parsed/share": 0.83333,
        "train/distinct_items/mean": 1.33333,  # 1, 2 and 1
    }


def test_spread_of_every_component_within_its_group(rollout):
    reward = Reward({"groundedness": Ramp(0.0, 1.0, steps=4), "diversity": 0.5})
    found = component_numbers(rollout, reward, step=2)
    assert {name: round(value.item(), 5) for name, value in found.items()} == {
        "train/groundedness/mean": 0.35,
        "train/groundedness/weighted": 0.175,  # half of the ramp
        "train/groundedness/spread": 0.1,  # 0.2 and 0
        "train/diversity/mean": 0.75,
        "train/diversity/weighted": 0.375,
        "train/diversity/spread": 0.25,  # 0 and 0.5
    }


def test_seconds_and_tokens_a_second():
    assert speed_numbers({"generate": 2.0, "encode": 0.5, "update": 1.5}, tokens=300) == {
        "train/generate/seconds": 2.0,
        "train/encode/seconds": 0.5,
        "train/update/seconds": 1.5,
        "train/step/seconds": 4.0,
        "train/generate/tokens_per_second": 150.0,
    }


def test_a_fit_logs_the_seconds_of_every_part_and_what_was_found_again(tiny):
    ends = tiny.Ends()
    tiny.fit(ends, rollouts=3)
    for row, rollout in zip(ends.logged, ends.rollouts):
        parts = [row[f"train/{part}/seconds"] for part in ("generate", "encode", "search")]
        parts += [row[f"train/{part}/seconds"] for part in ("score", "update")]
        assert min(parts) > 0
        assert row["train/step/seconds"] == pytest.approx(sum(parts), rel=1e-5)
        tokens = row["train/tokens/mean"] * len(rollout.texts)
        speed = tokens / row["train/generate/seconds"]
        assert row["train/generate/tokens_per_second"] == pytest.approx(speed, rel=1e-4)
    # Of the first rollout nothing was there before; repeats within it count.
    written = [[text for texts in r.subqueries for text in texts] for r in ends.rollouts]
    seen: set[str] = set()
    for row, texts in zip(ends.logged, written):
        new = len(set(texts) - seen)
        seen |= set(texts)
        assert row["train/search/hits"] == pytest.approx(1 - new / len(texts), abs=1e-6)


def test_nothing_is_kept_unless_there_is_room(tiny):
    ends = tiny.Ends()
    tiny.fit(ends, rollouts=1, module=tiny.tuner(cached=0))
    assert not any("hits" in name for name in ends.logged[0])


def test_what_is_kept_changes_no_weight(tiny):
    first = tiny.flat(tiny.fit(rollouts=3, module=tiny.tuner(cached=0)))
    second = tiny.flat(tiny.fit(rollouts=3, module=tiny.tuner(cached=7)))
    assert torch.equal(first, second)
