"""What a tokenizer or a model's context does not allow is refused before any generation."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from r4t.errors import InputError
from r4t.fanout.checks import check_list, check_prompts, end_ids, short_lists, shortest_list
from r4t.fanout.formats import Expand, Full, JsonList
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel

TEXTS = ["red linen shirt", "blue wool coat", "green silk dress"] * 3
CHAT = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>{% endif %}"
)


def build(**arguments):
    return TinyQwen3(width=32, layers=1, vocabulary=400, **arguments).build(TEXTS, None)


@pytest.fixture
def silent(monkeypatch):
    """A model of 24 tokens that fails the test if it generates or goes forward."""
    lm, tokenizer = build(max_length=24)

    def never(*_, **__):
        raise AssertionError("ran")

    monkeypatch.setattr(lm, "generate", never)
    monkeypatch.setattr(lm, "forward", never)
    return lm, tokenizer


def length(tokenizer, text):
    return len(tokenizer(text)["input_ids"])


def test_a_prompt_longer_than_the_context_is_refused(silent):
    model = FanoutModel(*silent, Expand(set_size=2), 10)
    long = "red linen shirt " * 8
    tokens = length(model.tokenizer, f"{long}\n")
    assert tokens > 24
    message = f"model's 24 tokens, but found {tokens} of the prompt for '{long}' and 10 of max_new"
    with pytest.raises(InputError, match=message) as caught:
        model.sample(["red", long], [0, 1])
    assert "\n" not in str(caught.value)


def test_a_prompt_that_leaves_no_room_is_refused(silent):
    lm, tokenizer = silent
    query = "red linen shirt"
    used = length(tokenizer, f"{query}\n")
    with pytest.raises(
        InputError, match=f"found {used} of the prompt for '{query}' and {25 - used}"
    ):
        FanoutModel(lm, tokenizer, Expand(set_size=2), 25 - used).sample(["red", query], [0, 1])
    model = FanoutModel(lm, tokenizer, Expand(set_size=2), 24 - used)
    with pytest.raises(AssertionError, match="ran"):  # it fits to the token
        model.sample(["red", query], [0, 1])
    with pytest.raises(
        InputError, match=r"of the prompt for 'red' and \d+ of the fan-out to imitate"
    ):
        model.teach(["red"], [["linen shirt"] * 20])


def test_a_template_alone_may_be_too_long(silent):
    with pytest.raises(
        InputError, match=r"24 tokens, but found \d+ of the prompt without a query and"
    ):
        FanoutModel(*silent, Full(JsonList()), 4)
    with pytest.raises(InputError, match="found 1 of the prompt without a query and 24 of max_new"):
        FanoutModel(*silent, Expand(), 24)  # the line break
    with pytest.raises(InputError, match="max_new_tokens.*at least 1.*found 0"):
        FanoutModel(*silent, Expand(), 0)


def test_of_many_queries_the_longest_must_fit(silent):
    model = FanoutModel(*silent, Expand(set_size=2), 10)
    texts = ["red"] * 300 + ["red linen shirt " * 8] + ["red linen shirt " * 3, "red"]
    tokens = length(model.tokenizer, f"{texts[300]}\n")
    message = f"24 tokens, but found {tokens} of the prompt for '{texts[300]}' and 10 of max_new"
    with pytest.raises(InputError, match=message):
        check_prompts(model, texts)
    check_prompts(model, texts[:300])
    check_prompts(model, [])


def test_a_limit_below_the_shortest_list_is_refused():
    _, tokenizer = build()
    form = Expand(set_size=7)
    assert shortest_list(tokenizer, form) == 14  # a word and a line break, seven times
    check_list(tokenizer, form, 14)
    message = "at least 14, for a list of 7 sub-queries of one token each, but found 13. Raise"
    with pytest.raises(InputError, match=message):
        check_list(tokenizer, form, 13)
    # Pairs from the whole vocabulary make no shorter list than those from a sample of it.
    form = Full(JsonList(), 2)
    least = shortest_list(tokenizer, form)
    assert shortest_list(tokenizer, form, tried=10**6) == least
    assert shortest_list(tokenizer, form, tried=20) >= least
    # The frame and the two words, as the tokenizer writes them.
    assert least == min(
        length(tokenizer, form.list_format.write([word, word]).replace(", ", ","))
        for word in tokenizer.batch_decode([[token] for token in range(3, len(tokenizer))])
        if word.strip().isalpha()
    )


def test_a_tokenizer_without_a_pad_token_pads_with_its_end():
    lm, tokenizer = build()
    plain = FanoutModel(lm, tokenizer, Expand(set_size=2), 12)
    queries, seeds = ["red linen", "blue wool coat in red"], [3, 4]
    before = plain.sample(queries, seeds, 3)
    tokenizer.pad_token = None
    with pytest.warns(UserWarning, match="has no pad token: its end token '<eos>' pads"):
        model = FanoutModel(lm, tokenizer, Expand(set_size=2), 12)
    after = model.sample(queries, seeds, 3)
    # Only the filling differs.
    assert after.texts == before.texts
    assert torch.equal(after.completion_mask, before.completion_mask)
    assert torch.equal(after.prompt_mask, before.prompt_mask)
    kept = before.completion_mask.bool()
    assert torch.equal(after.completion_ids[kept], before.completion_ids[kept])
    log_probs = model.log_probs(after, 0.9)[kept]
    assert torch.allclose(log_probs, plain.log_probs(before, 0.9)[kept], atol=1e-5)


def test_a_tokenizer_without_an_end_token_is_refused():
    lm, tokenizer = build()
    tokenizer.eos_token = None
    with pytest.raises(
        InputError, match="ends a completion, but found no eos_token in 'Tok.*'. Set"
    ):
        FanoutModel(lm, tokenizer, Expand(), 8)


def test_prompts_go_through_a_chat_template_if_there_is_one():
    lm, tokenizer = build()
    form = Full(JsonList(), 3)
    bare = form.prompt("red linen")
    assert FanoutModel(lm, tokenizer, form, 8).prompts(["red linen"]) == [bare]
    tokenizer.chat_template = CHAT
    assert FanoutModel(lm, tokenizer, form, 8).prompts(["red linen"]) == [
        f"[user]{bare}[assistant]"
    ]
    # A template that can suppress a thought is told to if none is wanted.
    form = Full(JsonList(think=False), 3)
    model = FanoutModel(lm, tokenizer, form, 8)
    bare = form.prompt("red linen")
    assert model.prompts(["red linen"]) == [f"[user]{bare}[assistant]<think>\n\n</think>"]
    assert model.opening() == ""
    lines = FanoutModel(lm, tokenizer, Expand(), 8).prompts(["red linen"])
    assert lines == ["[user]red linen\n[assistant]<think>\n\n</think>"]


def test_a_chat_template_that_fails_is_refused():
    lm, tokenizer = build()
    tokenizer.chat_template = "{{ raise_exception('begin with a system message') }}"
    with pytest.raises(
        InputError,
        match="one user message, but found one that fails with 'begin with a system message'",
    ):
        FanoutModel(lm, tokenizer, Expand(), 8)


def test_a_turn_may_end_with_another_token_than_the_text():
    _, tokenizer = build()
    eos = tokenizer.eos_token_id
    word = tokenizer("red")["input_ids"][0]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end_of_turn>"]})
    turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert end_ids(tokenizer, SimpleNamespace(eos_token_id=None)) == [eos]
    assert end_ids(tokenizer, SimpleNamespace(eos_token_id=turn)) == sorted([eos, turn])
    # An id of another tokenizer is a word here, and ends nothing.
    assert end_ids(tokenizer, SimpleNamespace(eos_token_id=[word, turn])) == sorted([eos, turn])


def test_lists_shorter_than_k_are_warned_of_once_after_the_first_rollout():
    lm, tokenizer = build()
    model = FanoutModel(lm, tokenizer, Full(JsonList(), 10), 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.sample(["red linen"], [0])  # a single draw may fall short
        model.sample(["red linen", "wool"], [0, 1], 3)
        model.sample(["red linen", "wool"], [2, 3], 3)
    assert [str(one.message) for one in caught] == [
        "No completion of the first rollout lists 10 sub-queries: the longest of 6 lists 0, and "
        "6 were cut off at 4 tokens. Raise max_new_tokens or lower set_size."
    ]
    assert short_lists([["a", "b"], ["c"]], 2, 1, 8) is None
    assert (
        "lists 1, and 0 were cut off at 8 tokens. Train the model more, or lower set_size"
        in short_lists([["a"], ["c"]], 2, 0, 8)
    )


def test_a_models_own_generation_settings_do_not_change_the_policy():
    lm, tokenizer = build()
    model = FanoutModel(lm, tokenizer, Expand(set_size=3), 12)
    before = model.sample(["red linen"], [5], 4).texts
    lm.generation_config.repetition_penalty = 3.0
    lm.generation_config.no_repeat_ngram_size = 1
    lm.generation_config.top_k = 1
    assert model.sample(["red linen"], [5], 4).texts == before
