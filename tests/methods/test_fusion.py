from collections import defaultdict

import pytest
import torch

from r4t.geometry import RankFusion, fused_ranking, take_turns
from r4t.index import TorchIndex


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


def retrieve(searcher, subqueries, size, pool_size=None, merge=take_turns):
    vectors = searcher.encode_queries(["east"])
    return searcher.retrieve_texts(vectors, [subqueries], size, pool_size=pool_size, merge=merge)


def test_rank_fusion_by_hand(plane):
    # East ranks a b c, north d c b. With 1/(1 + rank): a 1/2, d 1/2, b 1/3 + 1/4, c 1/4 + 1/3.
    # b and c tie at 7/12; east is named first, and its second is b. Then a, then d.
    asked = ["east", "north"], 2, 4
    sets = retrieve(plane, *asked, RankFusion(depth=3, constant=1.0))
    assert sets.pool.tolist() in ([[1, 2, 0, 3]], [[2, 1, 0, 3]])  # ties but for round-off
    plain = retrieve(plane, *asked)
    assert torch.equal(sets.items, plain.items)
    assert torch.equal(sets.directions, plain.directions)
    assert sets.texts == plain.texts
    # Fewer ranks than the pool: the plain pool follows.
    assert retrieve(plane, *asked, RankFusion(depth=1)).pool.tolist() == plain.pool.tolist()
    assert retrieve(plane, ["east", "north"], 2, merge=RankFusion()).pool is None


def test_the_members_come_first_on_request(plane):
    # East ranks a b c, north d c b: a and d are the members, then b and c as fusion has them.
    fused = RankFusion(depth=3, constant=1.0, members_first=True)
    pool = retrieve(plane, ["east", "north"], 2, 4, fused).pool.tolist()
    assert pool in ([[0, 3, 1, 2]], [[0, 3, 2, 1]])  # ties but for round-off


def test_rank_fusion_by_a_slow_loop(plane):
    subqueries = ["east north", "north west", "south"]
    sets = retrieve(plane, subqueries, 3, 5, RankFusion())
    rankings = plane.index.search(plane.encode(subqueries), 5)[1].tolist()
    # Items with equal scores may come in any order.
    scores = {row: sum(1 / (61 + r.index(row)) for r in rankings if row in r) for row in range(6)}
    best = sorted(scores.values(), reverse=True)[:5]
    assert [scores[row] for row in sets.pool[0].tolist()] == pytest.approx(best)


def test_rank_fusion_skips_missing_members(plane):
    sets = retrieve(plane, ["north"], 3, 3, RankFusion())
    assert sets.mask.tolist() == [[True, False, False]]
    assert sets.pool[0].tolist()[:2] == [3, 2]
    sets = retrieve(plane, ["nonsense", "west"], 3, 3, RankFusion())
    assert sets.mask.tolist() == [[False, True, False]]
    assert sets.pool[0, 0] == 4
    assert (sets.pool >= 0).all()


def test_rank_fusion_searches_once(plane):
    searches = []

    class Counted:
        def search(self, directions, top_k):
            searches.append((len(directions), top_k))
            return TorchIndex(plane.catalog.embeddings).search(directions, top_k)

    plane.index = Counted()
    retrieve(plane, ["east", "north"], 2, 4, RankFusion())
    assert searches == [(2, 4)]
    assert set(plane.watch.seconds) == {"encode", "search"}
