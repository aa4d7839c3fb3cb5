"""The query-time retriever: scores by hand, order, seeds, and what it refuses."""

import pytest
import torch

from r4t.catalog import write_catalog
from r4t.choice import BestRows, QueryTime
from r4t.data.queries import Query
from r4t.data.source import Items
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.module import DiffusionRetriever
from r4t.diffusion.network import SetTransformer
from r4t.errors import InputError
from r4t.fanout.formats import Expand, Full, JsonList
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.index import TorchIndex
from r4t.methods.diffusion import DiffusionMethod
from r4t.methods.language import LanguageMethod, SubqueryWriter
from r4t.methods.lineup import MethodOptions
from r4t.report.comparison import compare_answers
from r4t.report.evaluation import Evaluation
from r4t.report.terminal import make_console
from r4t.retriever import Retriever
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.support.seeds import query_seed


class Words:
    """Each of two words is an axis of the plane."""

    dim = 2

    def encode(self, texts):
        rows = [["east" in text.split(), "north" in text.split()] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(rows).float(), dim=-1)

    def describe(self):
        return "two words"


@pytest.fixture
def plane(tmp_path):
    """Items a … e at 0, 30, 60, 90 and 180 degrees."""
    angles = torch.tensor([0.0, 30.0, 60.0, 90.0, 180.0]).deg2rad()
    items = Items(
        list("abcde"), [f"item {name}" for name in "abcde"], {"price": [1, 2, None, 4, 5]}
    )
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    catalog = write_catalog(tmp_path / "plane", items, vectors, None)
    return Searcher(catalog, Words(), TorchIndex(catalog.embeddings))


class Fixed:
    """A method that always writes the same sub-queries."""

    key, name, draws = "fixed", "Fixed", 1

    def __init__(self, searcher, *subqueries):
        self.searcher, self.subqueries = searcher, list(subqueries)

    def __call__(self, queries, vectors, *, draw=0):
        lists = [self.subqueries] * len(queries)
        return self.searcher.retrieve_texts(vectors, lists, 3, pool_size=5)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    network = SetTransformer(8, width=16, mlp_width=16, heads=2, layers=1, set_size=5)
    torch.nn.init.normal_(network.rows_out.weight, std=0.3)
    return DirectionGenerator(network).eval()


@pytest.fixture
def run(small_run, generator):
    """The small run with an untrained model of each kind."""
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(
        small_run.searcher().catalog.texts, None
    )
    FanoutModel(lm, tokenizer, Expand(set_size=4), 12).save(small_run.step("tune") / "model")
    generator.save(small_run.step("distill") / "model")
    return small_run


def test_a_set_by_hand(plane):
    answer = Retriever(plane, Fixed(plane, "east", "north"))("east north", size=4)
    # East and north in turn, best first: a, d, then b (30° from east) and c (30° from north).
    assert [item.id for item in answer] == ["a", "d", "b", "c"]
    cosine = 0.8660  # of 30°; the query lies at 45°
    assert [item.score for item in answer] == [1.0, 1.0, cosine, cosine]
    assert [item.query_score for item in answer] == [0.7071, 0.7071, 0.9659, 0.9659]
    assert [item.subquery for item in answer] == ["east", "north", "east", "north"]
    assert [item.metadata for item in answer] == [{"price": price} for price in (1, 4, 2, None)]
    assert len(answer) == 4
    assert str(answer).splitlines()[2] == " 0.866  item b"


def test_a_subquery_without_a_known_word_finds_nothing(plane):
    answer = Retriever(plane, Fixed(plane, "west", "east"))("east", size=5)
    assert [item.id for item in answer] == ["a", "b", "c", "d", "e"]
    # Even item e, opposite to east, was found by it: a masked member has no direction.
    assert answer.items[4].score == -1.0
    assert {item.subquery for item in answer} == {"east"}


def test_a_fanout_without_any_member_is_an_empty_set(plane):
    answer = Retriever(plane, Fixed(plane, "west"))("east", size=3)
    assert (len(answer), str(answer)) == (0, "")


def test_one_by_one_equals_a_batch(run):
    retriever = Retriever.load(run.folder)
    queries = ["red linen", "blue wool", "red linen coat"]
    together = retriever.many(queries, size=7, seed=3)
    assert together == [retriever(query, size=7, seed=3) for query in queries]
    assert all(len({item.id for item in answer}) == 7 for answer in together)
    assert retriever("red linen", size=7, seed=4) != together[0]


@pytest.mark.parametrize("method", ["diffusion", "folm", "mmr"])
def test_indexes_agree(run, method):
    exact = Retriever.load(run.folder, method)("red linen", seed=1)
    faiss = Retriever.load(run.folder, method, index="faiss")("red linen", seed=1)
    assert [item.id for item in exact] == [item.id for item in faiss]


QUERIES = [Query("p", "red linen", ""), Query("q", "blue wool", "")]


def test_the_diffusion_retriever_searches_with_what_is_generated(run, generator):
    searcher = run.searcher()
    vectors = searcher.encode_queries([query.text for query in QUERIES])
    method = DiffusionMethod(searcher, generator, set_size=3, pool_size=4)
    sets = method(QUERIES, vectors, draw=2)
    seeds = [query_seed(str(query_seed(query.id, 2)), 0) for query in QUERIES]
    directions = generator(vectors, seeds)[:, :3]
    assert torch.allclose(sets.directions, directions, atol=1e-6)
    assert torch.equal(sets.items, (directions @ searcher.catalog.embeddings.T).argmax(-1))
    assert (sets.pool[:, :1] == sets.items[:, :1]).all()
    loaded = Retriever.load(run.folder)
    assert loaded.method.set_size == 5  # as many as the model has, at most 10


def test_the_language_model_searches_with_what_it_writes(run):
    searcher, model = run.searcher(), FanoutModel.load(run.step("tune") / "model")
    vectors = searcher.encode_queries(["red linen"])
    method = LanguageMethod(searcher, SubqueryWriter(model, 0.7), pool_size=4)
    sets = method(QUERIES[:1], vectors, draw=9)
    (texts,) = model.sample(["red linen"], [query_seed("p", 9)], 1, 0.7).subqueries
    assert sets.texts == [texts]
    assert len(texts) > 0
    assert torch.allclose(sets.directions[0, : len(texts)], searcher.encode(texts), atol=1e-6)
    assert sets.set_size == 4
    assert sets.mask.sum() == len(texts)


def test_a_saved_anchor_is_searched_with(run):
    saved = FanoutModel.load(run.step("tune") / "model")
    plain = Retriever.load(run.folder, "folm").method
    FanoutModel(saved.lm, saved.tokenizer, Expand(set_size=4, anchor=0.6), 12).save(
        run.step("tune") / "model"
    )
    anchored = Retriever.load(run.folder, "folm").method
    vectors = anchored.searcher.encode_queries(["red linen"])
    before, after = (method(QUERIES[:1], vectors) for method in (plain, anchored))
    assert after.texts == before.texts
    mixed = 0.6 * vectors[0] + 0.4 * before.directions[0]
    expected = mixed / mixed.norm(dim=-1, keepdim=True) * before.mask[0].unsqueeze(-1)
    assert torch.allclose(after.directions[0], expected, atol=1e-6)


def test_a_choice_by_specificity_needs_no_queries_of_the_run(run, generator):
    choice = QueryTime(BestRows(Reward({"specificity": 1.0}), draws=3))
    DiffusionRetriever(generator, run=str(run.folder), query_time=choice).export()
    model = run.step("distill") / "model"
    before = [str(Retriever.load(run.folder)(text)) for text in ("grey wool", "brown silk")]
    (run.queries / "train.jsonl").unlink()
    assert run.searcher().bank is None
    assert [str(Retriever.load(run.folder)(text)) for text in ("grey wool", "brown silk")] == before
    (model / "bank.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"objective 'specificity', but found sets without \['bank'"
    ):
        Retriever.load(run.folder)("grey wool")


def test_a_method_without_directions_scores_items_by_the_query(run):
    answer = Retriever.load(run.folder, "no-fan-out")("red linen", size=3)
    assert [item.score for item in answer] == [item.query_score for item in answer]
    assert {item.subquery for item in answer} == {""}


def test_a_pool_is_capped_by_the_catalog_and_caps_the_size(run):
    retriever = Retriever.load(run.folder, "mmr")
    assert retriever.method.pool_size == 150
    assert Retriever.load(run.folder, "mmr", pool_size=1000).method.pool_size == 200
    with pytest.raises(InputError, match="at most 150, the pool of MMR, but found size 151"):
        retriever("red linen", size=151)


def test_variants_count_once_before_others_fill_up(run):
    retriever = Retriever.load(run.folder, "no-fan-out", distinct_by="noun")
    plain = Retriever.load(run.folder, "no-fan-out", distinct_by="none")("red linen", size=150)
    nouns = [item.metadata["noun"] for item in plain]
    firsts = [nouns.index(noun) for noun in dict.fromkeys(nouns)]
    others = [place for place in range(150) if place not in firsts]
    expected = [plain.items[place].id for place in [*firsts, *others]]
    assert len(firsts) == 5
    for size in (3, 5, 8):
        answer = retriever("red linen", size=size)
        assert [item.id for item in answer] == expected[:size]
    # Titles of two words besides the color are too short to be variants of each other.
    assert [item.id for item in Retriever.load(run.folder, "no-fan-out")("red linen")] == [
        item.id for item in plain.items[:10]
    ]


def test_every_verb_counts_variants_alike(run):
    how = {"distinct_by": "noun"}
    compared = compare_answers(run.folder, ["red linen"], methods=["mmr"], **how)
    answer = Retriever.load(run.folder, "mmr", **how)("red linen")
    assert [item.id for item in compared.answers[0].items] == [item.id for item in answer]
    assert [item.metadata["noun"] for item in answer][:5] == list(
        dict.fromkeys(item.metadata["noun"] for item in answer)
    )
    wrong = {"distinct_by": "nuon"}
    with pytest.raises(InputError, match=r"\['noun'\] of .* found 'nuon'\. .*mean 'noun'"):
        Retriever.load(run.folder, "mmr", **wrong)
    with pytest.raises(InputError, match="found 'nuon'"):
        compare_answers(run.folder, ["red linen"], methods=["mmr"], **wrong)
    with pytest.raises(InputError, match="found 'nuon'"):
        Evaluation(str(run.folder), **wrong).measure(MethodOptions(4, 20, ["mmr"]), make_console())


def test_refusals(run, generator, plane):
    retriever = Retriever.load(run.folder)
    with pytest.raises(InputError, match="at least one item, but found size 0. Ask for 10"):
        retriever("red linen", size=0)
    with pytest.raises(InputError, match="at most 200 items, all of .* found 201"):
        retriever("red linen", size=201)
    with pytest.raises(InputError, match="found 'qwerty', of which the encoder knows no word"):
        retriever.many(["red linen", "qwerty"])
    with pytest.raises(InputError, match=r"methods among .*, but found 'flom'.* mean 'folm'\?"):
        Retriever.load(run.folder, "flom")
    reason = "no model in warm_start/model yet. .* Models of this run: diffusion, folm."
    with pytest.raises(InputError, match=reason):
        Retriever.load(run.folder, "zero-shot")
    with pytest.raises(InputError, match="at most 5 directions, .* found set_size 6. Ask for"):
        DiffusionMethod(plane, generator, 6)


def test_the_program_says_so_where_nothing_was_written(run):
    from r4t.__main__ import run as run_verb

    saved = FanoutModel.load(run.step("tune") / "model")
    unparsable = FanoutModel(saved.lm, saved.tokenizer, Full(JsonList(), 4), 6)
    unparsable.save(run.step("tune") / "model")
    with pytest.raises(InputError, match=r"none by 'folm' for 'red linen'. Try --seed 1"):
        run_verb(["retrieve", str(run.folder), "red linen", "--with", "folm"])


def test_directions_are_anchored_to_their_query(plane):
    class North:
        """One direction, north, whatever is asked."""

        set_size = 1

        def __call__(self, query, seeds):
            return torch.tensor([[[0.0, 1.0]]]).expand(len(query), 1, 2)

    asked, east = [Query("east", "east", "")], torch.tensor([[1.0, 0.0]])
    sets = DiffusionMethod(plane, North(), 1, 5, QueryTime(anchor=0.5))(asked, east)
    # Half of each is the diagonal, nearest to items at 30 and 60 degrees; at 0 it is north itself.
    assert sets.directions[0, 0].tolist() == pytest.approx([0.5**0.5, 0.5**0.5])
    plain = DiffusionMethod(plane, North(), 1, 5)(asked, east)
    assert plain.items.tolist() == [[3]]
    with pytest.raises(InputError, match="anchor to be at least 0 .* but found 1.0"):
        QueryTime(anchor=1.0)
