import json
from collections import defaultdict

import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation.learned import BestOf, FanOutMethod, GivenSubqueries, Rrf, fused_ranking
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


def slow_fusion(rankings, constant):
    scores = defaultdict(float)
    for rank in range(len(rankings[0])):
        for ranking in rankings:
            if ranking[rank] >= 0:
                scores[ranking[rank]] += 1 / (constant + rank + 1)
    return sorted(scores, key=scores.get, reverse=True)


@pytest.mark.parametrize("constant", [60.0, 1.0])
def test_fusion_against_a_slow_loop(constant):
    generator = torch.Generator().manual_seed(0)
    rankings = torch.stack([
        torch.stack([torch.randperm(40, generator=generator)[:15] for _ in range(5)])
        for _ in range(8)
    ])  # fmt: skip
    rankings[3, 2] = -1  # a member that is missing
    fused = fused_ranking(rankings, constant)
    for row, line in zip(fused.tolist(), rankings.tolist()):
        expected = slow_fusion(line, constant)
        assert row == expected + [-1] * (75 - len(expected))
    assert torch.equal(fused_ranking(rankings[3:4], constant), fused[3:4])


def test_rank_fusion_by_hand(plane, fan_out):
    # East ranks a b c, north d c b. With 1/(1 + rank): a 1/2, d 1/2, b 1/3 + 1/4, c 1/4 + 1/3.
    # b and c tie at 7/12; east is named first, and its second is b. Then a, then d.
    method = Rrf("fused", fan_out, plane, pool_size=4, depth=3, constant=1.0, draw=3)
    sets = ask(plane, method)
    assert [sorted(row[:2]) for row in sets.pool.tolist()] == [[1, 2]] * 2
    assert [row[2:] for row in sets.pool.tolist()] == [[0, 3]] * 2
    plain = ask(plane, FanOutMethod("one", fan_out, pool_size=4, draw=3))
    assert torch.equal(sets.items, plain.items)
    assert torch.equal(sets.directions, plain.directions)
    # With 60 a b c d still come first; fewer ranks than the pool: the fan-out's own pool follows.
    shallow = ask(plane, Rrf("fused", fan_out, plane, pool_size=4, depth=1, draw=3))
    assert shallow.pool.tolist() == plain.pool.tolist()
    assert method.with_draw(1).draw == 1


def test_rank_fusion_passes_over_missing_members(plane):
    given = GivenSubqueries(plane, {"east": [["north"]], "north": [["nonsense", "west"]]}, 3)
    sets = ask(plane, Rrf("fused", given, plane, pool_size=3))
    assert sets.mask.tolist() == [[True, False, False], [False, True, False]]
    assert sets.pool[0].tolist()[:2] == [3, 2]
    assert sets.pool[1, 0] == 4
    assert (sets.pool >= 0).all()


def written(tmp_path, *rows):
    path = tmp_path / "subqueries.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_given_subqueries(plane, tmp_path):
    path = written(
        tmp_path,
        {"query": "east", "subqueries": ["north", "east", "south"]},
        "",
        {"id": "q", "subqueries": ["west"]},
        {"id": "of another split", "subqueries": ["east"]},
    )
    given = GivenSubqueries.read(path, plane, set_size=2, queries=QUERIES)
    sets = ask(plane, FanOutMethod("given", given, pool_size=3))
    assert sets.texts == [["north", "east"], ["west"]]
    assert sets.mask.tolist() == [[True, True], [True, False]]
    assert sets.items.tolist() == [[3, 0], [4, -1]]
    assert sets.query_texts == ["east", "north"]
    assert (sets.pool >= 0).all()


def test_several_lines_of_a_query_are_several_fan_outs(plane, tmp_path):
    lines = [{"query": "east", "subqueries": [name]} for name in ("north", "east", "south")]
    given = GivenSubqueries.read(written(tmp_path, *lines), plane, set_size=1)
    texts = [given(["east"], plane.encode_queries(["east"]), [seed]).texts for seed in range(4)]
    assert texts == [[["north"]], [["east"]], [["south"]], [["north"]]]


def test_queries_without_given_subqueries(plane, tmp_path):
    path = written(tmp_path, {"query": "east", "subqueries": ["north"]})
    given = GivenSubqueries.read(path, plane)
    with pytest.raises(InputError, match=r"none for 1 of 2, such as 'north', in .*\.jsonl — add"):
        ask(plane, FanOutMethod("given", given, pool_size=3))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        {"query": "east"},
        {"subqueries": ["north"]},
        {"query": 3, "subqueries": ["north"]},
        {"query": "east", "subqueries": []},
        {"query": "east", "subqueries": "north"},
        {"query": "east", "subqueries": ["north", " "]},
    ],
)
def test_a_file_that_holds_no_subqueries(plane, tmp_path, line):
    path = written(tmp_path, {"query": "east", "subqueries": ["north"]}, line)
    with pytest.raises(InputError, match=r'"id" or "query" .* at line 2 of .* — correct the line'):
        GivenSubqueries.read(path, plane)


def test_no_file_of_subqueries(plane, tmp_path):
    with pytest.raises(InputError, match=r"JSONL file — found none at .*nowhere — name the file"):
        GivenSubqueries.read(tmp_path / "nowhere", plane)
