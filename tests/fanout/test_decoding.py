"""Our loop writes what ``generate`` of transformers writes; rows leave, and what is shared is read once."""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from r4t.fanout import decoding
from r4t.fanout.decoding import Reading, shared_tokens, write

SIZES = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
END, PAD = 1, 0
COMMON = list(range(20, 40))


@pytest.fixture(params=["qwen3", "gpt2", "sliding window"])
def lm(request):
    torch.manual_seed(0)
    if request.param == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4))
    elif request.param == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**SIZES))
    else:
        model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8))
    for weight in model.parameters():  # far enough from 0 that rows differ
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def left(*rows):
    """Rows padded on the left, and their mask."""
    longest = max(map(len, rows))
    ids = torch.tensor([[PAD] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


PROMPTS = left([*COMMON, 5, 6, 7], [*COMMON, 8], [*COMMON, 9, 10])
APART = left([5, 6, 7], [8], [9, 10, 11, 12])


def greedy(logits, rows, place):
    return logits.argmax(-1)


def ends(ids):
    return ids[:, -1] == END


@pytest.mark.parametrize("prompts", [PROMPTS, APART], ids=["shared", "apart"])
def test_the_likeliest_tokens_are_those_of_transformers(lm, prompts):
    bias = torch.zeros(60)
    bias[END] = 2.0  # so that rows end at different places

    def draw(logits, rows, place):
        return (logits + bias).argmax(-1)

    settings = {"do_sample": False, "max_new_tokens": 25, "pad_token_id": PAD, "eos_token_id": END}
    settings["sequence_bias"] = [[[END], 2.0]]
    ids, mask = prompts
    expected = lm.generate(input_ids=ids, attention_mask=mask, **settings)[:, ids.shape[1] :]
    found = write(lm, prompts, 1, 25, draw, ends, PAD)
    assert torch.equal(found, expected)


def test_rows_that_end_leave_and_the_others_go_on(lm, monkeypatch):
    """Row r ends after r + 1 tokens; nobody else notices, and the batch shrinks."""
    sizes = []
    read = Reading.add
    monkeypatch.setattr(
        Reading, "add", lambda self, tokens: (sizes.append(len(tokens)), read(self, tokens))
    )

    def draw(logits, rows, place):
        assert logits.shape[0] == len(rows)
        return torch.where(rows == place, END, logits[:, 2:].argmax(-1) + 2)

    found = write(lm, PROMPTS, 2, 12, draw, ends, PAD)
    monkeypatch.setattr(Reading, "add", read)
    whole = write(lm, PROMPTS, 2, 12, lambda x, *_: x[:, 2:].argmax(-1) + 2, ends, PAD)
    assert found.shape == (6, 6)  # as long as the longest
    for row in range(6):
        assert found[row, row] == END
        assert torch.equal(found[row, :row], whole[row, :row])
        assert (found[row, row + 1 :] == PAD).all()
    assert sizes == [6, 4, 3, 2, 1]  # a quarter of a batch leaves together


def test_a_model_without_a_cache_writes_the_same(lm, monkeypatch):
    cached = write(lm, PROMPTS, 2, 10, greedy, ends, PAD)
    monkeypatch.setattr(lm, "_supports_default_dynamic_cache", lambda: False)
    assert torch.equal(write(lm, PROMPTS, 2, 10, greedy, ends, PAD), cached)


def test_what_rows_share_is_counted_without_their_last_token(lm):
    window = getattr(lm.config, "sliding_window", None)
    assert shared_tokens(lm, *PROMPTS, 30) == (0 if window else 20)
    assert shared_tokens(lm, *left([*COMMON], [*COMMON]), 30) == (0 if window else 19)
    assert shared_tokens(lm, *APART, 30) == 0
    assert shared_tokens(lm, *left(COMMON), 30) == 0  # nobody to share with
    short = left(*([*COMMON[: decoding.LEAST - 1], last] for last in (3, 4)))
    assert shared_tokens(lm, *short, 30) == 0


def test_logits_and_gradients_are_those_of_one_pass_over_all_tokens(lm):
    """Reading what is shared once changes nothing but the time, in training too."""
    ids, mask = left(*([*COMMON, *more] for more in ([5, 6, 7, 8, 9], [8, 3, 4], [9, 10, 2, 2])))
    shared = 20  # also where a window slides: each row has all of it in sight, or none
    if getattr(lm.config, "sliding_window", None):
        lm.config.sliding_window = None
    places = (mask.cumsum(1) - 1).clamp(min=0)
    whole = lm(input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=3).logits
    wanted = torch.randn_like(whole)
    (whole * wanted).sum().backward()
    gradients = [weight.grad.clone() for weight in lm.parameters()]
    lm.zero_grad()
    once = Reading(lm, ids, mask, True, shared, keep=3).last
    (once * wanted).sum().backward()
    assert torch.allclose(once, whole, atol=1e-5)
    for weight, gradient in zip(lm.parameters(), gradients, strict=True):
        assert torch.allclose(weight.grad, gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["mpt", "llama4", "lfm2"])
def test_models_whose_attention_counts_columns_or_keeps_a_state_share_nothing(kind):
    """Where sharing would be wrong there is none, and what is written is as without a cache."""
    torch.manual_seed(0)
    if kind == "mpt":  # ALiBi on columns
        model = MptForCausalLM(MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=60))
    elif kind == "llama4":
        config = Llama4TextConfig(**SIZES, attention_chunk_size=8, num_local_experts=2)
        config.intermediate_size_mlp = 48
        model = Llama4ForCausalLM(config)
    else:  # convolutions keep a state
        config = Lfm2Config(**SIZES, full_attn_idxs=[1], max_position_embeddings=128)
        model = Lfm2ForCausalLM(config)
        assert not decoding.caches(model)
    assert shared_tokens(model.eval(), *PROMPTS, 30) == 0


def test_a_layer_of_linear_attention_is_read_without_a_cache():
    torch.manual_seed(0)
    model = Lfm2ForCausalLM(Lfm2Config(**SIZES, full_attn_idxs=[1], max_position_embeddings=128))
    prompts = left([5, 6, 7], [8, 9, 10])
    expected = model.eval().generate(
        input_ids=prompts[0],
        attention_mask=prompts[1],
        do_sample=False,
        max_new_tokens=6,
        pad_token_id=PAD,
        eos_token_id=END,
    )[:, 3:]
    found = write(model, prompts, 1, 6, greedy, ends, PAD)
    assert torch.equal(found, expected[:, : found.shape[1]])
