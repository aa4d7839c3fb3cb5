"""Sub-queries of a language model: draws, the best of several, and what is written only once."""

import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation.latency import measure_latency
from r4t.geometry import RankFusion
from r4t.methods import language
from r4t.methods.best_of import BestOf
from r4t.methods.language import LanguageMethod, SubqueryWriter
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.support.seeds import query_seed

# What each draw of a query searches with; its reward is its share of "north".
DRAWS = [["east", "east"], ["north", "east"], ["north", "north"], ["east", "north"]]
QUERIES = [Query("p", "east", "mood"), Query("q", "north", "mood")]
REFERENCED = [Query("p", "east", "set", ("a", "d")), Query("q", "north", "set", ("b", "f"))]


class Author:
    """A language model that writes the draw that a seed stands for, and remembers its calls."""

    class form:
        anchor = 0.0
        set_size = 2

    def __init__(self):
        self.calls = []
        self.draw = {query_seed(q.id, draw): draw for q in QUERIES for draw in range(20)}

    def sample(self, texts, seeds, group_size, temperature):
        assert group_size == 1
        self.calls.append((list(zip(texts, seeds, strict=True)), temperature))
        written = [DRAWS[self.draw.get(seed, seed) % len(DRAWS)] for seed in seeds]
        return type("Written", (), {"subqueries": written})


class North(Objective):
    """Share of sub-queries that say north."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts"})

    def score(self, sets):
        return torch.tensor([texts.count("north") / sets.set_size for texts in sets.texts])


NORTH = Reward({"north": 1.0}, {"north": North()})


@pytest.fixture
def author():
    return Author()


@pytest.fixture
def one(plane, author):
    return LanguageMethod(plane, SubqueryWriter(author, 0.7), pool_size=3)


def ask(method, queries=QUERIES, draw=0):
    searcher = method.searcher if isinstance(method, LanguageMethod) else method.method.searcher
    vectors = searcher.encode_queries([query.text for query in queries])
    return method(queries, vectors, draw=draw)


def best_of(method, reward, samples, **settings):
    return BestOf(method, reward, samples, name="Best", **settings)


@pytest.mark.parametrize("draw", [0, 2])
def test_a_method_takes_its_draw_of_each_query(author, one, draw):
    sets = ask(one, draw=draw)
    assert sets.texts == [DRAWS[draw]] * 2
    assert sets.query_texts == ["east", "north"]
    assert sets.pool.shape == (2, 3)
    seeds = [query_seed("p", draw), query_seed("q", draw)]
    assert author.calls == [(list(zip(["east", "north"], seeds)), 0.7)]


@pytest.mark.parametrize(
    "weight, samples, best",
    [
        (1.0, 1, 0),  # the only one
        (1.0, 2, 1),  # north 0, ½
        (1.0, 4, 2),  # north 0, ½, 1, ½
        (-1.0, 4, 0),  # the lowest share of north
    ],
)
def test_best_of_takes_the_highest_reward(plane, one, weight, samples, best):
    sets = ask(best_of(one, Reward({"north": weight}, {"north": North()}), samples))
    assert sets.texts == [DRAWS[best]] * 2
    assert torch.equal(sets.query, plane.encode_queries(["east", "north"]))
    chosen = ask(one, draw=best)
    assert torch.equal(sets.items, chosen.items)
    assert torch.equal(sets.pool, chosen.pool)


def test_best_of_draws_in_one_batch_and_begins_with_the_first_draw(author, one):
    ask(best_of(one, NORTH, 3))
    ((calls, _),) = author.calls
    assert calls == [
        (text, query_seed(name, draw))
        for name, text in (("p", "east"), ("q", "north"))
        for draw in range(3)
    ]


def test_an_answer_does_not_depend_on_the_batch(one):
    method = best_of(one, NORTH, 4)
    both, alone = ask(method), ask(method, QUERIES[1:])
    assert both.texts[1:] == alone.texts
    assert torch.equal(both.items[1:], alone.items)


def test_choosing_by_the_answers_is_refused(one):
    with pytest.raises(InputError, match=r"choose for Best without the references.*\['coverage'"):
        best_of(one, Reward({"coverage": 1.0, "diversity": 0.0}), 5)
    # An objective of weight 0 never affects the choice: it may read anything, and is not scored.
    method = best_of(one, Reward({"coverage": 0.0, "diversity": 1.0}), 4)
    # Of east east, north east, north north, east north the second is the first with two items.
    assert ask(method).texts == [DRAWS[1]] * 2


class Lucky(North):
    """North, of the draws that could be scored: those that do not begin with north."""

    partial = True

    def score(self, sets):
        failed = torch.tensor([texts[0] == "north" for texts in sets.texts])
        return super().score(sets).masked_fill(failed, torch.nan)


def test_a_set_without_a_score_is_never_the_best(one):
    method = best_of(one, Reward({"lucky": 1.0}, {"lucky": Lucky()}), 4)
    # Draws 1 and 2 begin with north; of the others, draw 3 says it more often.
    assert ask(method).texts == [DRAWS[3]] * 2


def test_another_draw_of_the_best(author, one):
    best = best_of(one, Reward({"north": -1.0}, {"north": North()}), 2)
    # Draws 2 and 3 of each query: north 1, ½; the lower share wins.
    assert ask(best, draw=1).texts == [DRAWS[3]] * 2
    assert [seed for _, seed in author.calls[-1][0]] == [
        query_seed(name, draw) for name in "pq" for draw in (2, 3)
    ]


def test_an_oracle_chooses_by_the_references(plane, author):
    one = LanguageMethod(plane, SubqueryWriter(author), pool_size=2)
    method = best_of(one, Reward({"coverage": 1.0}), 4, oracle=True)
    sets = ask(method, REFERENCED)
    # Pools: east ab; north and east da (east and north: ad); north dc. Of a, d the second draw
    # covers all; of b, f the first covers half, the others nothing.
    assert sets.texts == [DRAWS[1], DRAWS[0]]
    assert sets.references is None
    assert torch.equal(ask(method, REFERENCED[1:]).pool, sets.pool[1:])


def test_an_oracle_needs_references(one):
    method = best_of(one, Reward({"coverage": 1.0}), 2, oracle=True)
    with pytest.raises(InputError, match=r"by which Best chooses, .* none for 'north' \(id 'q'\)"):
        ask(method, [REFERENCED[0], QUERIES[1]])


def test_each_draw_is_written_once_for_all_methods(plane, author):
    writer = SubqueryWriter(author)
    zero = LanguageMethod(plane, writer, 3)
    methods = [
        zero,
        LanguageMethod(plane, writer, 3, RankFusion()),
        best_of(zero, NORTH, 5),
        best_of(zero, Reward({"coverage": 1.0}), 5, oracle=True),
    ]
    for method in methods:
        sets = ask(method, REFERENCED)
        fresh = LanguageMethod(plane, SubqueryWriter(Author()), 3, zero.merge)
        if method is zero:
            assert torch.equal(sets.pool, ask(fresh, REFERENCED).pool)
    # Of each query draw 0, then draws 1 to 4.
    assert [len(call) for call, _ in author.calls] == [2, 8]
    author.calls.clear()
    for draw in range(1, 5):
        ask(zero, REFERENCED, draw)
    assert author.calls == []
    # Another draw, and another temperature, are written.
    ask(zero, REFERENCED, draw=5)
    ask(LanguageMethod(plane, SubqueryWriter(author, 1.5), 3), REFERENCED)
    assert [(len(call), temperature) for call, temperature in author.calls] == [(2, 0.9), (2, 1.5)]


def test_many_draws_are_written_in_parts(author, monkeypatch):
    monkeypatch.setattr(language, "AT_ONCE", 3)
    writer = SubqueryWriter(author)
    assert writer(QUERIES, range(4)) == DRAWS * 2
    assert [len(call) for call, _ in author.calls] == [3, 3, 2]


def test_a_writer_forgets_the_draws_unused_for_longest(author):
    writer = SubqueryWriter(author, cached=3)
    twin = [Query("p", "east", "mood")] * 2
    assert writer(twin, [0]) == [DRAWS[0]] * 2
    assert [len(call) for call, _ in author.calls] == [1]  # written once for both
    writer(QUERIES[1:], [0, 1])
    writer(QUERIES, [0])  # still there
    assert len(author.calls) == 2
    writer(QUERIES[1:], [2])  # q's draw 1 goes
    writer(QUERIES, [1])
    assert [len(call) for call, _ in author.calls[2:]] == [1, 2]
    # More than are kept, in one call: all are answered.
    assert writer(QUERIES[:1], range(5)) == [DRAWS[draw % 4] for draw in range(5)]


@pytest.mark.parametrize("samples", [None, 3])
def test_timing_never_reads_from_memory(plane, author, samples):
    zero = LanguageMethod(plane, SubqueryWriter(author), 3)
    method = zero if samples is None else best_of(zero, NORTH, samples)
    ask(method)
    author.calls.clear()
    measure_latency(method, plane, QUERIES, batch=2, calls=3)
    # One call that is not timed and three that are, all for the two queries seen before.
    assert [len(call) for call, _ in author.calls] == [2 * (samples or 1)] * 4
