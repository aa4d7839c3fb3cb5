import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation.latency import measure_latency
from r4t.methods.fusion import RankFusion
from r4t.methods.language import BestOf, Drafts, FanOutMethod, RememberingFanOut
from r4t.objective import Objective
from r4t.retriever import LanguageFanOut
from r4t.reward import Reward
from r4t.support.seeds import query_seed

# What each draw of a query searches with; its reward is its share of "north".
DRAWS = [["east", "east"], ["north", "east"], ["north", "north"], ["east", "north"]]
QUERIES = [Query("p", "east", "mood"), Query("q", "north", "mood")]


class Drawn:
    """Answers with the sub-queries of the draw that a seed stands for."""

    def __init__(self, searcher):
        self.searcher, self.calls = searcher, []
        self.draw = {query_seed(q.id, draw): draw for q in QUERIES for draw in range(len(DRAWS))}

    def __call__(self, texts, vectors, seeds, *, references=None, pool_size=None):
        self.calls.append((list(texts), list(seeds), references))
        said = [DRAWS[self.draw[seed]] for seed in seeds]
        return self.searcher.retrieve_texts(vectors, said, 2, pool_size=pool_size)


class North(Objective):
    """Share of sub-queries that say north."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts"})

    def score(self, sets):
        return torch.tensor([texts.count("north") / sets.set_size for texts in sets.texts])


@pytest.fixture
def fan_out(plane):
    return Drawn(plane)


def ask(plane, method, queries=QUERIES):
    return method(queries, plane.encode_queries([query.text for query in queries]))


@pytest.mark.parametrize("draw", [0, 2])
def test_a_method_takes_its_draw_of_each_query(plane, fan_out, draw):
    sets = ask(plane, FanOutMethod("one", fan_out, pool_size=3, draw=draw))
    assert sets.texts == [DRAWS[draw]] * 2
    assert sets.pool.shape == (2, 3)
    seeds = [query_seed("p", draw), query_seed("q", draw)]
    assert fan_out.calls == [(["east", "north"], seeds, None)]


@pytest.mark.parametrize(
    "weight, samples, best",
    [
        (1.0, 1, 0),  # the only one
        (1.0, 2, 1),  # north 0, ½
        (1.0, 4, 2),  # north 0, ½, 1, ½
        (-1.0, 4, 0),  # the lowest share of north
    ],
)
def test_best_of_takes_the_highest_reward(plane, fan_out, weight, samples, best):
    reward = Reward({"north": weight}, {"north": North()})
    method = BestOf("best", fan_out, reward, samples, pool_size=3)
    sets = ask(plane, method)
    assert sets.texts == [DRAWS[best]] * 2
    assert torch.equal(sets.query, plane.encode_queries(["east", "north"]))
    chosen = ask(plane, FanOutMethod("one", fan_out, pool_size=3, draw=best))
    assert torch.equal(sets.items, chosen.items)
    assert torch.equal(sets.pool, chosen.pool)


def test_best_of_draws_the_zero_shot_sample_among_its_own(plane, fan_out):
    reward = Reward({"north": 1.0}, {"north": North()})
    ask(plane, BestOf("best", fan_out, reward, 3, pool_size=3))
    ((texts, seeds, references),) = fan_out.calls
    assert texts == ["east"] * 3 + ["north"] * 3
    assert seeds == [query_seed(name, draw) for name in "pq" for draw in range(3)]
    assert references is None


def test_an_answer_does_not_depend_on_the_batch(plane, fan_out):
    method = BestOf("best", fan_out, Reward({"north": 1.0}, {"north": North()}), 4, pool_size=3)
    both = ask(plane, method)
    alone = ask(plane, method, QUERIES[1:])
    assert both.texts[1:] == alone.texts
    assert torch.equal(both.items[1:], alone.items)


def test_choosing_by_the_answers_is_refused(plane, fan_out):
    with pytest.raises(InputError, match=r"Best-of-5 must choose without the references.*\['cove"):
        BestOf("best", fan_out, Reward({"coverage": 1.0, "diversity": 0.0}))
    # An audited objective has no say: it may read what it likes, and is not scored.
    method = BestOf("best", fan_out, Reward({"coverage": 0.0, "diversity": 1.0}), 4, pool_size=3)
    # Of east east, north east, north north, east north the second is the first with two items.
    assert ask(plane, method).texts == [DRAWS[1]] * 2


class Lucky(North):
    """North, of the draws that could be scored: those that do not begin with north."""

    partial = True

    def score(self, sets):
        failed = torch.tensor([texts[0] == "north" for texts in sets.texts])
        return super().score(sets).masked_fill(failed, torch.nan)


def test_what_could_not_be_scored_is_not_the_best(plane, fan_out):
    method = BestOf("best", fan_out, Reward({"lucky": 1.0}, {"lucky": Lucky()}), 4, pool_size=3)
    # Draws 1 and 2 begin with north; of the others, draw 3 says it more often.
    assert ask(plane, method).texts == [DRAWS[3]] * 2


def test_another_draw(plane, fan_out):
    one = FanOutMethod("one", fan_out, pool_size=3)
    assert ask(plane, one.with_draw(2)).texts == [DRAWS[2]] * 2
    assert ask(plane, one).texts == [DRAWS[0]] * 2
    best = BestOf("best", fan_out, Reward({"north": -1.0}, {"north": North()}), 2, pool_size=3)
    # Draws 2 and 3 of each query: north 1, ½; the lower share is wanted.
    assert ask(plane, best.with_draw(1)).texts == [DRAWS[3]] * 2
    assert fan_out.calls[-1][1] == [query_seed(name, draw) for name in "pq" for draw in (2, 3)]


KNOWN = [Query("p", "east", "set", ("a", "d")), Query("q", "north", "set", ("b", "f"))]


def test_an_oracle_chooses_by_the_references(plane, fan_out):
    method = BestOf("Best-of-4", fan_out, Reward({"coverage": 1.0}), 4, pool_size=2, oracle=True)
    assert method.name == "Best-of-4 (oracle)"
    assert method.with_draw(1).name == "Best-of-4 (oracle)"
    sets = ask(plane, method, KNOWN)
    # Pools: east ab; north and east da (east and north: ad); north dc. Of a, d the second draw
    # covers all; of b, f the first covers half, the others nothing.
    assert sets.texts == [DRAWS[1], DRAWS[0]]
    assert sets.references is None
    alone = ask(plane, method, KNOWN[1:])
    assert torch.equal(alone.pool, sets.pool[1:])


def test_an_oracle_needs_references(plane, fan_out):
    method = BestOf("best", fan_out, Reward({"coverage": 1.0}), 2, pool_size=2, oracle=True)
    with pytest.raises(InputError, match=r"best \(oracle\) chooses .* none for 'north' \(id 'q'\)"):
        ask(plane, method, [KNOWN[0], QUERIES[1]])


class Author:
    """A language model of two words; counts what it writes."""

    class form:
        anchor = 0.0
        set_size = 2

    def __init__(self):
        self.calls = []

    def sample(self, queries, seeds, group_size, temperature):
        self.calls.append(list(zip(queries, seeds, strict=True)))
        words = ["east", "north", "west", "south"]
        written = [[words[seed % 4], words[seed // 4 % 4]] for seed in seeds]
        return type("Written", (), {"subqueries": written})


def test_each_draw_is_written_once_for_all_methods(plane):
    author = Author()
    drafts = Drafts(author)
    zero = RememberingFanOut(plane, drafts)
    fused = RememberingFanOut(RankFusion(plane), drafts)
    reward = Reward({"north": 1.0}, {"north": North()})
    methods = [
        FanOutMethod("Zero-shot", zero, 3),
        FanOutMethod("Zero-shot + RRF", fused, 3),
        BestOf("Best-of-5", zero, reward, 5, 3),
        BestOf("Best-of-5", zero, Reward({"coverage": 1.0}), 5, 3, oracle=True),
    ]
    for method in methods:
        bare = method.uncached()
        sets, anew = ask(plane, method, KNOWN), ask(plane, bare, KNOWN)
        assert sets.texts == anew.texts
        assert torch.equal(sets.pool, anew.pool)
        assert sets.query_texts == anew.query_texts
        assert (bare.name, bare.pool_size) == (method.name, 3)
    # Of each query the remembering ones have written draw 0, then 1 to 4; the bare ones wrote
    # 1 + 1 + 5 + 5 draws of each besides.
    assert sum(map(len, author.calls)) == 2 * (5 + 12)
    author.calls.clear()
    for draw in range(1, 5):
        ask(plane, methods[0].with_draw(draw), KNOWN)
    assert author.calls == []
    # Other draws, and another temperature, are written.
    ask(plane, methods[0].with_draw(5), KNOWN)
    ask(plane, FanOutMethod("hot", RememberingFanOut(plane, drafts, 1.5), 3), KNOWN)
    assert [len(call) for call in author.calls] == [2, 2]


def test_drafts_write_what_is_asked_twice_in_one_call_once_and_forget_the_oldest():
    author = Author()
    drafts = Drafts(author, most=3)
    first = drafts.subqueries(["a", "b", "a"], [1, 1, 1], 0.9)
    assert author.calls == [[("a", 1), ("b", 1)]]
    assert first == [["north", "east"]] * 3
    drafts.subqueries(["c", "d"], [1, 1], 0.9)  # a is forgotten
    drafts.subqueries(["b", "c", "d"], [1, 1, 1], 0.9)
    assert author.calls[1:] == [[("c", 1), ("d", 1)]]
    drafts.subqueries(["a"], [1], 0.9)
    assert author.calls[2:] == [[("a", 1)]]
    # More than are kept, in one call: all are answered.
    many = drafts.subqueries(list("efghi"), [0, 1, 2, 3, 4], 0.9)
    assert [subqueries[0] for subqueries in many] == ["east", "north", "west", "south", "east"]


@pytest.mark.parametrize("kind", ["single", "best"])
def test_timing_never_reads_from_memory(plane, kind):
    author = Author()
    fan_out = RememberingFanOut(plane, Drafts(author))
    reward = Reward({"north": 1.0}, {"north": North()})
    methods = {
        "single": FanOutMethod("single", fan_out, 3),
        "best": BestOf("best", fan_out, reward, 3, 3),
    }
    ask(plane, methods[kind])
    author.calls.clear()
    measure_latency(methods[kind], plane, QUERIES, batch=2, calls=3)
    # One call that is not timed and three that are, all of the two queries seen before.
    assert [len(call) for call in author.calls] == [{"single": 2, "best": 6}[kind]] * 4


def test_methods_without_memory_are_timed_as_they_are(plane, fan_out):
    method = FanOutMethod("one", fan_out, pool_size=3)
    assert method.uncached() == method
    bare = FanOutMethod("one", LanguageFanOut(plane, Author()), 3)
    assert bare.uncached() == bare


def test_what_vendi_across_runs_is_measured_of(fan_out):
    assert FanOutMethod("one", fan_out).repeats
    assert not FanOutMethod("fused", fan_out, repeats=False).with_draw(2).repeats
    assert not BestOf("best", fan_out, Reward({"diversity": 1.0})).with_draw(1).repeats
