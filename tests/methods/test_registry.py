"""Which methods a run has, which it lacks and why, and what they share."""

import json

import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation.latency import TimedSearcher
from r4t.evaluation.measuring import evaluate
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.methods.registry import Methods
from r4t.methods.training_sets import NearestSets, RidgeMap
from r4t.reward import Reward
from r4t.run import Run

REWARD = Reward({"diversity": 1.0})


@pytest.fixture
def run(small_run) -> Run:
    """The small run with a language model that was never trained."""
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(
        small_run.searcher().catalog.texts, None
    )
    FanoutModel(lm, tokenizer, Expand(set_size=4), 12).save(small_run.step("warm_start") / "model")
    return small_run


def build(run, queries, *, training=(), **settings):
    methods = Methods(4, 20, **settings)
    searcher = TimedSearcher(run.searcher())
    return methods.build(run, searcher, queries, REWARD, training=training), searcher


def test_curves_have_their_own_trade_offs(small_run):
    queries = small_run.read_queries("test")[:1]
    few = ["MMR", "DPP"]

    def curves(**settings):
        found = build(small_run, queries, **{"methods": few, **settings})[0]
        assert [m.name for m in found.methods] == [
            *settings.get("methods", few),
            *(name for points in found.curves.values() for name, _ in points),
        ]
        return {name: [value for _, value in points] for name, points in found.curves.items()}

    near_one = [0.5, 0.7, 0.9, 0.95, 0.99]
    assert curves() == {"MMR": [0.1, 0.3, 0.5, 0.7, 0.9], "DPP": near_one}
    assert curves(curves=[0.2]) == {"MMR": [0.2], "DPP": near_one}
    assert curves(curves=[0.2], dpp_curves=[0.98]) == {"MMR": [0.2], "DPP": [0.98]}
    assert curves(curves=[]) == {}
    assert curves(curves=[], dpp_curves=[0.98]) == {"DPP": [0.98]}
    assert curves(methods=["MMR"]) == {"MMR": [0.1, 0.3, 0.5, 0.7, 0.9]}
    with pytest.raises(InputError, match=r"trade-off of MMR must lie between .* found 2 — choose"):
        curves(curves=[2])


def test_in_pool_methods_order_the_set_alone(small_run):
    queries = small_run.read_queries("test")
    names = ["No fan-out", "MMR in pool", "DPP in pool"]
    found, searcher = build(small_run, queries, methods=names, curves=[])
    z = searcher.encode([query.text for query in queries])
    plain, *others = (method(queries, z).pool for method in found.methods)
    for pool in others:
        assert torch.equal(pool.sort().values, plain.sort().values)
        for mine, near in zip(pool.tolist(), plain.tolist(), strict=True):
            assert mine[4:] == [row for row in near if row not in mine[:4]]


def test_oracles_without_references_say_why(run):
    queries = [*run.read_queries("test")[:2], Query("bare", "red", "mood")]
    found, _ = build(run, queries, curves=[])
    why = "1 of 3 queries have no references"
    oracles = ("Best-of-5 (oracle)", "References (oracle)")
    assert {name: found.absent[name] for name in oracles} == dict.fromkeys(oracles, why)
    with pytest.raises(InputError, match=rf"found 'Best-of-5 \(oracle\)' \({why}\) among"):
        build(run, queries, methods=["Best-of-5 (oracle)"])
    found, _ = build(run, queries[:2], curves=[])
    assert set(oracles) <= {method.name for method in found.methods}


def test_memory_holds_no_query_that_is_asked(small_run):
    training = small_run.read_queries("train")
    asked = [Query("typed", training[3].text.upper() + "?", ""), training[5]]
    found, _ = build(
        small_run, asked, training=training, methods=["Nearest sets", "Ridge map"], curves=[]
    )
    nearest, ridge = found.methods
    assert isinstance(nearest, NearestSets)
    assert [query.id for query in nearest.training] == [
        query.id for query in training if query.id not in (training[3].id, training[5].id)
    ]
    assert isinstance(ridge, RidgeMap)
    z = small_run.searcher().encode([query.text for query in asked])
    assert ridge(asked, z).items.shape == (2, 4)  # it does not refuse


def test_given_subqueries_of_few_lines_have_no_vendi_across_runs(small_run, tmp_path):
    queries = small_run.read_queries("test")[:2]
    path = tmp_path / "given.jsonl"
    lines = [
        {"id": query.id, "subqueries": [f"{color} {noun}" for color in ("red", "blue")]}
        for query in queries
        for noun in ("hat", "coat", "boots")
    ]

    def across(lines, runs):
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        names = ["Given", "Given + RRF"]
        found, searcher = build(small_run, queries, methods=names, curves=[], subqueries=str(path))
        results = evaluate(
            found.methods, queries, searcher, {}, {}, across_runs=runs, latency_batches=()
        )
        return [results.values[name]["directions/vendi across runs"] for name in names]

    three, fused = across(lines, 3)
    assert fused == [None, None]
    # Three different lines: above 1/3, which is what one line three times would have.
    assert all(1 / 3 + 0.05 < value <= 1 for value in three)
    assert across(lines[:-1], 3)[0] == [None, None]
    assert across(lines, 4)[0] == [None, None]
    assert across([lines[0], lines[0], lines[3], lines[3]], 2)[0] == pytest.approx([0.5, 0.5])


def test_draws_of_the_untuned_model_are_written_once(run, monkeypatch):
    queries = run.read_queries("test")
    names = ["Zero-shot", "Zero-shot + RRF", "Best-of-5", "Best-of-5 (oracle)"]
    found, searcher = build(run, queries, methods=names, curves=[])
    written = []
    sample = FanoutModel.sample

    def counted(self, texts, seeds, *rest):
        written.extend(zip(texts, seeds, strict=True))
        return sample(self, texts, seeds, *rest)

    monkeypatch.setattr(FanoutModel, "sample", counted)
    results = evaluate(found.methods, queries, searcher, {}, {}, across_runs=5, latency_batches=())
    # Draws 0 to 4 of each query, which are those of Best-of-5 and of Vendi across runs.
    assert len(written) == len(set(written)) == 5 * len(queries)
    across = {
        name: values["directions/vendi across runs"] for name, values in results.values.items()
    }
    assert None not in across["Zero-shot"]
    assert {value for name in names[1:] for value in across[name]} == {None}
    written.clear()
    evaluate(found.methods, queries, searcher, {}, {}, latency_batches=(2,), latency_calls=1)
    # Timing writes anew: a call that does not count and one that does, of two queries each.
    assert len(written) == 2 * 2 * (1 + 1 + 5 + 5)
