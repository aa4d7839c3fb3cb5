"""Written queries: none twice, none of a held-out query or near one, and how the model is asked."""

import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.query_writer import (
    BATCH,
    EXAMPLES,
    ITEM_WORDS,
    MOST_TOKENS,
    QueryWriter,
    logged_queries,
    more_queries,
)
from r4t.geometry import normalize

TRAINING = [Query(f"t{n}", f"red dish {n}", "set") for n in range(20)]
HELD_OUT = [Query("h", "blue soup", "set")]
PLACES = {"blue soup": [1.0, 0.0], "navy soup": [0.95, 0.31], "cold soup": [0.85, 0.53]}


def encode(texts):
    return normalize(torch.tensor([PLACES.get(text, [0.0, 1.0]) for text in texts]))


def test_what_repeats_or_is_near_a_held_out_query_is_left_out():
    asked = []

    def writer(examples, items, seed):
        asked.append((examples, items, seed))
        if len(asked) == 1:
            return [
                "Red  dish 3!",
                "navy soup",
                "BLUE soup",
                "cold soup",
                "",
                "cake",
                "Cake.",
                "egg",
            ]
        return ["cold soup", "navy soup", "bread", "tart"]

    queries, note = more_queries(writer, TRAINING, HELD_OUT, {"e": "Egg"}, encode, 3)
    assert [(q.id, q.text, q.kind, q.references) for q in queries] == [
        ("w00000", "cold soup", "written", ()),
        ("w00001", "cake", "written", ()),
        ("w00002", "bread", "written", ()),
    ]
    # 5 of the first answer (a training query, the held-out one, a blank, "Cake.", an item), 2 of the second.
    assert note == "7 repeated or blank, 1 near a held-out query (cosine 0.9 or more)"
    texts = {("", query.text) for query in TRAINING}
    assert all(len(set(shown)) == EXAMPLES and set(shown) <= texts for shown, _, _ in asked)
    assert asked[0] != asked[1]
    assert asked[0][1] == [""] * BATCH  # training queries without references: no item leads


def test_items_lead_and_each_example_follows_its_rarest_item():
    items = {name: name.upper() for name in "abcdefg"}
    training = [
        Query("t0", "one", "set", references=("a", "b", "gone")),
        Query("t1", "two", "set", references=("a", "c")),
        Query("t2", "three", "set", references=("a",)),
        Query("t3", "four", "set"),
    ]
    asked = []

    def writer(examples, items, seed):
        asked.append((set(examples), items))
        return [f"new {len(asked)}"]

    more_queries(writer, training, [], items, encode, 3)
    # "gone" is not in the catalog; b is in one set and a in three.
    assert asked[0][0] == {("B", "one"), ("C", "two"), ("A", "three"), ("", "four")}
    leads = [item for _, each in asked for item in each]
    assert len(asked[0][1]) == BATCH
    passes = [leads[start : start + 7] for start in range(0, len(leads) - 6, 7)]
    assert all(sorted(each) == [*"ABCDEFG"] for each in passes)
    assert len(set(map(tuple, passes))) > 1


def test_what_users_typed_is_kept_in_order_by_the_same_rules():
    typed = ["cold  soup", "red dish 3", "navy soup", "", "Cold soup!", "blue soup", "egg", "cake"]
    queries, note = logged_queries(typed, TRAINING, HELD_OUT, {"e": "Egg"}, encode)
    assert [(q.id, q.text, q.kind, q.references) for q in queries] == [
        ("l00000", "cold soup", "logged", ()),
        ("l00001", "cake", "logged", ()),
    ]
    assert note == "5 repeated or blank, 1 near a held-out query (cosine 0.9 or more)"
    with pytest.raises(
        InputError, match="query in the log that is new, but found none of 2; 2 rep"
    ):
        logged_queries(["blue soup", ""], TRAINING, HELD_OUT, {}, encode)

    def writer(examples, items, seed):
        return ["cake", "tart"]

    new, _ = more_queries(writer, TRAINING, HELD_OUT, {}, encode, 5, logged=queries)
    assert [query.text for query in new] == ["tart"]


def test_it_stops_where_nothing_new_comes():
    queries, note = more_queries(lambda *_: ["cake"], TRAINING, [], {}, encode, 2)
    assert [query.text for query in queries] == ["cake"]
    assert note.endswith("; 5 prompts in a row brought nothing new after 1 of 2")
    with pytest.raises(
        InputError, match=r"queries that are new, but found none in 5 prompts\. Take a"
    ):
        more_queries(lambda *_: ["red dish 1"], TRAINING, [], {}, encode, 2)
    with pytest.raises(InputError, match="training queries.*at least 2.*found 1"):
        more_queries(lambda *_: ["cake"], TRAINING[:1], [], {}, encode, 2)


@pytest.fixture(scope="module")
def lm():
    return TinyQwen3(32, 1, 400).build(["red dish soup cake bread"] * 3, None)


def test_lines_of_a_model_depend_on_the_seed_alone(lm):
    writer = QueryWriter(lm, "Dish")
    examples, items = [("bread", "red dish"), ("", "a\nb")], ["soup", "cake", ""] * 9
    lines = writer(examples, items, 3)
    assert lines == writer(examples, items, 3)
    assert lines != writer(examples, items, 4)
    assert len(lines) <= len(items)
    assert all("\n" not in line and line == line.strip() for line in lines)


def test_the_prompt_is_a_list_of_examples_that_ends_on_the_leading_item(lm, monkeypatch):
    seen = {}

    def write(model, prompt, group, length, draw, ended, padding):
        seen["texts"] = [lm[1].decode(row[mask > 0]) for row, mask in zip(*prompt)]
        seen["sizes"] = group, length
        texts = [" cake\n", " tart", " \nx"]
        rows = [lm[1].encode(text, add_special_tokens=False) for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])

    monkeypatch.setattr("r4t.fanout.query_writer.write", write)
    long = " ".join(["soup"] * (ITEM_WORDS + 5))
    examples = [("bread", "red dish"), ("", "a\nb")]
    writer = QueryWriter(lm, "Dish", "Item")
    assert writer(examples, [long, "cake", ""], 0) == ["cake", ""]  # "tart" was cut off
    shown = "item: bread\ndish: red dish\ndish: a b\n"
    ends = [f"item: {' '.join(['soup'] * ITEM_WORDS)}\ndish:", "item: cake\ndish:", "dish:"]
    assert [text.split() for text in seen["texts"]] == [(shown + end).split() for end in ends]
    assert seen["sizes"] == (1, MOST_TOKENS)


def test_examples_longer_than_the_context_are_refused():
    lm = TinyQwen3(32, 1, 400, max_length=32).build(["red dish"] * 3, None)
    with pytest.raises(InputError, match=r"the model's 32 tokens, but found .* 24 of a new query"):
        QueryWriter(lm)([("", "red dish")] * 9, ["hat"], 0)
