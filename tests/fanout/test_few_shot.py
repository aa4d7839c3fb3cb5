"""The few-shot prompt: what it looks like, what is read back, which examples it takes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from r4t.errors import InputError
from r4t.fanout.few_shot import FewShot
from r4t.fanout.formats import Full, load_format
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel

TOAST, SOUP = {"toast": ["bread", "butter"]}, {"soup": ["leek", "salt"]}
ENTRY = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)
ENTRIES = st.lists(ENTRY.filter(lambda text: ";" not in text), max_size=12)


@given(ENTRIES)
def test_a_line_reads_what_it_writes(entries):
    lists = FewShot()
    assert lists.read(lists.write(entries)) == entries
    assert lists.read(lists.write(entries).rstrip("\n") + "\nQuery: other") == entries
    assert lists.complete(lists.write(entries), len(entries))


@given(st.text())
def test_any_text_is_read_as_clean_entries_of_one_line(completion):
    entries = FewShot().read(completion)
    assert all(entry == entry.strip() and entry and ";" not in entry for entry in entries)
    assert FewShot().read(FewShot().write(entries)) == [" ".join(e.split()) for e in entries]


def test_a_list_is_complete_after_its_line_or_the_kth_separator():
    form = Full(FewShot(), set_size=2)
    assert [form.complete(text) for text in (" a; b", " a; b;", " a\n", "\n", "")] == [
        *(False, True, True, True, False)
    ]
    assert form.parse("x", " a; b; c\n") == ["a", "b"]


def test_an_example_of_the_query_itself_is_left_out():
    lists = FewShot("Dish", "Ingredients", examples=TOAST | SOUP)
    assert lists.prompt("cake", 2, "full") == (
        "Dish: toast\nIngredients: bread; butter\n\nDish: soup\nIngredients: leek; salt\n\n"
        "Dish: cake\nIngredients:"
    )
    assert lists.prompt(" Toast! ", 2, "full") == (
        "Dish: soup\nIngredients: leek; salt\n\nDish: Toast!\nIngredients:"
    )


def test_what_would_break_the_line_becomes_a_space():
    assert FewShot().write(["salt;\npepper", "egg"]) == " salt pepper; egg\n"
    assert FewShot().prompt("red\nhat", 2, "full") == "Query: red hat\nSearches:"


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"separator": " "},
            r"a separator of marks that are no letters, on one line, .* found ' '",
        ),
        ({"separator": "and"}, r"marks that are no letters, .* found 'and'"),
        ({"query_label": "a\nb"}, r"a query_label of words, .*found 'a\\nb'\. Correct query_label"),
        (
            {"list_label": "a "},
            r"a list_label of words, on one line, with no space around, .* 'a '",
        ),
        ({"drawn": -1}, "drawn.*at least 0"),
        ({"examples": {"x": ["a;b"]}}, r"that lack the separator ';' .*found \['a;b'\] for 'x'"),
        ({"examples": {"x": []}}, r"examples with entries .* found \[\] for 'x'"),
        ({"examples": {"x": ["a", " "]}}, r"are not blank, but found \['a', ' '\] for 'x'"),
    ],
)
def test_what_cannot_be_a_prompt_is_refused(settings, message):
    with pytest.raises(InputError, match=message) as caught:
        FewShot(**settings)
    assert "\n" not in str(caught.value)


def test_examples_are_drawn_from_sets_of_k_that_can_be_read_back():
    sets = [
        ("short", ["a"]),
        ("TOAST", ["x", "y"]),  # already an example
        ("cut", ["a;b", "c"]),
        ("empty", []),
        ("Cake!", ["soap", "wax"]),  # the same words as the next one, which counts
        ("cake", ["flour", "egg", "milk"]),
        ("salad", ["leaves", "oil"]),
    ]
    lists = FewShot(examples=TOAST, drawn=2, seed=1)
    lists.draw(sets, 2)
    assert next(iter(lists.examples)) == "toast"
    assert dict(lists.examples) == TOAST | {"cake": ["flour", "egg"], "salad": ["leaves", "oil"]}
    assert lists.drawn == 0
    orders = set()
    for seed in range(8):
        lists = FewShot(drawn=1, seed=seed)
        lists.draw(sets[4:], 2)
        orders.add(next(iter(lists.examples)))
    assert orders == {"cake", "salad"}
    message = r"4 training queries with references, to be the examples of a prompt, but found 3, w"
    with pytest.raises(InputError, match=message):
        FewShot(examples=TOAST, drawn=4).draw(sets, 2)


def test_the_prompt_travels_with_the_model():
    lists = FewShot("Dish", "Ingredients", "|", TOAST, drawn=1)
    lists.draw([("cake", ["egg", "milk"])], 2)
    form = Full(lists, 2, anchor=0.1)
    again = load_format(form.spec())
    assert again.prompt("soup") == form.prompt("soup")
    assert again.spec() == form.spec()


@pytest.fixture(scope="module")
def model():
    """A model whose prompts share about forty tokens."""
    lm, tokenizer = TinyQwen3(32, 2, 400).build(["bread butter leek salt egg", "red hat"] * 3, None)
    tokenizer.chat_template = "{{ messages[0].content }} in a template"
    examples = TOAST | {f"dish {n}": [f"egg {n}", "salt"] for n in range(4)}
    form = Full(FewShot("Dish", "Ingredients", examples=examples), 2)
    return FanoutModel(lm, tokenizer, form, 12)


def test_no_chat_template_is_applied(model):
    assert model.prompts(["cake"]) == [model.form.prompt("cake")]


def test_shared_examples_change_no_completion_and_no_log_probability(model):
    queries = ["red hat", "leek", "toast"]
    together = model.sample(queries, [1, 2, 3], group_size=2)
    alone = [model.sample([query], [seed], 2) for query, seed in zip(queries, (1, 2, 3))]
    assert together.texts == [text for each in alone for text in each.texts]
    pairs = model.sample(queries[:2], [1, 2], group_size=2)
    assert model._shared(pairs, 1000) > 30
    assert model._shared(model.sample(["red hat", "toast"], [1, 1]), 1000) < 5  # another beginning
    found = model.log_probs(pairs, 0.9)
    for row in range(4):
        ids = torch.cat([pairs.prompt_ids[row], pairs.completion_ids[row]])
        mask = torch.cat([pairs.prompt_mask[row], pairs.completion_mask[row]]).bool()
        logits = model.lm(ids[mask].unsqueeze(0)).logits[0] / 0.9
        length = int(pairs.completion_mask[row].sum())
        wanted = logits.log_softmax(-1)[-length - 1 : -1].gather(
            1, pairs.completion_ids[row, :length].unsqueeze(1)
        )
        assert torch.allclose(found[row, :length], wanted[:, 0], atol=1e-5)


def test_members_are_the_entries_of_the_line(model):
    fanouts = model.teach(["cake"], [["egg", "leek salt"]], whole=True)
    owners = model.members(fanouts)[0].tolist()
    written = [model.tokenizer.decode([token]).strip() for token in fanouts.completion_ids[0]]
    by_member = {m: [w for w, o in zip(written, owners) if o == m] for m in (0, 1)}
    assert "".join(by_member[0]) == "egg"
    assert "".join(by_member[1]) == "leeksalt"
    assert [w for w, o in zip(written, owners) if o == -1 and w] == [";", "<eos>"]


def test_a_prompt_longer_than_the_context_is_refused():
    lm, tokenizer = TinyQwen3(32, 1, 400, max_length=64).build(["bread butter"] * 3, None)
    examples = {f"dish {n}": ["bread", "butter"] for n in range(9)}
    message = (
        r"to fit into the model's 64 tokens, but found \d+ of the prompt without a query and 12 of"
    )
    with pytest.raises(InputError, match=message):
        FanoutModel(lm, tokenizer, Full(FewShot(examples=examples)), 12)
