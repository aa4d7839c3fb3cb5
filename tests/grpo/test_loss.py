"""Soft-GRPO by hand, by enumeration, and against TRL; names carry the paper's equations."""

import copy
import math

import pytest
import torch

from r4t.grpo.loss import SoftGRPO, group_advantage, policy_statistics


def test_eq6_advantage_by_hand():
    # Mean 2, deviation (n - 1) of (1, 2, 3) is 1.
    found = group_advantage(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]), epsilon=0.0)
    assert found[0].tolist() == [-1.0, 0.0, 1.0]
    assert group_advantage(torch.tensor([[5.0, 5.0, 5.0]])).tolist() == [[0.0, 0.0, 0.0]]
    scaled = group_advantage(torch.tensor([[1.0, 2.0, 3.0]]), epsilon=1.0)
    assert scaled.tolist() == [[-0.5, 0.0, 0.5]]


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
    found = loss.per_token(torch.tensor([[new]]), torch.tensor([[old]]), torch.tensor([advantage]))
    expected = -surrogate + 0.05 * ratio * (new - old) + 0.07 * -new
    assert found.item() == pytest.approx(expected, abs=1e-6)


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
    found = expected_gradient(SoftGRPO(kl_new_old=1.0, kl_old_new=0.0), logits, old)
    torch.testing.assert_close(found, kl_gradient(logits, old, new_first=True))
    found = expected_gradient(SoftGRPO(kl_new_old=0.0, kl_old_new=1.0), logits, old)
    torch.testing.assert_close(found, kl_gradient(logits, old, new_first=False))


def test_at_ratio_one_equal_kl_terms_cancel_token_by_token():
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits.requires_grad_()
    chosen = logits.log_softmax(-1)[:, :1]
    loss = SoftGRPO(kl_new_old=0.05, kl_old_new=0.05)
    loss.per_token(chosen, chosen.detach(), torch.zeros(4)).sum().backward()
    assert logits.grad.abs().max() < 1e-15


def test_policy_statistics_by_hand():
    old = torch.tensor([[0.5, 0.5, 0.5]]).log()
    new = torch.tensor([[0.5, 0.75, 0.1]]).log()
    mask = torch.tensor([[1, 1, 0]])
    found = policy_statistics(new, old, mask, clip=0.2)
    # Ratios 1 and 1.5: k3 of KL(new, old) = 1.5 ln 1.5 - 0.5; of KL(old, new) = 0.5 - ln 1.5.
    assert found["kl_new_old"].item() == pytest.approx((1.5 * math.log(1.5) - 0.5) / 2, abs=1e-6)
    assert found["kl_old_new"].item() == pytest.approx((0.5 - math.log(1.5)) / 2, abs=1e-6)
    assert found["clipped"].item() == 0.5


def test_eq8_without_kl_equals_trl(tmp_path, monkeypatch):
    """TRL's own loss and gradient on the same batch, old and new policy apart, at beta = 0."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    from r4t.fanout.formats import Expand
    from r4t.fanout.language_model import TinyQwen3
    from r4t.fanout.model import FanoutModel

    texts = ["red linen shirt", "blue wool coat", "green silk dress"]
    lm, tokenizer = TinyQwen3(width=32, layers=2, vocabulary=300).build(texts, None)
    model = FanoutModel(lm, tokenizer, Expand(), max_new_tokens=8)
    fanouts = model.sample(["red linen", "blue"], seeds=[0, 1], group_size=2, temperature=0.7)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        old = model.log_probs(fanouts, 0.7)
    # The policies differ on both sides of the clip; advantages have both signs.
    old = old + 0.4 * torch.randn(old.shape, generator=generator)
    advantages = torch.tensor([1.0, -1.0, 0.5, -2.0])

    config = trl.GRPOConfig(
        output_dir=str(tmp_path), loss_type="bnpo", temperature=0.7, beta=0.0, epsilon=0.2,
        bf16=False, use_cpu=True, gradient_checkpointing=False, report_to="none",
        per_device_train_batch_size=4, num_generations=2,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=copy.deepcopy(lm),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["red"] * 4}),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    peer = trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": fanouts.prompt_ids,
            "prompt_mask": fanouts.prompt_mask,
            "completion_ids": fanouts.completion_ids,
            "completion_mask": fanouts.completion_mask,
            "advantages": advantages,
            "old_per_token_logps": old,
            "num_items_in_batch": fanouts.completion_mask.sum(),
        },
    )
    peer.backward()
    loss = SoftGRPO(kl_new_old=0.0, kl_old_new=0.0)
    own = loss(model.log_probs(fanouts, 0.7), old, advantages, fanouts.completion_mask)
    own = own / fanouts.completion_mask.sum()
    own.backward()
    assert own.item() == pytest.approx(peer.item(), abs=1e-6)
    peers = dict(trainer.model.named_parameters())
    for name, parameter in lm.named_parameters():
        torch.testing.assert_close(parameter.grad, peers[name].grad, atol=1e-5, rtol=1e-4)
