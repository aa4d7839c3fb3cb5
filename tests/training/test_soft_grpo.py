"""Soft-GRPO by hand, by enumeration, and against TRL; names carry the paper's equations."""

import copy
import math

import pytest
import torch

from r4t.errors import InputError
from r4t.training.soft_grpo import (
    NORMALIZATIONS,
    SoftGRPO,
    TokenCounts,
    flat_groups,
    group_advantage,
)


def test_eq6_advantage_by_hand():
    # Mean 2, deviation (n - 1) of (1, 2, 3) is 1.
    advantages = group_advantage(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]), epsilon=0.0)
    assert advantages[0].tolist() == [-1.0, 0.0, 1.0]
    assert group_advantage(torch.tensor([[5.0, 5.0, 5.0]])).tolist() == [[0.0, 0.0, 0.0]]
    scaled = group_advantage(torch.tensor([[1.0, 2.0, 3.0]]), epsilon=1.0)
    assert scaled.tolist() == [[-0.5, 0.0, 0.5]]


def test_eq6_without_the_deviation_by_hand():
    # Means 2 and, of the two scored, 6; the deviation of the first, 1, is left alone.
    rewards = torch.tensor([[1.0, 2.0, 3.0], [5.0, torch.nan, 7.0]])
    expected = [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    assert group_advantage(rewards, scale=False).tolist() == expected
    # With it, the second row is divided by √(2 / 1).
    assert group_advantage(rewards, epsilon=0.0)[1, 2].item() == pytest.approx(0.5**0.5)
    assert SoftGRPO(scale_rewards=False).advantages(rewards).tolist() == expected
    assert torch.equal(SoftGRPO().advantages(rewards), group_advantage(rewards))


def test_a_group_of_equal_rewards_is_flat_and_its_advantage_is_0():
    nan = torch.nan
    rewards = torch.tensor(
        [[0.7, 0.7, 0.7], [0.7, 0.7, nan], [0.7, nan, nan], [nan, nan, nan], [0.0, 0.0, 0.0],
         [0.7, 0.7, 0.7 + 1e-7], [0.7, 0.7, 0.7 + 1e-5], [-0.7, -0.7, 0.7]]
    )  # fmt: skip
    flat = flat_groups(rewards)
    assert flat.tolist() == [True] * 6 + [False] * 2
    for scale in (True, False):
        advantages = group_advantage(rewards, epsilon=0.0, scale=scale)
        assert (advantages[flat] == 0).all()
        assert (advantages[~flat] != 0).all()


def test_what_is_left_out_of_the_loss():
    rewards = torch.tensor([[1.0, 2.0, torch.nan], [3.0, 3.0, 3.0]])
    truncated = torch.tensor([[True, False, False], [False, True, False]])

    def included(**choices):
        return SoftGRPO(**choices).takes_part(rewards, truncated).int().tolist()

    assert included() == [[1, 1, 0], [1, 1, 1]]
    assert included(mask_truncated=True) == [[0, 1, 0], [1, 0, 1]]
    assert included(skip_flat_groups=True) == [[1, 1, 0], [0, 0, 0]]
    assert included(skip_flat_groups=True, mask_truncated=True) == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "ratio, advantage, surrogate",
    [
        (1.1, 2.0, 2.2),  # inside the clip
        (1.5, 2.0, 2.4),  # above it, good: held at 1.2
        (1.5, -2.0, -3.0),  # above it, bad: not held
        (0.5, 2.0, 1.0),  # below it, good: not held
        (0.5, -2.0, -1.6),  # below it, bad: held at 0.8
    ],
)
def test_eq7_eq8_token_loss_by_hand(ratio, advantage, surrogate):
    old, new = math.log(0.4), math.log(0.4 * ratio)
    loss = SoftGRPO(clip=0.2, kl_new_old=0.05, kl_old_new=0.07)
    token = loss.per_token(torch.tensor([[new]]), torch.tensor([[old]]), torch.tensor([advantage]))
    expected = -surrogate + 0.05 * ratio * (new - old) + 0.07 * -new
    assert token.item() == pytest.approx(expected, abs=1e-6)


def expected_gradient(loss: SoftGRPO, logits: torch.Tensor, old_logits: torch.Tensor):
    """Gradient of the loss in expectation over tokens from the old policy, exactly."""
    logits = logits.clone().requires_grad_()
    log_probs, old = logits.log_softmax(-1), old_logits.log_softmax(-1)
    terms = loss.per_token(log_probs.unsqueeze(1), old.unsqueeze(1), torch.zeros(len(logits)))
    (old.exp() * terms.squeeze(1)).sum().backward()
    return logits.grad


def kl_gradient(logits: torch.Tensor, old_logits: torch.Tensor, new_first: bool):
    logits = logits.clone().requires_grad_()
    new, old = logits.log_softmax(-1), old_logits.log_softmax(-1)
    divergence = (new.exp() * (new - old)) if new_first else (old.exp() * (old - new))
    divergence.sum().backward()
    return logits.grad


def test_eq8_each_kl_term_has_the_gradient_of_its_divergence():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, generator=generator, dtype=torch.float64)
    old = torch.randn(6, generator=generator, dtype=torch.float64)
    gradient = expected_gradient(SoftGRPO(kl_new_old=1.0, kl_old_new=0.0), logits, old)
    torch.testing.assert_close(gradient, kl_gradient(logits, old, new_first=True))
    gradient = expected_gradient(SoftGRPO(kl_new_old=0.0, kl_old_new=1.0), logits, old)
    torch.testing.assert_close(gradient, kl_gradient(logits, old, new_first=False))


def test_at_ratio_one_equal_kl_terms_cancel_token_by_token():
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits.requires_grad_()
    chosen = logits.log_softmax(-1)[:, :1]
    loss = SoftGRPO(kl_new_old=0.05, kl_old_new=0.05)
    loss.per_token(chosen, chosen.detach(), torch.zeros(4)).sum().backward()
    assert logits.grad.abs().max() < 1e-15


def test_each_normalization_by_hand():
    # Three completions of 3, 1 and (it left the loss) 0 tokens; another rank has 4 more.
    counts = TokenCounts(torch.tensor([3, 1, 0]), tokens=torch.tensor(8), ranks=2, limit=5)
    expected = {
        "grpo": [1 / 9, 1 / 3, 1 / 3],  # 1 / (3 · |o|); the last has no token to weigh
        "bnpo": [1 / 4] * 3,
        "dr_grpo": [1 / 15] * 3,  # 1 / (3 · 5)
        "dapo": [2 / 8] * 3,
    }
    assert expected.keys() == NORMALIZATIONS.keys()
    for name, weights in expected.items():
        assert SoftGRPO(normalization=name).weights(counts).tolist() == pytest.approx(weights)
    nothing = TokenCounts(torch.tensor([0, 0]), tokens=torch.tensor(0), ranks=1, limit=5)
    for name in NORMALIZATIONS:
        assert SoftGRPO(normalization=name).weights(nothing).isfinite().all()


def uneven_rollout(rows=6, limit=5):
    """Random log-probabilities (float64), advantages and a mask of 5, 1, 2, 4, 0 and 3 tokens."""
    generator = torch.Generator().manual_seed(2)
    draw = {"generator": generator, "dtype": torch.float64}
    old = -torch.rand(rows, limit, **draw) - 0.1
    new = old + 0.4 * torch.randn(rows, limit, **draw)
    lengths = torch.tensor([5, 1, 2, 4, 0, 3])
    mask = (torch.arange(limit) < lengths.unsqueeze(1)).long()
    return new, old, torch.randn(rows, **draw), mask


def gradient_in_parts(loss, parts, tokens=None, ranks=1):
    """Gradient with respect to log π_θ, accumulated over slices on one rank."""
    new, old, advantages, mask = uneven_rollout()
    rank = slice(parts[0].start, parts[-1].stop)
    lengths = mask[rank].sum(1)
    counts = TokenCounts(lengths, lengths.sum() if tokens is None else tokens, ranks, mask.shape[1])
    weights = torch.zeros(len(mask))
    weights[rank] = loss.weights(counts)
    new.requires_grad_()
    value = 0.0
    for part in parts:
        one = loss(new[part], old[part], advantages[part], mask[part], weights[part])
        one.backward()
        value += one.item()
    return value, new.grad


@pytest.mark.parametrize("name", sorted(NORMALIZATIONS))
def test_no_normalization_depends_on_the_micro_batch(name):
    loss = SoftGRPO(normalization=name)
    value, whole = gradient_in_parts(loss, [slice(0, 6)])
    assert whole.abs().max() > 1e-2
    for size in (1, 2, 4):
        parts = [slice(start, min(start + size, 6)) for start in range(0, 6, size)]
        total, gradient = gradient_in_parts(loss, parts)
        assert total == pytest.approx(value, abs=1e-12)
        assert torch.equal(gradient, whole)


@pytest.mark.parametrize("name", sorted(NORMALIZATIONS))
def test_ranks_add_up_to_one_process(name):
    """8 tokens on one rank, 7 on the other, whose gradients are averaged."""
    loss = SoftGRPO(normalization=name)
    value, whole = gradient_in_parts(loss, [slice(0, 6)])
    ranks = [
        gradient_in_parts(loss, [part], tokens=torch.tensor(15), ranks=2)
        for part in (slice(0, 3), slice(3, 6))
    ]
    gradient = (ranks[0][1] + ranks[1][1]) / 2
    if name == "bnpo":  # a token weighs 1 / (2 · 8) on one and 1 / (2 · 7) on the other, not 1 / 15
        scale = torch.tensor([15 / 16] * 3 + [15 / 14] * 3).unsqueeze(1)
        assert torch.allclose(gradient, scale * whole, rtol=1e-6, atol=0)
    else:
        assert torch.allclose(gradient, whole, rtol=1e-6, atol=0)
        assert (ranks[0][0] + ranks[1][0]) / 2 == pytest.approx(value, abs=1e-6)


def test_masked_tokens_may_hold_anything():
    new, old, advantages, mask = uneven_rollout()
    wild = torch.where(mask > 0, new, 800.0)
    weights = torch.ones(len(mask))
    results = []
    for log_probs in (new, wild):
        log_probs = log_probs.clone().requires_grad_()
        loss = SoftGRPO()(log_probs, old, advantages, mask, weights)
        loss.backward()
        results.append((loss.item(), log_probs.grad))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_impossible_settings_are_refused():
    with pytest.raises(
        InputError, match=r"among \['bnpo', 'dapo', 'dr_grpo', 'grpo'\], but found 'gropo'"
    ):
        SoftGRPO(normalization="gropo")
    with pytest.raises(InputError, match="'dr-grpo'. Choose one of them. Did you mean 'dr_grpo'?"):
        SoftGRPO(normalization="dr-grpo")
    with pytest.raises(InputError, match="clip above 0, but found 0.0. Use 0.2"):
        SoftGRPO(clip=0.0)
    with pytest.raises(InputError, match="kl_old_new of at least 0, but found -0.1. Use 0.05"):
        SoftGRPO(kl_old_new=-0.1)
    with pytest.raises(InputError, match="kl_new_old of at least 0, but found nan"):
        SoftGRPO(kl_new_old=math.nan)


LIMIT = 8


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """TRL's trainer, our model with the same weights, and a batch whose policies differ."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    from r4t.fanout.formats import Expand
    from r4t.fanout.language_model import TinyQwen3
    from r4t.fanout.model import FanoutModel

    texts = ["red linen shirt", "blue wool coat", "green silk dress"]
    lm, tokenizer = TinyQwen3(width=32, layers=2, vocabulary=300).build(texts, None)
    model = FanoutModel(lm, tokenizer, Expand(set_size=1), max_new_tokens=LIMIT)
    fanouts = model.sample(["red linen", "blue"], seeds=[0, 1], group_size=2, temperature=0.7)
    fanouts.completion_mask[:] = torch.arange(LIMIT) < torch.tensor([[8], [3], [5], [1]])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        old = model.log_probs(fanouts, 0.7)
    old = old + 0.4 * torch.randn(old.shape, generator=generator)
    config = trl.GRPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")), temperature=0.7, beta=0.0, epsilon=0.2,
        bf16=False, use_cpu=True, gradient_checkpointing=False, report_to="none",
        per_device_train_batch_size=4, num_generations=2, max_completion_length=LIMIT,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=copy.deepcopy(lm),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["red"] * 4}),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    return trainer, model, fanouts, old


@pytest.mark.parametrize("left_out", [[], [2]], ids=["all", "one left the loss"])
@pytest.mark.parametrize("name", sorted(NORMALIZATIONS))
def test_eq8_without_kl_equals_trl(peer, name, left_out):
    """TRL's own loss and gradient on the same batch, with different policies, at beta = 0."""
    trainer, model, fanouts, old = peer
    advantages = torch.tensor([1.0, -1.0, 0.5, -2.0])
    mask = fanouts.completion_mask.clone()
    mask[left_out] = 0
    log_probs = model.log_probs(fanouts, 0.7)
    ratio = (log_probs - old).exp().detach()
    for side in (ratio > 1.2, ratio < 0.8, (ratio > 0.8) & (ratio < 1.2)):
        for sign in (1, -1):  # each case of the clip is there, for good and for bad
            assert (side & (mask > 0) & (sign * advantages > 0).unsqueeze(1)).any()
    trainer.loss_type = name
    trainer.model.zero_grad()
    inputs = {
        "prompt_ids": fanouts.prompt_ids,
        "prompt_mask": fanouts.prompt_mask,
        "completion_ids": fanouts.completion_ids,
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old,
        "num_items_in_batch": mask.sum(),
    }
    theirs = trainer._compute_loss(trainer.model, inputs)
    theirs.backward()
    loss = SoftGRPO(kl_new_old=0.0, kl_old_new=0.0, normalization=name)
    counts = TokenCounts(mask.sum(1), tokens=mask.sum(), ranks=1, limit=LIMIT)
    model.zero_grad()
    ours = loss(log_probs, old, advantages, mask, loss.weights(counts))
    ours.backward()
    assert abs(theirs.item()) > 1e-3
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    peers = dict(trainer.model.named_parameters())
    for key, parameter in model.lm.named_parameters():
        torch.testing.assert_close(parameter.grad, peers[key].grad, atol=1e-6, rtol=1e-4)
