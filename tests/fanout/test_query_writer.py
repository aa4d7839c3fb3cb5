"""Written queries: none twice, none of a held-out query or near one, and how the model is asked."""

import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.query_writer import BATCH, EXAMPLES, MOST_TOKENS, QueryWriter, more_queries
from r4t.geometry import normalize

TRAINING = [Query(f"t{n}", f"red dish {n}", "set") for n in range(20)]
HELD_OUT = [Query("h", "blue soup", "set")]
PLACES = {"blue soup": [1.0, 0.0], "navy soup": [0.95, 0.31], "cold soup": [0.85, 0.53]}


def encode(texts):
    return normalize(torch.tensor([PLACES.get(text, [0.0, 1.0]) for text in texts]))


def test_what_repeats_or_is_near_a_held_out_query_is_left_out():
    asked = []

    def writer(examples, seed):
        asked.append((examples, seed))
        if len(asked) == 1:
            return ["Red  dish 3!", "navy soup", "BLUE soup", "cold soup", "", "cake", "Cake."]
        return ["cold soup", "navy soup", "bread", "tart"]

    queries, note = more_queries(writer, TRAINING, HELD_OUT, encode, 3)
    assert [(q.id, q.text, q.kind, q.references) for q in queries] == [
        ("w00000", "cold soup", "written", ()),
        ("w00001", "cake", "written", ()),
        ("w00002", "bread", "written", ()),
    ]
    # 4 of the first answer (a training query, the held-out one, a blank, "Cake."), 2 of the second.
    assert note == "6 repeated or blank, 1 near a held-out query (cosine 0.9 or more)"
    texts = {query.text for query in TRAINING}
    assert all(len(set(shown)) == EXAMPLES and set(shown) <= texts for shown, _ in asked)
    assert asked[0] != asked[1]


def test_it_stops_where_nothing_new_comes():
    queries, note = more_queries(lambda *_: ["cake"], TRAINING, [], encode, 2)
    assert [query.text for query in queries] == ["cake"]
    assert note.endswith("; 5 prompts in a row brought nothing new after 1 of 2")
    with pytest.raises(
        InputError, match=r"queries that are new, but found none in 5 prompts\. Take a"
    ):
        more_queries(lambda *_: ["red dish 1"], TRAINING, [], encode, 2)
    with pytest.raises(InputError, match="training queries.*at least 2.*found 1"):
        more_queries(lambda *_: ["cake"], TRAINING[:1], [], encode, 2)


@pytest.fixture(scope="module")
def lm():
    return TinyQwen3(32, 1, 400).build(["red dish soup cake bread"] * 3, None)


def test_lines_of_a_model_depend_on_the_seed_alone(lm):
    writer = QueryWriter(lm, "Dish")
    lines = writer(["red dish", "a\nb"], 3)
    assert lines == writer(["red dish", "a\nb"], 3)
    assert lines != writer(["red dish", "a\nb"], 4)
    assert len(lines) <= BATCH
    assert all("\n" not in line and line == line.strip() for line in lines)


def test_the_prompt_is_a_list_of_examples(lm, monkeypatch):
    seen = {}

    def write(model, prompt, group, length, draw, ended, padding):
        seen["text"] = lm[1].decode(prompt[0][0])
        seen["sizes"] = group, length
        texts = [" cake\n", " tart", " \nx"]
        rows = [lm[1].encode(text, add_special_tokens=False) for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])

    monkeypatch.setattr("r4t.fanout.query_writer.write", write)
    assert QueryWriter(lm, "Dish")(["red dish", "a\nb"], 0) == ["cake", ""]  # "tart" was cut off
    assert seen["text"].split() == ["dish:", "red", "dish", "dish:", "a", "b", "dish:"]
    assert seen["sizes"] == (BATCH, MOST_TOKENS)


def test_examples_longer_than_the_context_are_refused():
    lm = TinyQwen3(32, 1, 400, max_length=32).build(["red dish"] * 3, None)
    with pytest.raises(InputError, match=r"the model's 32 tokens, but found .* 24 of a new query"):
        QueryWriter(lm)(["red dish"] * 9, 0)
