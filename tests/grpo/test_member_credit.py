"""Member credit in a tuning: which token gets which advantage, against a slow loop."""

import pytest
import torch

from r4t.credit import Credit, LeaveOneOut, WholeSet
from r4t.errors import InputError
from r4t.reward import Reward
from tests.grpo.test_module import Record, Says, fit, quiet, run, tuner, warm, weights  # noqa: F401

GROUP = 4


def crediting(run, credit, **settings):  # noqa: F811
    module = tuner(run, Says("boots"), group_size=GROUP, **settings)
    module.credit = credit
    return module


def lines_of_tokens(module, row):
    """The line that holds most of each token's characters, None for none; read off the text."""
    fanouts, tokenizer = module.rollout.fanouts, module.fanout.tokenizer
    ids = fanouts.completion_ids[row][fanouts.completion_mask[row] > 0].tolist()
    of_character, number = [], 0
    # A form feed, say, ends a line too.
    for line in "\n".join(fanouts.texts[row].splitlines()).split("\n"):
        inner = range(len(line) - len(line.lstrip()), len(line.rstrip()))
        of_character += [number if place in inner else None for place in range(len(line) + 1)]
        number += bool(line.strip())
    owners = []
    for end in range(1, len(ids) + 1):
        start, stop = (
            len(tokenizer.decode(ids[:n], skip_special_tokens=True)) for n in (end - 1, end)
        )
        if start == stop and ids[end - 1] != tokenizer.eos_token_id:
            start -= 1  # a further byte of a character
        lines = [line for line in of_character[start:stop] if line is not None]
        owners.append(max(lines, key=lines.count, default=None))
    return owners


def advantages_by_a_loop(module):
    """(n, T) advantages: a member is worth 1/k if its text has the word, compared within its query."""
    rollout, size = module.rollout, module.fanout.form.set_size
    lists = rollout.fanouts.subqueries
    expected = torch.zeros_like(rollout.token_advantages)
    for query in range(len(rollout.queries)):
        rows = range(query * GROUP, (query + 1) * GROUP)
        worth = {
            (row, place): float("boots" in text.split()) / size
            for row in rows
            for place, text in enumerate(lists[row])
        }
        short = [r for r in rows if not rollout.truncated[r] and 0 < len(lists[r]) < size]
        missing = [0.0 for r in short for _ in range(size - len(lists[r]))]  # is worth nothing
        values = torch.tensor([*worth.values(), *missing])
        spread = values.std() if len(values) > 1 else torch.tensor(0.0)
        for row in rows:
            owners, ended = lines_of_tokens(module, row), not rollout.truncated[row]
            for token, line in enumerate(owners):
                expected[row, token] = rollout.advantages[row]
                if not ended:  # a list that was cut off is paid as a whole
                    continue
                ends = 0 < len(lists[row]) < size and token == len(owners) - 1
                if (row, line) in worth or ends:
                    compared = (worth.get((row, line), 0.0) - values.mean()) / (spread + 1e-4)
                    expected[row, token] = compared if spread > 1e-6 else 0.0
    return expected


def test_tokens_of_a_member_have_its_advantage_and_others_that_of_the_set(run):  # noqa: F811
    module = crediting(run, LeaveOneOut())
    fit(run, module, max_steps=2)
    rollout = module.rollout
    sampled = rollout.fanouts.completion_mask > 0
    found, expected = rollout.token_advantages, advantages_by_a_loop(module)
    assert (found - expected)[sampled].abs().max() < 1e-3  # ε is 1e-4 of spreads near 0.1
    # Both kinds of tokens are there, and they differ from one advantage a set.
    own = (found != rollout.advantages.unsqueeze(1)) & sampled
    assert 0.2 < own.sum() / sampled.sum() < 1
    # A set of more than one kind of member weighs them apart, in both directions.
    mixed = [row for row in range(len(found)) if found[row][sampled[row]].unique().numel() > 2]
    assert any(found[row].min() < 0 < found[row].max() for row in mixed)


def test_the_credit_of_whole_sets_is_no_credit_to_the_bit(run):  # noqa: F811
    ends = []
    for credit in (tuner(run, Says("boots")).credit, WholeSet()):
        record = Record()
        module = crediting(run, credit)
        fit(run, module, record, max_steps=4)
        ends.append(weights(module))
        rollout = module.rollout
        same = rollout.advantages.unsqueeze(1).expand(rollout.token_advantages.shape)
        assert torch.equal(rollout.token_advantages, same)
        assert "train/credit/seconds" not in record.logged[0]
    assert torch.equal(*ends)


class Places(Credit):
    """Member i is worth i; the first one cannot be told."""

    def of_objective(self, objective, sets, scores):
        credit = torch.arange(float(sets.set_size)).expand(sets.mask.shape).clone()
        credit[:, 0] = torch.nan
        return credit


def test_a_member_without_a_credit_keeps_the_advantage_of_its_set(run):  # noqa: F811
    module = crediting(run, Places())
    fit(run, module, max_steps=2)
    rollout, lists = module.rollout, module.rollout.fanouts.subqueries
    assert rollout.advantages.any()
    seen = set()
    for row in range(len(lists)):
        group = range(row // GROUP * GROUP, row // GROUP * GROUP + GROUP)
        size = module.fanout.form.set_size
        # What a list lacks that ended is worth nothing, and nobody knows what its first member is worth.
        short = [r for r in group if not rollout.truncated[r] and 0 < len(lists[r]) < size]
        known = [float(p) for r in group for p in range(1, len(lists[r]))]
        known = torch.tensor(known + [0.0 for r in short for _ in range(size - len(lists[r]))])
        owners = lines_of_tokens(module, row)
        ended = not rollout.truncated[row] and 0 < len(lists[row]) < size
        for token, line in enumerate(owners):
            found = rollout.token_advantages[row, token].item()
            ends = ended and token == len(owners) - 1
            if rollout.truncated[row] or (not ends and (line is None or line == 0)):
                assert found == rollout.advantages[row]
            elif len(known) > 1 and known.std() > 0:
                expected = ((0 if ends else line) - known.mean()) / (known.std() + 1e-4)
                assert found == pytest.approx(expected.item(), abs=1e-4)
            seen.add(line)
    assert {None, 0, 1, 2} <= seen


def test_leave_one_out_raises_the_reward_and_its_time_is_logged(run):  # noqa: F811
    record = Record()
    module = crediting(run, LeaveOneOut(), rate=2e-3)
    fit(run, module, record, max_steps=30)  # 15 rollouts of 2 updates
    reward = record.column("train/reward/mean")
    assert reward[:2].mean() < 0.3
    assert reward[-3:].mean() > 0.6
    assert (record.column("train/credit/seconds") > 0).all()
    parts = ("generate", "encode", "search", "score", "credit", "update")
    total = sum(record.column(f"train/{part}/seconds") for part in parts)
    torch.testing.assert_close(total, record.column("train/step/seconds"), rtol=1e-4, atol=0)
    with pytest.raises(InputError, match="no other meaning in logs and tables, but found 'credit'"):
        Reward({"credit": 1.0}, {"credit": Says("boots")})
