import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation.learned import BestOf, FanOutMethod
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.seeds import query_seed

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
        return self.searcher.fan_out_texts(vectors, said, 2, pool_size=pool_size)


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


def test_choosing_by_the_answers_is_refused(fan_out):
    with pytest.raises(InputError, match=r"Best-of-5 must choose without the references.*\['cove"):
        BestOf("best", fan_out, Reward({"coverage": 1.0, "diversity": 0.0}))
    with pytest.raises(InputError, match="which are the answers"):
        BestOf("best", fan_out, Reward({"coverage": 0.0, "diversity": 1.0}))
