"""What near training queries' target sets hold: by hand, against a loop, saved, of one catalog only."""

import pytest
import torch
from safetensors.torch import save_file

from r4t.catalog import Catalog
from r4t.choice import Likely, QueryTime, SetMemory, likely, memory
from r4t.errors import InputError
from r4t.index import TorchIndex
from r4t.search import Searcher
from tests.test_choice import unit


@pytest.fixture
def searcher():
    catalog = Catalog(None, {"fingerprint": "abc"}, unit(12, 4, seed=5))
    return Searcher(catalog, None, TorchIndex(catalog.embeddings))


@pytest.fixture
def known():
    """Five training queries, each with the items of its number and the next, but for the last."""
    queries = unit(5, 4, seed=8)
    sets = [(f"q{n}", "references", queries[n], [n, n + 1]) for n in range(4)]
    return SetMemory.of([*sets, ("q4", "folm", queries[4], [11, 11, -1])], "abc")


def test_teachers_count_the_same_and_so_do_the_sets_of_each():
    query = unit(1, 4)[0]
    found = SetMemory.of(
        [
            (
                "q",
                "references",
                query,
                [3, 5, 3, -1],
            ),  # 3 and 5: 1/2 each, with repeats and padding
            ("q", "folm", query, [5]),
            ("q", "folm", query, [5, 7, 8, 9]),
            ("empty", "folm", query, [-1, -1]),
        ],
        "abc",
    )
    assert len(found) == 1
    weights = dict(zip(found.items[0].tolist(), found.weights[0].tolist()))
    # 5: (1/2 + (1 + 1/4) / 2) / 2; 7, 8 and 9: (1/4 / 2) / 2
    assert weights == pytest.approx({3: 0.25, 5: 0.5625, 7: 0.0625, 8: 0.0625, 9: 0.0625})
    with pytest.raises(
        InputError, match="target sets that hold items of the catalog, but found none"
    ):
        SetMemory.of([("q", "folm", query, [-1])], "abc")


def recalled(known, queries, temperature, size=12):
    """Probability of each item, by a loop."""
    found = torch.zeros(len(queries), size)
    for row, query in enumerate(queries):
        shares = (known.queries @ query / temperature).softmax(0)
        for share, items, weights in zip(shares, known.items.tolist(), known.weights.tolist()):
            for item, weight in zip(items, weights):
                if item >= 0:
                    found[row, item] += share * weight
    return found


def test_recall_against_a_loop(known, monkeypatch):
    queries = unit(3, 4, seed=9)
    items, weights = known.recall(queries, 0.3)
    dense = torch.zeros(3, 12).scatter_add(1, items.clamp(min=0), weights)
    assert dense.allclose(recalled(known, queries, 0.3), atol=1e-6)
    assert weights.sum(1).tolist() == pytest.approx([1, 1, 1])
    monkeypatch.setattr(memory, "NEAREST", 1)
    items, weights = known.recall(queries, 0.3)
    nearest = (queries @ known.queries.T).argmax(1)
    assert torch.equal(items, known.items[nearest])


@pytest.mark.parametrize("depth", [100, 2])  # 2: the memory brings items that no direction lists
def test_members_and_pool_are_those_of_the_mixed_probability(searcher, known, monkeypatch, depth):
    monkeypatch.setattr(likely, "DEPTH", depth)
    queries, directions = unit(3, 4, seed=9), unit(3, 2, 4, seed=6)
    sets = Likely(0.2, 1.0, memory=0.4, nearness=0.3).retrieve(
        searcher, queries, directions, 3, pool_size=5, memory=known
    )
    embeddings = searcher.catalog.embeddings
    for row in range(3):
        cosines = directions[row] @ embeddings.T
        listed = cosines.topk(min(depth, 12), dim=1).indices
        scale = cosines.gather(1, listed).div(0.2).logsumexp(1, keepdim=True)
        draws = torch.zeros_like(cosines).scatter(1, listed, 1.0)  # each draws what it lists
        ours = (draws * (cosines / 0.2 - scale).exp()).mean(0)
        theirs = recalled(known, queries[row : row + 1], 0.3)[0]
        mixed = 0.6 * ours + 0.4 * theirs
        candidates = {*listed.flatten().tolist(), *known.items[known.items >= 0].tolist()}
        members = []
        while len(members) < 3:
            near = {
                i: max([float(embeddings[i] @ embeddings[m]) for m in members] or [0.0])
                for i in candidates
            }
            left = sorted(candidates - set(members))
            members.append(max(left, key=lambda item: float(mixed[item].log()) - near[item]))
        rest = sorted(candidates - set(members), key=lambda item: -float(mixed[item]))
        assert sets.items[row].tolist() == members
        assert sets.pool[row].tolist() == (members + rest)[:5]


def test_it_is_saved_beside_the_model_and_asks_for_its_catalog(searcher, known, tmp_path):
    answers = QueryTime(likely=Likely(0.2, 1.0, memory=0.4), memory=known)
    answers.save(tmp_path)
    loaded = QueryTime.load(tmp_path)
    assert loaded.likely == answers.likely
    assert loaded.memory.items.tolist() == known.items.tolist()
    assert loaded.memory.weights.allclose(known.weights, atol=1e-3)  # float16
    queries, directions = unit(2, 4, seed=9), unit(2, 3, 4, seed=6)
    found = [
        each.retrieve(searcher, queries, directions, 4, ["a", "b"], 6) for each in (answers, loaded)
    ]
    assert torch.equal(found[0].items, found[1].items)
    assert torch.equal(found[0].pool, found[1].pool)
    plain = QueryTime(likely=Likely(0.2, 1.0))
    plain.save(tmp_path)
    assert QueryTime.load(tmp_path).memory is None
    other = Catalog(None, {"fingerprint": "xyz"}, searcher.catalog.embeddings)
    with pytest.raises(
        InputError, match="the catalog abc, whose items the model remembers, but found xyz"
    ):
        answers.retrieve(
            Searcher(other, None, TorchIndex(other.embeddings)), queries, directions, 4, ["a", "b"]
        )
    with pytest.raises(
        InputError, match=r"a memory of target sets, for a share of 0\.4, but found none"
    ):
        Likely(0.2, memory=0.4).retrieve(searcher, queries, directions, 4)


def test_a_damaged_file_is_refused(known, tmp_path):
    known.save(tmp_path)
    path = tmp_path / memory.MEMORY_FILE
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        InputError, match=r"memory\.safetensors, but found a damaged file.* Train the"
    ):
        SetMemory.load(tmp_path)
    save_file({"queries": known.queries}, path)  # without a fingerprint
    with pytest.raises(InputError, match="a damaged file"):
        SetMemory.load(tmp_path)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"memory": 1.0}, r"a memory in \[0, 1\), a share beside the directions, but found 1.0"),
        ({"memory": -0.1}, "memory.*at least 0"),
        ({"nearness": 0.0}, "nearness"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Likely(**settings)
