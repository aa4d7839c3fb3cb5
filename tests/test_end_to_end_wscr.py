"""`r4t quickstart --task wscr --smoke`: queries with reference sets reach every step and the table."""

import math

import pytest
import torch
import yaml

from r4t.__main__ import run as run_verb
from r4t.catalog import Catalog, text_encoder
from r4t.data.queries import read_queries
from r4t.evaluation.results import Results
from r4t.targets import TargetSets

pytestmark = pytest.mark.e2e

METHODS = ["No fan-out", "MMR", "DPP", "MMR in pool", "DPP in pool", "k-means facets"]
METHODS += ["Most popular items", "Nearest sets", "Nearest sets by vote", "Ridge map"]
METHODS += ["Set regression (matched)", "Set regression (mixture)", "Nearby words"]
METHODS += ["Zero-shot", "Zero-shot + choice", "Zero-shot + RRF", "Best-of-5", "Best-of-5 (oracle)"]
METHODS += [
    f"R4T-{name}{end}" for name in ("FOLM", "Diffusion", "Student") for end in ("", " + choice")
]
METHODS += ["R4T-Refined"]
METHODS += ["Random", "Greedy bound", "Oracle", "References (oracle)"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wscr") / "run"
    run_verb(["quickstart", "--smoke", "--task", "wscr", "--run", str(folder)])
    return folder


def test_references_are_recalled_in_the_table(run):
    results = Results.load(run / "results")
    assert results.methods == METHODS
    for method in METHODS:
        recall = results.values[method]["items/recall"]
        assert len(recall) == len(results.queries)
        assert all(0 <= value <= 1 for value in recall)
        assert all(value in (0, 1) for value in results.values[method]["items/hit"])
        assert all(math.isfinite(value) for value in results.values[method]["items/vendi"])
    assert results.mean("References (oracle)", "items/recall") == 1.0
    # The plain search finds some of the references: the ids of queries and catalog fit each other.
    assert results.mean("No fan-out", "items/hit") > 0.3


def test_references_reward_the_steps(run):
    settings = yaml.safe_load((run / "tune" / "config.yaml").read_text(encoding="utf-8"))
    weights = settings["model"]["init_args"]["reward"]["init_args"]["weights"]
    assert weights["coverage"] == 1.0
    shard = TargetSets.load(run / "targets").shard(0)
    assert torch.equal(shard.scores["reward"], shard.scores["coverage"])
    assert (shard.scores["coverage"] > 0).any()
    assert all(query.references for query in read_queries(run / "queries", "test"))


def test_target_rows_are_directions(run):
    shard, catalog = TargetSets.load(run / "targets").shard(0), Catalog.load(run / "catalog")
    directions = text_encoder(catalog).encode(shard.texts[0])
    directions = directions[(directions != 0).any(-1)]  # a sub-query of unknown words is no member
    assert torch.allclose(shard.rows[0][: len(directions)], directions, atol=1e-6)
