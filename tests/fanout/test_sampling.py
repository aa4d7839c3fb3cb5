"""Tokens follow the softmax; rows of a batch end one by one, each where its own list is complete."""

import pytest
import torch

from r4t.fanout import backend
from r4t.fanout.endings import EndTokens
from r4t.fanout.formats import Expand, Full, JsonList
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.fanout.sampling import SeededSampling, draw

TEXTS = ["red linen shirt", "blue wool coat", "green silk dress"] * 3
# A template that begins a thought for the model, as those of some reasoning models do.
BEGUN = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n"


@pytest.fixture
def parts():
    return TinyQwen3(width=32, layers=1, vocabulary=400).build(TEXTS, None)


@pytest.fixture
def say(monkeypatch):
    """Make a model write given texts, then 'x' for ever; <eos> in a text is that token."""

    def sample(model, texts):
        def ids(text):
            return model.tokenizer(text, add_special_tokens=False)["input_ids"]

        scripts = [ids(text) for text in texts]
        more = ids("x")[0]

        def scripted(*_):
            def draw(logits, rows, place):
                written = [scripts[row] for row in rows.tolist()]
                return torch.tensor([s[place] if place < len(s) else more for s in written])

            return draw

        monkeypatch.setattr(backend, "SeededSampling", scripted)
        fanouts = model.sample(["linen"] * len(texts), seeds=[0] * len(texts))
        return fanouts, [len(script) for script in scripts]

    return sample


LISTS = [
    '<queries>["a"]</queries>',
    '<think>in <queries>["b"]</queries> then</think><queries>["red linen", "wool"]</queries>',
    '<queries>["c", "d"],]</queries>',
    '<queries>["cut off", "he',
    "I cannot.<eos>",
]


@pytest.mark.parametrize("pads_with_end", [False, True])
def test_each_list_of_a_batch_ends_at_its_own_closing_tag(parts, say, pads_with_end):
    lm, tokenizer = parts
    if pads_with_end:
        tokenizer.pad_token = tokenizer.eos_token
    model = FanoutModel(lm, tokenizer, Full(JsonList(), 2), 120)
    fanouts, lengths = say(model, LISTS)
    # The fourth continues with 'x' to the limit; the others end with their scripts.
    lengths[3] = 120
    assert fanouts.completion_mask.sum(1).tolist() == lengths
    for mask, length in zip(fanouts.completion_mask.tolist(), lengths):
        assert mask == [1] * length + [0] * (120 - length)
    assert fanouts.texts[:3] == [f" {text}" for text in LISTS[:3]]  # this tokenizer's space
    assert fanouts.subqueries == [["a"], ["red linen", "wool"], ["c", "d"], ["cut off"], []]
    assert model.truncated(fanouts).tolist() == [False, False, False, True, False]


def test_a_thought_that_the_template_begins_is_not_read(parts, say):
    lm, tokenizer = parts
    tokenizer.chat_template = BEGUN
    model = FanoutModel(lm, tokenizer, Full(JsonList(), 2), 120)
    assert model.opening() == "<think>"
    script = 'inside <queries>["no"]</queries> then</think><queries>["a"]</queries>'
    fanouts, (length,) = say(model, [script])
    assert fanouts.completion_mask.sum() == length
    assert fanouts.texts == [f"<think> {script}"]
    assert fanouts.subqueries == [["a"]]
    # A fan-out to imitate ends that thought at once.
    taught = model.teach(["beach"], [["linen", "wool"]])
    answer = '<queries>["beach linen", "beach wool"]</queries>'
    assert taught.texts == [f"<think>\n</think>\n\n{answer}"]
    assert taught.subqueries == [["beach linen", "beach wool"]]
    written = tokenizer.decode(taught.completion_ids[0], skip_special_tokens=True)
    assert written.replace(" ", "") == f"\n</think>\n\n{answer}".replace(" ", "")
    assert not model.truncated(taught).any()


def test_lines_end_after_k_of_them(parts, say):
    model = FanoutModel(*parts, Expand(set_size=2), 20)
    fanouts, lengths = say(model, ["red\nwool\n", "red\n"])
    assert fanouts.completion_mask.sum(1).tolist() == [lengths[0], 20]
    assert fanouts.subqueries[0] == ["linen red", "linen wool"]


def test_only_tokens_that_can_end_a_list_are_checked(parts):
    _, tokenizer = parts
    ends = EndTokens(tokenizer, Full(JsonList(), 2), size=500)
    tokens = ends.table.nonzero().flatten().tolist()
    assert all(">" in tokenizer.decode([token]) for token in tokens)
    assert tokenizer(">", add_special_tokens=False)["input_ids"][-1] in tokens
    assert not ends.table[tokenizer.all_special_ids].any()  # <eos> ends with the same character
    assert len(ends.table) == 500  # a model may have more rows than its tokenizer has tokens
    done = tokenizer('"a"]</queries>', add_special_tokens=False)["input_ids"]
    rows = torch.tensor([done, [*done[1:], done[0]]])
    assert ends.completed(rows, "").tolist() == [True, False]
    assert ends.completed(rows, "<think>").tolist() == [False, False]


def test_a_draw_is_the_first_token_whose_running_sum_passes_the_number():
    """Against a loop over the tokens, in a vocabulary of several blocks."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(200, 700)
    logits[:, ::3] = -torch.inf  # never drawn
    uniforms = torch.rand(200, dtype=torch.float64)
    uniforms[:4] = torch.tensor([0.0, 0.5, 1 - 2**-53, 1 - 2**-20])
    found = draw(logits, uniforms).tolist()
    for row, uniform, token in zip(logits, uniforms.tolist(), found):
        assert token % 3
        shares = row.double().softmax(0).tolist()
        # float32 rounds the weights of softmax and draw differently
        assert sum(shares[:token]) - 1e-6 <= uniform <= sum(shares[: token + 1]) + 1e-6


def test_draws_are_distributed_as_the_softmax():
    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5, -torch.inf]])
    sampling = SeededSampling([3], 200, 0.7, length=100)
    rows = torch.arange(200)
    tokens = torch.cat([sampling(logits.expand(200, 5), rows, place) for place in range(100)])
    counts = torch.bincount(tokens, minlength=5)
    expected = 20_000 * (logits[0] / 0.7).softmax(0)
    chi = ((counts - expected)[:4] ** 2 / expected[:4]).sum()
    assert counts[4] == 0
    assert chi < 16.3  # the 99.9 % quantile of three degrees of freedom


def test_a_draw_depends_on_seed_completion_and_place_alone():
    logits = torch.randn(6, 50)
    both = SeededSampling([5, 9], 3, 1.0, length=4)
    alone = SeededSampling([9], 3, 1.0, length=4)
    tokens = both(logits, torch.arange(6), 2)
    assert torch.equal(alone(logits[3:], torch.arange(3), 2), tokens[3:])
    assert torch.equal(both(logits[[4, 1]], torch.tensor([4, 1]), 2), tokens[[4, 1]])
    assert both.uniforms.flatten().unique().numel() == 2 * 3 * 4
