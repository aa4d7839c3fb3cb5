"""`r4t quickstart --smoke`: every step on the wardrobe, and what can be asked of the run it leaves."""

import json
import math
import shutil

import pytest
import torch
import yaml

from r4t.__main__ import run as run_verb
from r4t.catalog import Catalog, text_encoder
from r4t.data.queries import read_queries
from r4t.evaluation.results import Results
from r4t.retriever import Retriever
from r4t.run import Run
from r4t.targets import TargetSets

pytestmark = pytest.mark.e2e
# One worker asks each run, so that it is made once.
on_oar = pytest.mark.xdist_group("oar run")
on_wscr = pytest.mark.xdist_group("wscr run")

QUERY = "romantic bold"
LEARNED = ["Zero-shot", "Best-of-5", "R4T-FOLM", "R4T-Diffusion"]
OAR_METHODS = ["No fan-out", "MMR", *LEARNED]
WSCR_METHODS = ["No fan-out", "MMR", "Nearest sets", *LEARNED]
DIRECTIONS = ["groundedness", "diversity", "alignment", "composite"]


@pytest.fixture(scope="module")
def oar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("oar") / "run"
    run_verb(["quickstart", "--smoke", "--run", str(folder)])
    return folder


@pytest.fixture(scope="module")
def wscr(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wscr") / "run"
    run_verb(["quickstart", "--smoke", "--task", "wscr", "--run", str(folder)])
    return folder


def settings(folder):
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))


def ask(capsys, folder, *options):
    capsys.readouterr()
    run_verb(["retrieve", str(folder), QUERY, "--json", *options])
    return json.loads(capsys.readouterr().out)


def check_values(results, methods, measures, applies):
    """Every value of `measures` is finite where `applies`, and None everywhere else."""
    assert list(results.values) == methods
    for method in methods:
        for measure in measures:
            values = results.values[method][measure]
            assert len(values) == len(results.queries)
            if applies(method):
                assert all(math.isfinite(value) for value in values), (method, measure)
            else:
                assert values == [None] * len(values), (method, measure)


@on_oar
def test_the_run_folder_holds_every_step(oar):
    files = {str(path.relative_to(oar)) for path in oar.rglob("*") if path.is_file()}
    expected = ["run.json", "README.md", "catalog/items.parquet", "catalog/embeddings.safetensors"]
    expected += [f"queries/{split}.jsonl" for split in ("train", "val", "test")]
    for step in ("warm_start", "tune"):
        expected += [f"{step}/config.yaml", f"{step}/model/fanout.json"]
        expected += [f"{step}/model/model.safetensors", f"{step}/logs/version_0/metrics.csv"]
    expected += ["targets/config.yaml", "targets/manifest.json", "targets/shard-00000.safetensors"]
    expected += ["distill/config.yaml", "distill/model/config.json"]
    expected += ["distill/model/model.safetensors", "results/results.json", "results/results.md"]
    assert sorted(set(expected) - files) == []
    steps = {"warm_start", "tune", "targets", "distill", "results", "catalog", "queries"}
    assert {path.name for path in oar.iterdir()} == steps | {"run.json", "README.md"}
    for step in ("warm_start", "tune", "distill"):
        assert any(name.startswith(f"{step}/logs/") and name.endswith(".ckpt") for name in files)
    readme = (oar / "README.md").read_text(encoding="utf-8")
    assert all(f"`{step}/" in readme for step in steps)


@on_oar
def test_every_sample_is_written_or_counted(oar):
    sets, told = TargetSets.load(oar / "targets"), settings(oar / "targets")
    model, data = told["model"]["init_args"], told["data"]["init_args"]
    queries = told["trainer"]["limit_predict_batches"] * data["batch_size"]
    manifest = sets.manifest
    assert manifest.drawn == queries * model["samples"]
    assert manifest.sets + sum(manifest.dropped.values()) == manifest.drawn
    kept = round(model["keep"]["init_args"]["share"] * model["samples"])
    assert manifest.sets + manifest.dropped["no sub-query"] == queries * kept
    catalog = Catalog.load(oar / "catalog")
    assert (manifest.fingerprint, manifest.dim) == (catalog.fingerprint, catalog.dim)
    shard = sets.shard(0)
    assert shard.rows.shape[1:] == (model["set_size"], catalog.dim)
    # OAR: a row is the embedding of the item beside it.
    assert torch.allclose(shard.rows, catalog.embeddings[shard.items])
    weights = model["reward"]["init_args"]["weights"]
    composite = sum(weight * shard.scores[name] for name, weight in weights.items())  # eq. 1
    assert torch.allclose(shard.scores["reward"], composite, atol=1e-6)


@on_oar
def test_the_table_has_every_method(oar):
    results = Results.load(oar / "results")
    assert results.settings["catalog"] == Run.open(oar).fingerprint
    directions = [f"directions/{name}" for name in DIRECTIONS]
    items = ["vendi", "cosine", "distinct", "facet recall", "pool facet recall"]
    check_values(results, OAR_METHODS, directions, lambda method: method in LEARNED)
    check_values(results, OAR_METHODS, [f"items/{name}" for name in items], lambda method: True)
    assert results.mean("No fan-out", "items/distinct") == 10
    assert results.mean("Best-of-5", directions[-1]) > results.mean("Zero-shot", directions[-1])
    for method in OAR_METHODS:
        for batch in ("1", "64"):
            assert 0 < results.latency[method][batch]["total"] < 60
    table = (oar / "results" / "results.md").read_text(encoding="utf-8")
    assert all(f"| {method} |" in table for method in OAR_METHODS)


@on_oar
@pytest.mark.parametrize("model", ["diffusion", "folm", "zero-shot"])
def test_retrieve_answers_with_distinct_items(oar, capsys, model):
    answer = ask(capsys, oar, "--with", model)
    catalog = Catalog.load(oar / "catalog")
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
    assert by_words == [model != "diffusion"] * 10  # expansions of the query, or no words at all


@on_oar
@pytest.mark.parametrize("model", ["diffusion", "folm"])
def test_retrieve_depends_on_the_seed_alone(oar, capsys, model):
    options = ["--with", model, "--seed"]
    first = ask(capsys, oar, *options, "3")
    assert ask(capsys, oar, *options, "3") == first
    others = [ask(capsys, oar, *options, str(seed)) for seed in (4, 5, 6)]
    assert any(other["items"] != first["items"] for other in others)


@on_oar
def test_three_lines_of_python_answer_as_the_program_does(oar, capsys):
    retriever = Retriever.load(oar)
    answer = retriever(QUERY)
    assert [item.id for item in answer] == [item["id"] for item in ask(capsys, oar)["items"]]
    assert len(str(answer).splitlines()) == 10


@on_oar
def test_retrieve_prints_a_table(oar, capsys):
    run_verb(["retrieve", str(oar), QUERY, "--size", "4", "--index", "faiss"])
    printed = capsys.readouterr().out
    for item in Retriever.load(oar)(QUERY, size=4):
        assert f"{item.query_score:.3f}" in printed


@on_oar
def test_a_moved_run_answers_as_before(oar, capsys, tmp_path):
    before = ask(capsys, oar)
    moved = tmp_path / "elsewhere"
    shutil.move(oar, moved)
    try:
        assert ask(capsys, moved) == before
        assert len(ask(capsys, moved, "--with", "folm")["items"]) == 10
    finally:
        shutil.move(moved, oar)


@on_wscr
def test_references_are_recalled_in_the_table(wscr):
    results = Results.load(wscr / "results")
    measures = ["items/recall", "items/hit", "items/vendi"]
    check_values(results, WSCR_METHODS, measures, lambda method: True)
    for method in WSCR_METHODS:
        assert all(0 <= value <= 1 for value in results.values[method]["items/recall"])
    # The plain search finds some of the references: the ids of queries and catalog fit each other.
    assert results.mean("No fan-out", "items/hit") > 0.3


@on_wscr
def test_references_reward_the_steps(wscr):
    weights = settings(wscr / "tune")["model"]["init_args"]["reward"]["init_args"]["weights"]
    assert weights["coverage"] == 1.0
    shard = TargetSets.load(wscr / "targets").shard(0)
    assert torch.equal(shard.scores["reward"], shard.scores["coverage"])
    assert (shard.scores["coverage"] > 0).any()
    # WSCR: a row is a sub-query's direction, not an item's embedding.
    catalog = Catalog.load(wscr / "catalog")
    directions = text_encoder(catalog).encode(shard.texts[0])
    assert torch.allclose(shard.rows[0][: len(directions)], directions, atol=1e-6)
    assert all(query.references for query in read_queries(wscr / "queries", "test"))
