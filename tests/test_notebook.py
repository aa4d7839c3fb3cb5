"""The notebook of the whole method: its stored form is clean, and a fresh run shows the same."""

import base64
import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from r4t.catalog import Catalog
from r4t.evaluation.results import Results
from r4t.retriever import Retriever

nbformat = pytest.importorskip("nbformat", reason="the docs extra brings it")
nbclient = pytest.importorskip("nbclient", reason="the docs extra brings it")

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "docs/notebooks/method.ipynb"
PNG = b"\x89PNG\r\n\x1a\n"


def read():
    return nbformat.read(PATH, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    """Printed output of each code cell."""
    return ["".join(o.text for o in cell.outputs if "text" in o) for cell in code(notebook)]


def beginning(notebook, words):
    """Printed output of the only cell whose first line contains these words."""
    lines = [(text.partition("\n")[0], text) for text in printed(notebook)]
    (output,) = [text for first, text in lines if words in first]
    return output


def figures(notebook):
    data = [output.get("data", {}) for cell in code(notebook) for output in cell.outputs]
    return [base64.b64decode(one["image/png"]) for one in data if "image/png" in one]


def kinds(notebook):
    return [{output.output_type for output in cell.outputs} for cell in code(notebook)]


def test_its_stored_form_is_clean():
    notebook = read()
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in code(notebook)] == [
        number + 1 for number in range(len(code(notebook)))
    ], "run it once, from top to bottom"
    assert all(cell.metadata == {} for cell in notebook.cells), "no times, no marks of tools"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "error" not in set().union(*kinds(notebook))
    assert len(figures(notebook)) == 4
    words = PATH.read_text(encoding="utf-8")
    assert not re.search(r'[" ](/(home|root|tmp|usr|Users|work)/|[A-Z]:\\\\)', words)
    assert not re.search(r"\d seconds|\(\d+ s\)|it/s", words)
    assert len(words) < 300_000


def test_its_links_exist():
    texts = [cell.source for cell in read().cells if cell.cell_type == "markdown"]
    links = {link for text in texts for link in re.findall(r"\]\((?!http)([^)#]+)", text)}
    assert {"../results.md", "../tuning.md", "../recipes/refine.md"} <= links
    assert [link for link in sorted(links) if not (PATH.parent / link).exists()] == []


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after a run in an empty folder, and the run folder."""
    notebook, folder = read(), tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPLBACKEND", raising=False)  # figures go into the outputs
        place = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(notebook, timeout=900, resources=place).execute()
    return notebook, folder / "runs" / "notebook"


@pytest.mark.docs
def test_a_fresh_run_has_the_same_kinds_of_output(executed):
    notebook, _ = executed
    assert kinds(notebook) == kinds(read())
    pictures = figures(notebook)
    assert len(pictures) == 4
    assert all(picture.startswith(PNG) and len(picture) > 5_000 for picture in pictures)


@pytest.mark.docs
def test_the_scores_of_both_sets_are_correct(executed):
    notebook, run = executed
    catalog = Catalog.load(run / "catalog")
    lists = [
        [catalog.texts.index(line) for line in text.strip().splitlines()[1:]]
        for text in re.sub(r"(?m)^  ", "", beginning(notebook, "Plain search")).split("\n\n")
    ]
    assert [len(rows) for rows in lists] == [10, 10]
    header, *lines = beginning(notebook, "diversity").splitlines()
    names = ["specific_coverage", "groundedness", "diversity", "alignment", "complementarity"]
    assert header.split() == names
    scores = [[float(word) for word in re.findall(r"-?\d\.\d+", line)] for line in lines]
    assert scores[0][1] == 1.0  # eq. 3: its directions are items
    for rows, (_, _, diversity, *_) in zip(lists, scores):
        vectors = catalog.embeddings[rows].double().numpy()
        shares = np.linalg.eigvalsh(vectors @ vectors.T / 10).clip(min=1e-12)
        effective = np.exp(-(shares * np.log(shares)).sum())  # eq. 2
        assert diversity == pytest.approx(effective / 10, abs=6e-4)


@pytest.mark.docs
@pytest.mark.parametrize(
    ("step", "config", "steps"),
    [
        ("tune", "toy/1_tune.yaml", range(12)),  # rollouts of two optimizer steps
        ("refine", "shopper/5_refine.yaml", range(9, 500, 10)),
    ],
)
def test_the_reward_is_the_weighted_sum_of_the_logged_objectives(executed, step, config, steps):
    _, run = executed
    settings = yaml.safe_load((ROOT / "configs" / config).read_text(encoding="utf-8"))
    weights = settings["model"]["init_args"]["reward"]["init_args"]["weights"]
    with open(run / step / "logs/version_0/metrics.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["train/reward/mean"]]
    assert [int(row["step"]) for row in rows] == list(steps)
    for row in rows:
        total = sum(w * float(row[f"train/{name}/mean"]) for name, w in weights.items())
        assert float(row["train/reward/mean"]) == pytest.approx(total, abs=1e-5)


@pytest.mark.docs
def test_the_refined_retriever_has_passed_the_gate(executed):
    notebook, run = executed
    gate = json.loads((run / "refine/model/gate.json").read_text(encoding="utf-8"))
    assert gate["passed"]
    lines = beginning(notebook, "start").splitlines()
    for name, line in zip(("start", "refined"), lines, strict=True):
        measured = gate[name]
        expected = f"reward {measured['composite']:.3f}, Vendi score {measured['vendi']:.2f}"
        assert line.startswith(name)
        assert expected in line


@pytest.mark.docs
def test_the_answer_and_the_table_match_the_run(executed):
    notebook, run = executed
    answer = Retriever.load(run, "refined")("bohemian festival style")
    assert len({item.id for item in answer}) == 10
    lines = [f"{item.score:6.3f}  {item.text}  ({item.metadata['category']})" for item in answer]
    assert "\n".join(lines) + "\n" in printed(notebook)
    results = Results.load(run / "results")
    methods = ["No fan-out", "MMR", "Zero-shot", "Zero-shot + choice", "Graded ridge"]
    methods += ["Graded regression", "R4T-FOLM", "R4T-FOLM + choice"]
    methods += ["R4T-Diffusion", "R4T-Diffusion + choice", "R4T-Refined"]
    assert results.methods == methods
    table = beginning(notebook, "facet recall")
    assert [line[:24].strip() for line in table.splitlines()[1:]] == methods
    assert f"{results.mean('MMR', 'items/vendi'):.3f} ±" in table
