"""`r4t quickstart --smoke`: every step on the wardrobe, and what can be asked of the run it leaves."""

import json
import math
import shutil

import pytest
import torch
import yaml

from r4t.__main__ import run as run_verb
from r4t.catalog import Catalog, text_encoder
from r4t.evaluation.results import Results
from r4t.retriever import Retriever
from r4t.run import Run
from r4t.targets import TargetSets

pytestmark = pytest.mark.e2e

QUERY = "romantic bold"
WRITTEN = ["Nearby words", "Zero-shot", "Zero-shot + choice", "Zero-shot + RRF", "Best-of-5"]
GRADED = ["Graded nearest sets", "Graded ridge", "Graded regression"]
LEARNED = [
    f"R4T-{name}{end}" for name in ("FOLM", "Diffusion", "Student") for end in ("", " + choice")
]
LEARNED += ["R4T-Refined"]
ENDS = ["Random", "Greedy bound", "Oracle"]
SEARCHING = [*WRITTEN, "Graded nearest sets", "Graded regression", *LEARNED, "Greedy bound"]
RERANKED = ["MMR", "DPP", "MMR in pool", "DPP in pool", "k-means facets"]
METHODS = ["No fan-out", *RERANKED, *WRITTEN, *GRADED, *LEARNED, *ENDS]
DIRECTIONS = ["groundedness", "diversity", "alignment", "composite"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("oar") / "run"
    run_verb(["quickstart", "--smoke", "--run", str(folder)])
    return folder


def settings(folder):
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))


def ask(capsys, folder, *options):
    capsys.readouterr()
    run_verb(["retrieve", str(folder), QUERY, "--json", *options])
    return json.loads(capsys.readouterr().out)


def check_values(results, methods, measures, applies):
    """Every value of `measures` is finite where `applies`, and None everywhere else."""
    assert results.methods == methods
    for method in methods:
        for measure in measures:
            values = results.values[method][measure]
            assert len(values) == len(results.queries)
            if applies(method):
                assert all(math.isfinite(value) for value in values), (method, measure)
            else:
                assert values == [None] * len(values), (method, measure)


def test_the_run_folder_holds_every_step(run):
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    expected = ["run.json", "README.md", "catalog/items.parquet", "catalog/embeddings.safetensors"]
    expected += [f"queries/{split}.jsonl" for split in ("train", "val", "test")]
    for step in ("warm_start", "tune"):
        expected += [f"{step}/config.yaml", f"{step}/model/fanout.json"]
        expected += [f"{step}/model/model.safetensors", f"{step}/logs/version_0/metrics.csv"]
    expected += ["targets/config.yaml", "targets/manifest.json", "targets/README.md"]
    expected += ["targets/shard-000-00000.safetensors", "targets/shard-000-00000.json"]
    for step in ("distill", "accelerate", "refine"):
        expected += [f"{step}/config.yaml", f"{step}/model/config.json"]
        expected += [f"{step}/model/model.safetensors", f"{step}/logs/version_0/metrics.csv"]
    expected += ["accelerate/model/gate.json", "refine/model/gate.json"]
    expected += ["results/results.json", "results/results.md"]
    assert sorted(set(expected) - files) == []
    steps = {
        "warm_start",
        "tune",
        "targets",
        "distill",
        "accelerate",
        "refine",
        "results",
        "graded",
    }
    steps |= {"catalog", "queries"}
    assert {path.name for path in run.iterdir()} == steps | {
        "run.json",
        "README.md",
        "quickstart.json",
    }
    trained = ("warm_start", "tune", "distill", "accelerate", "refine")
    assert {f"{step}/checkpoints/last.ckpt" for step in trained} <= files
    readme = (run / "README.md").read_text(encoding="utf-8")
    assert all(f"`{step}/" in readme for step in steps)


def test_every_sample_is_written_or_counted(run):
    sets, told = TargetSets.load(run / "targets"), settings(run / "targets")
    model, data = told["model"]["init_args"], told["data"]["init_args"]
    queries = told["trainer"]["limit_predict_batches"] * data["batch_size"]
    manifest = sets.manifest
    # MMR and k-means give one set each.
    candidates = model["sampling"]["samples"] + len(model["teachers"]) - 1
    assert manifest.drawn == queries * candidates
    assert manifest.sets + sum(manifest.dropped.values()) == manifest.drawn
    assert sum(each["candidates"] for each in manifest.teachers.values()) == manifest.drawn
    assert sum(each["kept"] for each in manifest.teachers.values()) == manifest.sets
    catalog = Catalog.load(run / "catalog")
    assert (manifest.fingerprint, manifest.dim) == (catalog.fingerprint, catalog.dim)
    shard = sets.shard(0)
    assert shard.rows.shape[1:] == (model["set_size"], catalog.dim)
    # A row is a sub-query's embedding, and the item beside it is the nearest there is.
    scores = shard.rows @ catalog.embeddings.T
    beside = scores.gather(-1, shard.items.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(beside, scores.max(-1).values)
    weights = model["reward"]["init_args"]["weights"]
    composite = sum(weight * shard.scores[name] for name, weight in weights.items())  # eq. 1
    assert torch.allclose(shard.scores["reward"], composite, atol=1e-6)


def test_the_table_has_every_method(run):
    results = Results.load(run / "results")
    assert results.settings["catalog"] == Run.open(run).fingerprint
    directions = [f"directions/{name}" for name in DIRECTIONS]
    items = ["vendi", "cosine", "facet recall", "pool facet recall", "alpha nDCG", "diversity"]
    items += ["complementarity", "coherence", "fit precision", "exposure"]
    check_values(results, METHODS, directions, lambda method: method in SEARCHING)
    check_values(results, METHODS, [f"items/{name}" for name in items], lambda method: True)
    across = "directions/vendi across runs"
    once = [
        "Nearby words",
        "Zero-shot",
        "R4T-FOLM",
        "R4T-Diffusion",
        "R4T-Student",
    ]  # one draw an answer, as in the paper
    check_values(results, METHODS, [across], lambda method: method in once)
    for method in ("Zero-shot", "R4T-FOLM", "R4T-Diffusion", "R4T-Student"):  # chosen by it
        chosen = results.mean(f"{method} + choice", directions[-1])
        assert chosen > results.mean(method, directions[-1])
    assert len(results.clusters) == len(results.queries)
    assert results.mean("Best-of-5", directions[-1]) > results.mean("Zero-shot", directions[-1])
    for method in sorted(set(METHODS) - set(ENDS)):
        for batch in ("1", "8"):
            assert 0 < results.latency[method][batch]["total"] < 60
    table = (run / "results" / "results.md").read_text(encoding="utf-8")
    assert all(f"| {method} |" in table for method in METHODS)
    for plot in ("items", "directions", "plane"):
        assert (run / "results" / f"{plot}.png").stat().st_size > 10_000


@pytest.mark.parametrize("model", ["refined", "diffusion", "student", "folm", "zero-shot"])
def test_retrieve_answers_with_distinct_items(run, capsys, model):
    answer = ask(capsys, run, "--with", model)
    catalog = Catalog.load(run / "catalog")
    ids = [item["id"] for item in answer["items"]]
    assert answer["query"] == QUERY
    assert len(set(ids)) == len(ids) == 10
    rows = catalog.rows(ids)  # all of them are there
    assert [item["text"] for item in answer["items"]] == [catalog.texts[row] for row in rows]
    query = text_encoder(catalog).encode([QUERY])[0]
    cosines = (catalog.embeddings[rows] @ query).tolist()
    found = [item["query_score"] for item in answer["items"]]
    assert found == pytest.approx(cosines, abs=1e-4)
    by_words = [item["subquery"].startswith(QUERY) for item in answer["items"]]
    assert (
        by_words == [model not in ("refined", "diffusion", "student")] * 10
    )  # expansions of the query, or no words at all


def test_retrieve_names_the_words_that_it_does_not_know(run, capsys):
    assert "ignored" not in show(capsys, run, QUERY)
    told = "\nignored, because the encoder does not know them: xyzzy, plugh\n"
    assert show(capsys, run, f"{QUERY} xyzzy plugh").endswith(told)


def show(capsys, folder, query):
    run_verb(["retrieve", str(folder), query])
    return capsys.readouterr().out


@pytest.mark.parametrize("model", ["diffusion", "student", "folm"])
def test_retrieve_depends_on_the_seed_alone(run, capsys, model):
    options = ["--with", model, "--seed"]
    first = ask(capsys, run, *options, "3")
    assert ask(capsys, run, *options, "3") == first
    others = [ask(capsys, run, *options, str(seed)) for seed in (4, 5, 6)]
    assert any(other["items"] != first["items"] for other in others)


def test_three_lines_of_python_answer_as_the_program_does(run, capsys):
    retriever = Retriever.load(run)
    answer = retriever(QUERY)
    assert [item.id for item in answer] == [item["id"] for item in ask(capsys, run)["items"]]
    assert len(str(answer).splitlines()) == 10


def test_retrieve_prints_a_table(run, capsys):
    run_verb(["retrieve", str(run), QUERY, "--size", "4", "--index", "faiss"])
    printed = capsys.readouterr().out
    for item in Retriever.load(run)(QUERY, size=4):
        assert f"{item.query_score:.3f}" in printed


def test_a_moved_run_answers_as_before(run, capsys, tmp_path):
    before = ask(capsys, run)
    moved = tmp_path / "elsewhere"
    shutil.move(run, moved)
    try:
        assert ask(capsys, moved) == before
        assert len(ask(capsys, moved, "--with", "folm")["items"]) == 10
    finally:
        shutil.move(moved, run)
