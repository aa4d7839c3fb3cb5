import itertools
import json

import pytest
import torch

from r4t.catalog import Catalog
from r4t.choice import BestRows, BestSet, Consensus, QueryTime, best_members, consensus
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.index import TorchIndex
from r4t.objective import Objective, load_objective
from r4t.reward import Reward
from r4t.search import Searcher


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


def test_elimination_by_hand(sets_from):
    # Members 0 and 1 lie on the same item; member 2 at distance 0.4 from another.
    items = [[[1, 0, 0], [1, 0, 0], [0, 1, 0]]]
    near = [0, 0.92, (1 - 0.92**2) ** 0.5]
    sets = sets_from([[[1, 0, 0], [1, 0, 0], near]], items)
    # Without 0 (or 1): 0.5 · 0.8 + 0.5 · 1; without 2: 0.5 · 1 + 0.5 · 0.5. So 2 is needed most.
    diverse = Reward({"groundedness": 0.5, "diversity": 0.5})
    assert best_members(sets, lambda s: diverse(s)[0], 2, rounds=1).tolist() == [[2, 0]]
    # By groundedness alone, 2 is the worst.
    grounded = Reward({"groundedness": 1.0})
    assert best_members(sets, lambda s: grounded(s)[0], 2).tolist() == [[0, 1]]


def test_several_rounds_keep_one_of_two_equal_members(sets_from):
    rows = [[[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]]
    sets = sets_from(rows, rows)
    diverse = Reward({"diversity": 1.0})
    chosen = best_members(sets, lambda s: diverse(s)[0], 3, rounds=2)[0].tolist()
    assert {tuple(rows[0][member]) for member in chosen} == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_draws_that_agree_lose_their_repeats_first(sets_from):
    # Six items twice each: each copy makes the other seem needless, yet one of each must stay.
    rows = [[[float(place == member // 2) for place in range(6)] for member in range(12)]]
    sets = sets_from(rows, rows).extended(items=torch.arange(12).unsqueeze(0) // 2)
    chosen = best_members(sets, Reward({"diversity": 1.0}).score, 6)[0]
    assert sorted((chosen // 2).tolist()) == list(range(6))


def test_elimination_equals_a_loop(sets_from):
    sets = sets_from(unit(2, 7, 4).tolist(), unit(2, 7, 4, seed=1).tolist())
    reward = Reward({"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2})
    chosen = best_members(sets, lambda s: reward(s)[0], 3, rounds=2)
    for row in range(2):
        kept = list(range(7))
        for target in (5, 3):
            without = {}
            for member in kept:
                rest = [other for other in kept if other != member]
                tried = sets_from(
                    sets.directions[row : row + 1, rest].tolist(),
                    sets.item_embeddings[row : row + 1, rest].tolist(),
                )
                without[member] = reward(tried)[0].item()
            kept = sorted(kept, key=without.get)[:target]
        assert set(chosen[row].tolist()) == set(kept)


def test_the_choice_of_all_but_one_equals_trying_all_for_a_sum(sets_from):
    sets = sets_from(unit(1, 5, 4, seed=2).tolist(), unit(1, 5, 4, seed=3).tolist())
    reward = Reward({"groundedness": 1.0})  # a mean of members: elimination is optimal
    chosen = set(best_members(sets, lambda s: reward(s)[0], 4)[0].tolist())
    values = 1 - (sets.directions - sets.item_embeddings).norm(dim=-1)[0]
    best = max(
        itertools.combinations(range(5), 4), key=lambda keep: values[list(keep)].sum().item()
    )
    assert chosen == set(best)


class Pool(Objective):
    """1 where the pool holds item 5."""

    bounds = (0.0, 1.0)
    needs = frozenset({"pool"})

    def score(self, sets):
        return (sets.pool == 5).any(-1).float()


def test_a_costly_objective_does_not_choose():
    class Costly(Pool):
        costly = True

    by = Reward({"judge": 1.0}, {"judge": Costly()})
    with pytest.raises(
        InputError, match=r"dozens of sets per query, but found \['judge'\], one of which"
    ):
        BestSet(by, pool_size=2)


def test_missing_members_are_chosen_last(sets_from):
    sets = sets_from(unit(1, 4, 3).tolist(), unit(1, 4, 3).tolist(), mask=[[0, 1, 0, 1]])
    chosen = best_members(sets, lambda s: s.mask.float().sum(-1), 3)[0].tolist()
    assert {1, 3} < set(chosen)


@pytest.fixture
def axes():
    """Six items on the axes of a space of six dimensions."""
    items = Catalog(None, {"fingerprint": "abc"}, torch.eye(6))
    return Searcher(items, None, TorchIndex(items.embeddings))


def drawn(*sets):
    """Rows (1, M, L, 6) along the axes named."""
    return torch.eye(6)[torch.tensor(sets)].unsqueeze(0)


def test_the_best_of_several_sets_by_hand(axes):
    query = torch.eye(6)[:1]
    rows = drawn([0, 0, 1], [2, 3, 3], [4, 4, 4])
    # Of the first two rows of each: one item twice, two items, one item twice.
    choose = BestSet(Reward({"diversity": 1.0}), draws=3)
    assert choose(axes, query, rows, 2).argmax(-1).tolist() == [[2, 3]]
    # With all three rows the first and the second set are alike: the first of equals.
    assert choose(axes, query, rows, 3).argmax(-1).tolist() == [[0, 0, 1]]
    # An objective of the pool: three items are retrieved a set, nearest first by row number.
    pooled = BestSet(Reward({"p": 1.0}, {"p": Pool()}), draws=2, pool_size=1)
    assert pooled(axes, query, drawn([0, 1], [5, 1]), 2).argmax(-1).tolist() == [[5, 1]]
    with pytest.raises(
        InputError, match=r"that read only .* but found \['p'\], which need \['pool'\]"
    ):
        BestSet(Reward({"p": 1.0}, {"p": Pool()}))
    with pytest.raises(InputError, match="draws .*at least 1, .*found 0"):
        BestRows(Reward({"diversity": 1.0}), draws=0)


def test_the_best_rows_of_all_draws_by_hand(axes):
    query = torch.eye(6)[:1]
    choose = BestRows(Reward({"diversity": 1.0}), draws=2)
    chosen = choose(axes, query, drawn([0, 0, 1], [1, 2, 0]), 3)
    assert sorted(chosen.argmax(-1)[0].tolist()) == [0, 1, 2]
    assert torch.equal(choose(axes, query, drawn([0, 1]), 2), drawn([0, 1])[:, 0])


def test_queries_choose_for_themselves(axes):
    rows = torch.cat([drawn([0, 0], [1, 2]), drawn([3, 4], [5, 5])])
    choose = BestSet(Reward({"diversity": 1.0}), draws=2)
    assert choose(axes, torch.eye(6)[:2], rows, 2).argmax(-1).tolist() == [[1, 2], [3, 4]]


def test_what_most_draws_hold_by_hand(axes):
    """Item 1 is in three draws, item 0 in two; 2, 3 and 5 in one, of which 5 is hit less exactly."""
    rows = drawn([0, 0, 1], [1, 2, 0], [1, 3, 5])
    rows[0, 2, 2] = torch.tensor([0.6, 0, 0, 0, 0, 0.8])
    sets = Consensus(3).retrieve(axes, torch.eye(6)[4:5], rows, 3, pool_size=5)
    assert sets.items.tolist() == [[1, 0, 2]]
    assert sets.pool.tolist() == [[1, 0, 2, 3, 5]]
    assert torch.equal(sets.directions, torch.eye(6)[[1, 0, 2]].unsqueeze(0))
    # More members than items with a vote: rows of items that are there already follow.
    sets = Consensus(2).retrieve(axes, torch.eye(6)[:1], drawn([2, 2], [2, 4]), 4, pool_size=6)
    assert sets.items.tolist() == [[2, 4, 2, 2]]
    assert sets.pool[0, :2].tolist() == [2, 4]
    assert sorted(sets.pool[0].tolist()) == [*range(6)]


def test_what_most_draws_hold_against_a_loop(axes):
    rows = unit(2, 4, 3, 6, seed=3)
    rows[0, 1, 2] = 0  # a missing row, as of a list that ends early
    sets = Consensus(4).retrieve(axes, unit(2, 6), rows, 3, pool_size=6)
    for query in range(2):
        votes, nearest = {}, {}
        for draw in rows[query]:
            found = [(int(row.argmax()), float(row.max())) for row in draw if row.any()]
            for item in {item for item, _ in found}:
                votes[item] = votes.get(item, 0) + 1
            for item, cosine in found:
                nearest[item] = max(nearest.get(item, -1.0), cosine)
        ranked = sorted(votes, key=lambda item: (-votes[item], -nearest[item]))
        assert sets.items[query].tolist() == ranked[:3]
        assert sets.pool[query, : len(ranked)].tolist() == ranked
        for item, direction in zip(ranked, sets.directions[query]):
            assert float(direction[item]) == pytest.approx(nearest[item])


def test_a_consensus_of_many_queries_is_ranked_in_parts(axes, monkeypatch):
    rows, queries = unit(3, 4, 3, 6, seed=3), unit(3, 6)
    whole = Consensus(4).retrieve(axes, queries, rows, 3, pool_size=6)
    monkeypatch.setattr(consensus, "AT_ONCE", 1)
    parts = Consensus(4).retrieve(axes, queries, rows, 3, pool_size=6)
    assert torch.equal(parts.pool, whole.pool)
    assert torch.equal(Consensus(4)(axes, queries, rows, 3), whole.directions)


def test_a_consensus_takes_several_draws():
    with pytest.raises(InputError, match="at least 2"):
        Consensus(1)


def test_query_time_comes_back_as_it_was_saved(tmp_path):
    reward = Reward({"diversity": 0.5, "alignment": 0.5})
    scored = BestRows(reward, draws=3), BestSet(reward, draws=4, pool_size=20)
    for choice in (*scored, Consensus(5), None):
        saved = QueryTime(choice, anchor=0.25)
        saved.save(tmp_path)
        loaded = QueryTime.load(tmp_path)
        assert type(loaded.choice) is type(choice)
        assert loaded.facts() == saved.facts()
    assert json.loads((tmp_path / "choice.json").read_text()) == {"weights": {}, "anchor": 0.25}
    assert QueryTime.load(tmp_path / "elsewhere") == QueryTime(None, 0.0)
    QueryTime(anchor=0.1, fused=True).save(tmp_path)
    assert QueryTime.load(tmp_path) == QueryTime(None, 0.1, fused=True)


def test_a_fused_pool_begins_with_the_members(axes):
    """What both directions rank second or third precedes what one of them ranks second."""
    rows = torch.zeros(1, 1, 2, 6)
    rows[0, 0, 0, [0, 2, 3]] = torch.tensor([0.8, 0.5, 0.33])
    rows[0, 0, 1, [1, 4, 2]] = torch.tensor([0.8, 0.5, 0.33])

    def pool(fused):
        answer = QueryTime(fused=fused).answer
        queries, vectors = [Query("q", "q", "")], torch.eye(6)[:1]
        return answer(lambda *_: rows[0], axes, queries, vectors, 2, 4).pool.tolist()

    assert pool(fused=False) == [[0, 1, 2, 4]]
    assert pool(fused=True)[0][:3] == [0, 1, 2]
    # Now 2 is third for both, 2/63, and 3 and 4 second for one, 1/62.
    rows[0, 0, 0, [0, 2, 3]] = torch.tensor([0.8, 0.33, 0.5])
    assert pool(fused=False) == [[0, 1, 3, 4]]
    assert pool(fused=True)[0][:3] == [0, 1, 2]


def test_a_choice_that_compares_queries_brings_them_along(axes, tmp_path):
    # The query is axis 0; the rivals are axes 1 and 2.
    query, bank = torch.eye(6)[:1], torch.eye(6)[1:3]
    rows = drawn([0, 1, 2], [3, 2, 4])
    for kind in (BestRows, BestSet):
        choice = kind(Reward({"specificity": 1.0}), draws=2)
        axes.bank = bank
        chosen = choice(axes, query, rows, 2)
        assert 0 in chosen.argmax(-1)
        QueryTime(choice).save(tmp_path, bank)
        loaded = QueryTime.load(tmp_path).choice
        axes.bank = None
        assert torch.equal(loaded.bank, bank)
        assert torch.equal(loaded(axes, query, rows, 2), chosen)
        axes.bank = torch.eye(6)[:1]  # of other queries; the model keeps its own, also when saved
        QueryTime(loaded).save(tmp_path, axes.bank)
        assert torch.equal(QueryTime.load(tmp_path).choice.bank, bank)
    QueryTime(BestRows(Reward({"diversity": 1.0}))).save(tmp_path, bank)
    assert not (tmp_path / "bank.safetensors").exists()


def test_what_cannot_be_saved_or_loaded_is_refused(tmp_path):
    given = QueryTime(BestRows(Reward({"mine": 1.0}, {"mine": load_objective("diversity")})))
    with pytest.raises(InputError, match=r"objects for \['mine'\] in the choice\. Remove"):
        given.save(tmp_path)
    with pytest.raises(InputError, match="anchor"):
        QueryTime(anchor=1.0)
    none = {"keep": "BestRows", "draws": 3, "anchor": 0.0, "weights": {}}  # nothing to choose by
    (tmp_path / "choice.json").write_text(json.dumps(none))
    assert QueryTime.load(tmp_path) == QueryTime()
    (tmp_path / "choice.json").write_text(
        json.dumps({"weights": {"diversity": 1.0}, "anchor": 0.0})
    )
    with pytest.raises(InputError, match="name of a Choice"):
        QueryTime.load(tmp_path)
    facts = {"keep": "BestSets", "weights": {"diversity": 1.0}, "draws": 1, "anchor": 0.0}
    (tmp_path / "choice.json").write_text(json.dumps(facts))
    message = (
        r"name of a Choice .* but found 'BestSets'\. Known names: BestRows, BestSet, Consensus"
    )
    with pytest.raises(InputError, match=message):
        QueryTime.load(tmp_path)
