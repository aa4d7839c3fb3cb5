"""Which near items belong, and which repeat each other: against loops, and on a world made for it."""

import math
from dataclasses import replace

import pytest
import torch

from r4t.catalog import write_catalog
from r4t.data.queries import Query
from r4t.data.source import Items
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.index import TorchIndex
from r4t.methods import learned_choice
from r4t.methods.candidate_features import CandidateFeatures
from r4t.methods.context import MethodContext, Unavailable
from r4t.methods.learned_choice import Chooser, LearnedChoice, fit_chooser, most_facets
from r4t.methods.nearest import NoFanout
from r4t.methods.registry import find
from r4t.methods.training_sets import TrainingSets
from r4t.search import Searcher


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def test_most_facets_by_hand():
    """The best item, then the one that repeats it least for what it is worth: .8 · .1 < .5."""
    logits = torch.tensor([[0.9, 0.8, 0.5]]).logit()
    same = torch.tensor([[[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    assert most_facets(logits, same, 3).tolist() == [[0, 2, 1]]
    assert most_facets(logits, torch.zeros(1, 3, 3), 2).tolist() == [[0, 1]]


def test_most_facets_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 9, generator=generator)
    same = torch.rand(4, 9, 9, generator=generator)
    same = (same + same.mT) / 2
    found = most_facets(logits, same, 5)
    for row in range(4):
        places = []
        for _ in range(5):
            gains = {
                i: float(logits[row, i].sigmoid())
                * math.prod(1 - float(same[row, i, c]) for c in places)
                for i in range(9)
                if i not in places
            }
            places.append(max(gains, key=gains.get))
        assert found[row].tolist() == places


class World:
    """Queries, and around each three decoys, the nearest of all, and six items of three facets.

    A decoy has a twin almost at its place; the two items of a facet are near each other, but not so
    near. So who counts near copies can tell which belong, and who looks at cosines which are alike.
    """

    def __init__(self, folder, count=60, dim=32):
        queries = unit(count, dim, seed=1)
        vectors, self.queries = [], []
        for number, query in enumerate(queries):
            decoys = self.around(query, 3, 0.2, seed=1000 + number)
            facets = self.around(query, 3, 0.75, seed=2000 + number)
            rows = [*decoys, *(self.around(d, 1, 0.05, seed=3000 + number)[0] for d in decoys)]
            rows += [
                *facets,
                *(self.around(f, 1, 0.5, seed=4000 + number + i)[0] for i, f in enumerate(facets)),
            ]
            first = len(vectors)
            vectors += rows
            groups = tuple((f"i{first + 6 + i}", f"i{first + 9 + i}") for i in range(3))
            references = tuple(item for group in groups for item in group)
            self.queries.append(Query(f"q{number}", f"query {number}", "set", references, groups))
        self.by_text = dict(zip([query.text for query in self.queries], queries))
        embeddings = torch.stack(vectors)
        ids = [f"i{row}" for row in range(len(vectors))]
        catalog = write_catalog(folder, Items(ids, ids), embeddings, None)
        self.searcher = Searcher(catalog, self, TorchIndex(catalog.embeddings))
        self.training, self.test = self.queries[:45], self.queries[45:]

    @staticmethod
    def around(center, count, distance, seed):
        noise = unit(count, len(center), seed=seed)
        return normalize(center + distance * noise)

    def encode(self, texts):
        return torch.stack([self.by_text[text] for text in texts])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world") / "catalog")


@pytest.fixture(scope="module")
def memory(world):
    return TrainingSets("Learned choice", world.searcher, world.training, 2)


@pytest.fixture(scope="module")
def chooser(memory):
    return fit_chooser(memory)


def covered(world, items, queries):
    """Mean share of a query's facets of which the set holds an item."""
    ids, shares = world.searcher.catalog.ids, []
    for row, query in zip(items.tolist(), queries):
        held = {ids[item] for item in row}
        shares.append(sum(bool(held & {*facet}) for facet in query.facets) / len(query.facets))
    return sum(shares) / len(shares)


def test_it_learns_what_belongs_and_what_repeats(world, memory, chooser):
    vectors = world.encode([query.text for query in world.test])
    method = LearnedChoice(memory, chooser, 3, 90)
    sets = method(world.test, vectors)
    plain = NoFanout(world.searcher, 3, 90)(world.test, vectors)
    assert covered(world, plain.items, world.test) < 0.1  # decoys are nearest
    assert covered(world, sets.items, world.test) > 0.8
    slope, intercept = chooser.same
    assert slope > 1
    assert slope * 0.9 + intercept > 0 > slope * 0.5 + intercept
    blind = Chooser(chooser.ridge, chooser.networks, (0.0, -20.0))  # takes no item for a repetition
    assert covered(
        world, LearnedChoice(memory, blind, 3)(world.test, vectors).items, world.test
    ) < (covered(world, sets.items, world.test) - 0.1)
    # The pool goes on, distinct, beyond the candidates; an answer does not depend on its batch.
    assert torch.equal(sets.pool[:, :3], sets.items)
    assert all(len({*row} - {-1}) == 90 for row in sets.pool.tolist())
    assert torch.equal(method(world.test[4:5], vectors[4:5]).pool[0], sets.pool[4])


def test_a_fit_is_the_same_on_every_call_and_is_taken_apart(memory, chooser):
    again, _ = fit_chooser(memory).take_apart()
    state, facts = chooser.take_apart()
    assert all(torch.equal(state[name], each) for name, each in again.items())
    built = Chooser.build(state, {**facts, "same": [*facts["same"]]})
    assert built.same == chooser.same
    assert all(torch.equal(state[n], each) for n, each in built.take_apart()[0].items())


def test_without_facets_every_reference_is_its_own(world, memory):
    bare = [replace(query, facets=()) for query in world.training]
    fitted = fit_chooser(TrainingSets("Learned choice", world.searcher, bare, 2))
    assert fitted.same == (0.0, -learned_choice.SURE)
    one = [replace(query, facets=(query.references,)) for query in world.training]
    assert fit_chooser(TrainingSets("x", world.searcher, one, 2)).same == (0.0, learned_choice.SURE)


def test_it_refuses_what_it_was_fitted_on(world, memory, chooser):
    method = LearnedChoice(memory, chooser, 3)
    query = world.training[0]
    with pytest.raises(InputError, match="answers Learned choice has not seen .* found 1 of 1"):
        method([query], world.encode([query.text]))


def test_features_against_a_loop(world):
    training = unit(12, 32, seed=7)
    describe = CandidateFeatures(world.searcher, training)
    queries, mapped = unit(3, 32, seed=8), unit(3, 32, seed=9)
    own = [[], [2, 5], []]
    found = describe(queries, mapped, own)
    items = world.searcher.catalog.embeddings
    for row in range(3):
        both = normalize(queries[row] + mapped[row])
        assert found.items[row].tolist() == (items @ both).topk(80).indices.tolist()
        near = items[found.items[row]]
        others = torch.tensor([n for n in range(12) if n not in own[row]])
        common = near @ training[others].T
        closeness, expected = near @ queries[row], near @ mapped[row]
        sims = near @ near.T
        table = [
            closeness,
            closeness - closeness.max(),
            (closeness - closeness.mean()) / closeness.std(correction=0),
            torch.tensor([float((closeness > each).sum()) for each in closeness]),
            expected,
            expected - expected.max(),
            (expected - expected.mean()) / expected.std(correction=0),
            torch.tensor([float((expected > each).sum()) for each in expected]),
            near @ normalize(near.mean(0)),
            near @ normalize(((20 * expected).softmax(0).unsqueeze(1) * near).sum(0)),
            near @ normalize(near[:5].mean(0)),
            near @ normalize(near[:15].mean(0)),
            *(
                torch.tensor([float((sims[i] > t).sum() - 1) for i in range(80)])
                for t in (0.5, 0.6, 0.7, 0.8, 0.9)
            ),
            *(
                torch.stack(
                    [sims[i][torch.arange(80) != i].topk(n).values.mean() for i in range(80)]
                )
                for n in (1, 3, 10)
            ),
            common.mean(1),
            common.max(1).values,
            common.topk(10, 1).values.mean(1),
            closeness - common.max(1).values,
            closeness - common.topk(10, 1).values.mean(1),
            closeness.max().expand(80),
            closeness.std(correction=0).expand(80),
            closeness[:10].mean().expand(80),
            sims.mean().expand(80),
            (sims > 0.6).float().mean().expand(80),
        ]
        assert found.features[row].T.shape == (len(table), 80)
        assert found.features[row].T.allclose(torch.stack(table), atol=1e-4)
        assert found.cosines[row].allclose(sims, atol=1e-6)


@pytest.mark.parametrize("size", [4, 90])
def test_pools_and_sets_may_be_larger_than_the_candidates(world, memory, chooser, size):
    vectors = world.encode([query.text for query in world.test])
    sets = LearnedChoice(memory, chooser, size, 200)(world.test, vectors)
    assert all(len({*row} - {-1}) == 200 for row in sets.pool.tolist())
    assert torch.equal(sets.items, sets.pool[:, :size])


def test_a_catalog_smaller_than_the_candidates(tmp_path):
    dim, count = 8, 12
    ids, queries = [f"i{row}" for row in range(count)], unit(30, dim, seed=3)
    catalog = write_catalog(tmp_path / "c", Items(ids, ids), unit(count, dim, seed=2), None)
    texts = {f"query {n}": query for n, query in enumerate(queries)}

    class Known:
        def encode(self, asked):
            return torch.stack([texts[text] for text in asked])

    searcher = Searcher(catalog, Known(), TorchIndex(catalog.embeddings))
    training = [
        Query(f"q{n}", f"query {n}", "set", (ids[n % count], ids[(n + 1) % count]))
        for n in range(25)
    ]
    memory = TrainingSets("Learned choice", searcher, training, 2)
    method = LearnedChoice(memory, fit_chooser(memory), 5, count)
    asked = [Query(f"a{n}", f"query {25 + n}", "set") for n in range(5)]
    sets = method(asked, searcher.encode([query.text for query in asked]))
    assert all(sorted(row) == [*range(count)] for row in sets.pool.tolist())
    assert sets.item_embeddings.isfinite().all()


def test_training_queries_that_are_all_one_teach_without_numbers_that_are_none(world):
    same = [replace(query, id="q0") for query in world.training]
    memory = TrainingSets("x", world.searcher, same, 2)
    fitted = fit_chooser(memory)
    assert all(each.isfinite().all() for each in fitted.take_apart()[0].values())


def test_a_fit_in_parts_is_that_in_one(memory, chooser, monkeypatch):
    monkeypatch.setattr(learned_choice, "AT_ONCE", 7)
    state, _ = chooser.take_apart()
    for name, each in fit_chooser(memory).take_apart()[0].items():
        assert each.allclose(state[name], atol=1e-3), name


def test_it_is_kept_with_the_run(small_run):
    (entry,) = find(["learned-choice"])
    queries = small_run.read_queries("test")

    def answers():
        searcher = small_run.searcher()
        method = entry.build(MethodContext(small_run, searcher, 4, 20))
        return method(queries, searcher.encode([query.text for query in queries])).pool

    first = answers()
    (path,) = small_run.step("learned_choice").iterdir()
    written = path.stat().st_mtime_ns
    assert torch.equal(answers(), first)
    assert path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="found a damaged file at .*Delete it"):
        answers()


def test_few_training_sets_do_not_teach_it(small_run):
    training = small_run.read_queries("train")
    context = MethodContext(small_run, small_run.searcher(), 4, 20, training=training[:19])
    with pytest.raises(Unavailable, match="that 19 training queries, .* at least 20"):
        find(["learned-choice"])[0].build(context)
