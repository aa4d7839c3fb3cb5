"""Rows of a batch end one by one, each where its own list is complete."""

import pytest
import torch
from transformers import LogitsProcessor

from r4t.fanout import backend
from r4t.fanout.backend import EndTokens, ListComplete
from r4t.fanout.formats import Expand, Full, JsonList
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel

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

        class Scripted(LogitsProcessor):
            def __init__(self, *_):
                self.step = 0

            def __call__(self, input_ids, scores):
                logits = torch.full_like(scores, -1e9)
                for row, script in enumerate(scripts):
                    logits[row, script[self.step] if self.step < len(script) else more] = 0
                self.step += 1
                return logits

        monkeypatch.setattr(backend, "SeededSampling", Scripted)
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
    assert ListComplete(ends, 0)(rows, None).tolist() == [True, False]
    assert ListComplete(ends, 0, "<think>")(rows, None).tolist() == [False, False]
