import json

import pytest
from rich.console import Console

from r4t.catalog import write_catalog
from r4t.data.queries import write_queries
from r4t.data.wardrobe import SMALLEST, generate
from r4t.encoder import LsaEncoder
from r4t.errors import InputError
from r4t.evaluation.report import Evaluation, differences, ratios
from r4t.evaluation.results import Results
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.run import Run

COMPOSITE = "directions/composite"


def by_hand():
    return Results(
        {"set_size": 10, "pool_size": 150},
        ["p", "q", "r"],
        {
            "Zero-shot": {COMPOSITE: [0.1, 0.2, 0.3], "items/vendi": [2.0, 3.0, 4.0]},
            "Best-of-5": {COMPOSITE: [0.2, 0.3, 0.4], "items/vendi": [2.0, 2.0, 2.0]},
            "R4T-FOLM": {COMPOSITE: [0.5, 0.6, 0.7], "items/vendi": [5.0, 5.0, 5.0]},
            "R4T-Diffusion": {COMPOSITE: [0.4, 0.6, 0.62], "items/vendi": [6.0, 3.0, 6.0]},
        },
        {
            "R4T-FOLM": {"1": {"total": 0.06}, "64": {"total": 0.01}},
            "R4T-Diffusion": {"1": {"total": 0.01}, "64": {"total": 0.005}},
        },
    )


def test_differences_by_hand():
    found = {(d.first, d.second, d.measure): d for d in differences(by_hand())}
    assert list(found) == [
        ("R4T-FOLM", "Best-of-5", COMPOSITE),
        ("Best-of-5", "Zero-shot", COMPOSITE),
        ("R4T-Diffusion", "R4T-FOLM", COMPOSITE),
        ("R4T-FOLM", "Zero-shot", "items/vendi"),
        ("R4T-Diffusion", "Zero-shot", "items/vendi"),
    ]
    first = found["R4T-FOLM", "Best-of-5", COMPOSITE]
    # 0.3 on each query: the interval has no width.
    assert (first.mean, first.low, first.high) == pytest.approx((0.3, 0.3, 0.3))
    diffusion = found["R4T-Diffusion", "Zero-shot", "items/vendi"]
    assert diffusion.mean == pytest.approx((4 + 0 + 2) / 3)
    assert (diffusion.low, diffusion.high) == pytest.approx((0, 4))  # of three queries
    assert diffusion.queries == 3


def test_recall_is_compared_with_every_baseline():
    recall = {"items/recall": [0.1, 0.2, 0.3]}
    methods = ["No fan-out", "MMR", "Nearest sets", "R4T-FOLM", "R4T-Diffusion"]
    found = differences(Results({}, ["p", "q", "r"], dict.fromkeys(methods, recall), {}))
    baselines = ["No fan-out", "MMR", "Nearest sets"]
    ours = ["R4T-FOLM", "R4T-Diffusion"]
    assert [(d.first, d.second) for d in found] == [(a, b) for a in ours for b in baselines]
    assert all(d.mean == 0 for d in found)


def test_ratios_by_hand():
    # Means: zero-shot 0.2, FOLM 0.6, diffusion 0.54: 0.54/0.6 = 90 %, 0.34/0.4 = 0.85.
    assert ratios(by_hand()) == [
        "R4T-Diffusion reaches 90.0% of R4T-FOLM's composite",
        "(Diffusion − Zero-shot) / (FOLM − Zero-shot) of the composite: 0.85",
        "at batch 1 R4T-Diffusion answers 6.0 times as fast as R4T-FOLM",
        "at batch 64 R4T-Diffusion answers 2.0 times as fast as R4T-FOLM",
    ]


def test_what_is_not_there_is_not_compared():
    whole = by_hand()
    some = {name: whole.values[name] for name in ("Zero-shot", "R4T-FOLM")}
    found = Results(whole.settings, whole.queries, some, {})
    assert ratios(found) == []
    assert [(d.first, d.second) for d in differences(found)] == [("R4T-FOLM", "Zero-shot")]
    untimed = Results(whole.settings, whole.queries, whole.values, {})
    assert len(ratios(untimed)) == 2


@pytest.fixture(scope="module")
def wardrobe_run(tmp_path_factory):
    """A run on a small wardrobe with a language model that was never trained."""
    folder = tmp_path_factory.mktemp("report") / "run"
    wardrobe = generate(1, SMALLEST)
    encoder = LsaEncoder.fit(wardrobe.items.texts, dim=16)
    embeddings = encoder.encode(wardrobe.items.texts)
    write_catalog(folder / "catalog", wardrobe.items, embeddings, encoder)
    wardrobe.write_truth(folder / "catalog" / "truth")
    write_queries(folder / "queries", wardrobe.wscr)
    run = Run.begin(folder)
    lm, tokenizer = TinyQwen3(width=32, layers=1).build(wardrobe.items.texts, None)
    FanoutModel(lm, tokenizer, Expand(set_size=5), 20).save(run.step("warm_start") / "model")
    return run


def evaluation(run, **changes):
    settings = {"set_size": 5, "pool_size": 20, "queries": 6, "latency_batches": []}
    return Evaluation(str(run.folder), **{**settings, **changes})


def test_a_run_is_measured_as_far_as_it_has_come(wardrobe_run, capsys):
    console = Console(width=200)
    found = evaluation(wardrobe_run, best_of=2).measure(console)
    names = ["No fan-out", "MMR", "Nearest sets", "Zero-shot", "Best-of-2"]
    assert list(found.values) == names
    assert "has no such model yet: ['diffusion', 'folm']" in capsys.readouterr().out
    queries = wardrobe_run.read_queries("test")[:6]
    assert found.queries == [query.id for query in queries]
    assert found.settings["catalog"] == wardrobe_run.fingerprint
    assert (found.settings["set_size"], found.settings["pool_size"]) == (5, 20)
    # Recall of the plain search, recomputed: reference items among the 20 nearest.
    searcher = wardrobe_run.searcher()
    _, rows = searcher.index.search(searcher.encode([query.text for query in queries]), 20)
    recall = [
        sum(row in near for row in searcher.catalog.rows(query.references)) / len(query.references)
        for query, near in zip(queries, rows.tolist())
    ]
    assert found.values["No fan-out"]["items/recall"] == pytest.approx(recall, abs=1e-6)
    assert found.mean("Best-of-2", COMPOSITE) >= found.mean("Zero-shot", COMPOSITE)
    assert "items/facet recall" in found.measures
    again = evaluation(wardrobe_run, best_of=2).measure(console)
    assert json.dumps(again.values) == json.dumps(found.values)


def test_refusals(wardrobe_run):
    console = Console()
    with pytest.raises(InputError, match="writes 5 sub-queries, found set_size 6; set it to that"):
        evaluation(wardrobe_run, set_size=6).measure(console)
    with pytest.raises(InputError, match=r"found splits \['test', 'train', 'val'\] in"):
        evaluation(wardrobe_run, split="tests").measure(console)
    with pytest.raises(InputError, match="must choose without the references"):
        evaluation(wardrobe_run, weights={"coverage": 1.0}).measure(console)
