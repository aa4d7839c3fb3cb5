"""The policy that learns is the one that sampled, in every precision; and a step moves it."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM

from r4t.errors import InputError
from r4t.fanout import backend
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import Pretrained, TinyQwen3
from r4t.fanout.lora import LoRA
from r4t.fanout.model import FanoutModel
from r4t.fanout.sampling import SeededSampling
from r4t.grpo.policy import check_moves, stuck, without_dropout
from r4t.grpo.training import adamw
from r4t.training.learning_rate import WarmupConstant


@pytest.fixture
def start(tiny):
    """Path inside the run of a saved model with distinct words."""
    lm, tokenizer = TinyQwen3(32, 2, 300).build(tiny.run.searcher().catalog.texts, tiny.run.folder)
    FanoutModel(lm, tokenizer, Expand(set_size=3), 12).save(tiny.run.folder / "start")
    return "start"


def trained(module):
    return torch.cat([w.detach().flatten() for w in module.fanout.parameters() if w.requires_grad])


def watched(monkeypatch, module):
    """Records log-probabilities: of the tokens as they are sampled, and of each pass over them."""
    sampled, passes = [], []

    class Recording(SeededSampling):
        def __call__(self, logits, rows, place):
            tokens = super().__call__(logits, rows, place)
            log_probs = (logits.float() / self.temperature).log_softmax(-1)
            found = torch.zeros(len(self.seeds) * self.group_size)
            found[rows] = log_probs.gather(1, tokens.unsqueeze(1)).squeeze(1)
            sampled.append(found.unsqueeze(1))
            return tokens

    go_through = module._pass

    def recorded(rollout, weights, old):
        results = go_through(rollout, weights, old)
        sampled_tokens = rollout.fanouts.completion_mask.bool()
        passes.append(results[1].masked_fill(~sampled_tokens, 0.0))
        return results

    monkeypatch.setattr(backend, "SeededSampling", Recording)
    monkeypatch.setattr(module, "_pass", recorded)
    return sampled, passes


@pytest.mark.parametrize(
    "dtype, adapters, precision",
    [
        ("float32", False, "32-true"),
        ("float32", False, "bf16-mixed"),
        ("bfloat16", True, "32-true"),
        ("bfloat16", False, "32-true"),
    ],
)
def test_each_precision_learns_the_policy_that_sampled(
    tiny, start, monkeypatch, dtype, adapters, precision
):
    source = Pretrained(start, dtype)
    lm = LoRA(source, rank=4) if adapters else source
    module = tiny.tuner(lm, optimizer=adamw(1e-2), schedule=WarmupConstant(0))
    before = trained(module)
    frozen = {name: weight.clone() for name, weight in module.fanout.state_dict().items()}
    sampled, passes = watched(monkeypatch, module)
    tiny.fit(module=module, rollouts=1, precision=precision)
    first, second = passes
    assert first.dtype == torch.float32
    # The first pass finds what was sampled from, up to rounding; the weights then are others.
    off = (first - torch.cat(sampled, 1).masked_fill(first == 0, 0.0)).abs().max()
    if (dtype, precision) == ("float32", "32-true"):
        assert off < 1e-5
    else:
        assert 1e-5 < off < 1e-2
    assert (second - first).abs().max() > 0.5
    after = trained(module)
    assert after.dtype == (torch.float32 if adapters else getattr(torch, dtype))
    assert (after - before).abs().max() > 5e-3
    if adapters:
        now = module.fanout.state_dict()
        assert all(torch.equal(frozen[name], now[name]) for name in frozen if "lora" not in name)


def test_stuck_weights_are_those_that_a_step_of_adamw_does_not_change():
    torch.manual_seed(0)
    for dtype, rate in ((torch.bfloat16, 5e-5), (torch.float16, 6e-6)):
        weight = torch.nn.Parameter((0.02 * torch.randn(4000)).to(dtype))
        counts = stuck([weight], rate)
        before = weight.detach().clone()
        weight.grad = torch.full_like(weight, -1.0)  # the first step is the rate, up
        torch.optim.AdamW([weight], lr=rate, weight_decay=0.0).step()
        same = (weight == before).sum().item()
        assert 1000 < same < 3000
        assert counts.tolist() == [pytest.approx(same, rel=0.02), 4000]
    assert stuck([torch.ones(3), torch.ones(2).double()], 1e-30).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_rate_that_moves_nothing_is_refused_before_any_rollout(tiny, start, dtype):
    """1e-7 is the paper's rate."""
    message = (
        rf"a learning rate that moves weights trained in {dtype}, but found 1e-07, at which "
        r"(98|100)% of them round back to their values\. Use LoRA"
    )
    module = tiny.tuner(Pretrained(start, dtype), optimizer=adamw(1e-7))
    with pytest.raises(InputError, match=message):
        tiny.fit(module=module)
    assert module.rollout is None


def test_weights_that_the_trainer_rounds_are_checked_too(tiny, start):
    module = tiny.tuner(Pretrained(start), optimizer=adamw(1e-7))
    with pytest.raises(InputError, match="a learning rate that moves weights trained in bfloat16"):
        tiny.fit(module=module, precision="bf16-true")


def test_adapters_and_float32_weights_move_at_any_rate(tiny, start):
    for source in (LoRA(Pretrained(start, "bfloat16"), rank=2), Pretrained(start)):
        module = tiny.tuner(source, optimizer=adamw(1e-7))
        before = trained(module)
        tiny.fit(module=module, rollouts=1)
        assert (trained(module) != before).any()


def test_half_of_the_weights_may_be_stuck():
    weights = [torch.ones(2).bfloat16()]
    check_moves(torch.tensor([1.0, 2.0]), weights, 1e-4)
    with pytest.raises(InputError, match="found 0.0001, at which 67% of them round back"):
        check_moves(torch.tensor([2.0, 3.0]), weights, 1e-4)


@pytest.mark.parametrize(
    "rate, message",
    [
        (0.0, r"finite and above 0, but found 0\.0\. 3e-4 suits"),
        (float("inf"), r"finite and above 0, but found inf\. 3e-4 suits"),
        (-1e-3, r"the optimizer accepts, but found 'Invalid learning rate: -0.001'"),
        (float("nan"), r"the optimizer accepts, but found 'Invalid learning rate: nan'"),
    ],
)
def test_an_impossible_learning_rate_is_refused(tiny, rate, message):
    module = tiny.tuner(optimizer=adamw(rate))
    with pytest.raises(InputError, match=message):
        tiny.fit(module=module)


@pytest.mark.parametrize(
    "model",
    [
        GPT2LMHeadModel(
            GPT2Config(
                vocab_size=20,
                n_embd=8,
                n_layer=1,
                n_head=2,
                embd_pdrop=0.5,
                attn_pdrop=0.5,
                resid_pdrop=0.5,
            )
        ),
        Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=20,
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=4,
                attention_dropout=0.5,
            )
        ),
    ],
    ids=["GPT-2", "Qwen3"],
)
def test_without_dropout_training_mode_is_evaluation_mode(model):
    ids = torch.arange(10).view(1, 10)
    expected = model.eval()(ids).logits
    assert (model.train()(ids).logits - expected).abs().max() > 1e-3
    without_dropout(model)
    assert torch.equal(model.train()(ids).logits, expected)


def test_a_tuner_has_no_dropout(tiny, start):
    module = tiny.tuner(LoRA(Pretrained(start), rank=2, dropout=0.3))
    rates = [part.p for part in module.fanout.modules() if isinstance(part, torch.nn.Dropout)]
    assert rates == [0.0] * 14  # one an adapter
