"""Bad input to the program: one clear sentence on stderr, exit code 2, nothing lost."""

import csv
import json
import re
import sys

import numpy as np
import pytest
import torch
import yaml

import r4t.cli.lightning  # noqa: F401  (its logger would keep the captured stderr of one test)
from r4t.catalog import write_catalog
from r4t.data.queries import Query, write_queries
from r4t.data.source import Items
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.encoder import LsaEncoder
from r4t.fanout.backend import Transformers
from r4t.fanout.formats import Expand, Full, JsonList
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.plugins import OBJECTIVES, installed
from r4t.run import Run
from r4t.support.configs import configs_folder

GOOD = [
    {"id": f"i{row}", "text": f"{word} hat"} for row, word in enumerate(("red", "blue", "tall"))
]
QUICK = {
    "model": {
        "init_args": {
            "grpo": {"group_size": 2, "micro_batch": 8},
            "sampling": {"max_new_tokens": 20},
        }
    },
    "data": {"init_args": {"batch_size": 4, "val_queries": 4}},
    "trainer": {"max_steps": 4, "val_check_interval": 2, "log_every_n_steps": 1},
}
FAULTY = """
import torch
from r4t.objective import Objective

class Nan(Objective):
    bounds = (0.0, 1.0)
    def score(self, sets):
        return sets.mask.float().mean(-1) * float("nan")

class PerMember(Objective):
    bounds = (0.0, 1.0)
    def score(self, sets):
        return sets.mask.float()
"""


@pytest.fixture
def refused(program):
    """Runs ``r4t`` with arguments that it must refuse → the sentence."""

    def call(*arguments):
        code, _, err = program(*arguments)
        assert code == 2
        assert "Traceback" not in err
        told = [line for line in err.splitlines() if line.startswith("r4t: ")]
        assert err.splitlines()[-1:] == told  # one sentence, after whatever Lightning logs
        return told[0].removeprefix("r4t: ")

    return call


@pytest.fixture
def run(small_run) -> Run:
    """The small run with a small model of each kind, none of them trained."""
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(["red linen shirt"], None)
    for step in ("warm_start", "tune"):
        FanoutModel(lm, tokenizer, Expand(), 8).save(small_run.step(step) / "model")
    network = SetTransformer(8, width=16, mlp_width=16, heads=2, layers=1, set_size=12)
    DirectionGenerator(network).save(small_run.step("distill") / "model")
    return small_run


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Installs the two faulty objectives as an installer would."""
    folder = tmp_path / "site"
    info = folder / "faulty-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "faulty_objectives.py").write_text(FAULTY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    points = "nan = faulty_objectives:Nan\nmembers = faulty_objectives:PerMember\n"
    (info / "entry_points.txt").write_text(f"[r4t.objectives]\n{points}")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "faulty_objectives", raising=False)


@pytest.fixture
def silent(monkeypatch):
    """A language model that must not write."""

    def never(*_):
        raise AssertionError("a completion was written")

    monkeypatch.setattr(Transformers, "generate", never)


def content(folder):
    """Path → bytes of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def items_file(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tune(tmp_path, run, weights, **changes):
    """Arguments of a quick ``fit`` of stage 1."""
    reward = {"class_path": "r4t.reward.Reward", "init_args": {"weights": weights}}
    model = {**QUICK["model"]["init_args"], "reward": reward, **changes}
    path = tmp_path / "quick.yaml"
    path.write_text(yaml.safe_dump({**QUICK, "model": {"init_args": model}}), encoding="utf-8")
    toy = configs_folder() / "toy" / "1_tune.yaml"
    return "fit", "--config", toy, "--config", path, "--run", run.folder


@pytest.mark.parametrize(
    "row, said",
    [
        (
            {"text": "green hat"},
            r"fields id and text .* found no id among \['text'\] at line 4",
        ),
        ({"id": None, "text": "green hat"}, r"the id of each item, but found None at line 4 of"),
        ({"id": "", "text": "green hat"}, r"the id of each item, but found '' at line 4 of"),
        (
            {"id": "i1", "text": "green hat"},
            r"distinct item ids, but found 'i1' at line 2 and again at line 4",
        ),
        ({"id": "i3", "text": "  "}, r"a text for each item, but found '  ' for item 'i3' at line"),
        ({"id": "i3"}, r"fields id and text .* found no text among \['id'\] at line 4"),
    ],
)
def test_items_that_cannot_be_told_apart_or_read(refused, tmp_path, row, said):
    source = items_file(tmp_path / "items.jsonl", [*GOOD, row])
    sentence = refused("catalog", source, "--out", tmp_path / "catalog", "--dim", "2")
    assert re.search(said, sentence)
    assert not (tmp_path / "catalog").exists()


def test_a_refused_catalog_leaves_the_old_one(refused, tmp_path):
    out = tmp_path / "catalog"
    items = Items([row["id"] for row in GOOD], [row["text"] for row in GOOD])
    write_catalog(out, items, torch.eye(3), None)
    before = content(out)
    source = items_file(tmp_path / "items.jsonl", GOOD)
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32))
    options = ["--out", out, "--vectors", tmp_path / "v.npy", "--overwrite"]
    sentence = refused("catalog", source, *options)
    assert "one row for each of the 3 items, but found shape (4, 4). Pass them" in sentence
    assert content(out) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_vectors_of_another_width_than_their_encoder(refused, tmp_path, monkeypatch):
    source = items_file(tmp_path / "items.jsonl", GOOD)
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    encoder = LsaEncoder(["red", "blue"], torch.eye(2))
    monkeypatch.setattr("r4t.cli.catalog._pretrained", lambda *named: encoder)
    options = ["--vectors", tmp_path / "v.npy", "--encoder", "some/model", "--out", tmp_path / "c"]
    sentence = refused("catalog", source, *options)
    assert "as wide as their query encoder, 2, but found width 3. Name the encoder" in sentence
    assert not (tmp_path / "c").exists()


def test_mixed_metadata_in_one_line(refused, tmp_path):
    rows = [{**row, "size": size} for row, size in zip(GOOD, (1, "M", 3))]
    source = items_file(tmp_path / "items.jsonl", rows)
    sentence = refused("catalog", source, "--out", tmp_path / "c", "--dim", "2")
    assert "of one type in the metadata column 'size', but found several" in sentence


def test_a_catalog_that_is_not_the_runs(refused, run, small_items, tmp_path):
    texts = [f"{text} new" for text in small_items.texts]
    encoder = LsaEncoder.fit(texts, dim=8)
    items = Items(small_items.ids, texts)
    write_catalog(run.catalog, items, encoder.encode(texts), encoder, overwrite=True)
    before = content(run.folder)
    said = f"run {run.folder} was begun with (fingerprint {run.fingerprint[:12]}), but found"
    assert said in refused("retrieve", run.folder, "red linen")
    assert said in refused("evaluate", run.folder)
    assert said in refused(*tune(tmp_path, run, {"diversity": 1.0}))
    assert content(run.folder) == before


def test_an_objective_that_is_not_installed(refused, run, tmp_path):
    sentence = refused(*tune(tmp_path, run, {"diversty": 1.0}))
    assert sentence == (
        "Expected an installed objective, but found 'diversty'. "
        f"Installed: {', '.join(installed(OBJECTIVES))}. Did you mean 'diversity'?"
    )
    path = tmp_path / "evaluate.yaml"
    path.write_text("weights: {diversty: 1.0}\n", encoding="utf-8")
    assert refused("evaluate", run.folder, "--config", path) == sentence


@pytest.mark.parametrize(
    "name, said",
    [
        (
            "nan",
            r"objective 'nan' to return finite scores within \[0.0, 1.0\], but found nan for query 0 "
            r"of 48 \('\w+ \w+'\)\. Correct its score",
        ),
        ("members", r"to return a tensor of shape \(48,\), one score per query, but found"),
    ],
)
def test_an_objective_that_breaks_its_contract(
    refused, run, stranger, silent, tmp_path, name, said
):
    before = content(run.folder)
    assert re.search(said, refused(*tune(tmp_path, run, {"diversity": 1.0, name: 0.0})))
    after = content(run.folder)
    assert {path: after[path] for path in before} == before  # models and data are as they were


def test_an_objective_that_cannot_be_imported_shows_its_own_error(program, run, stranger, tmp_path):
    (tmp_path / "site" / "faulty_objectives.py").write_text("1 / 0\n")
    code, _, err = program(*tune(tmp_path, run, {"nan": 1.0}))
    assert code == 2
    assert "objective 'nan' to be importable from faulty_objectives:Nan, but found ZeroDiv" in err
    assert err.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "jsonargparse" not in err


def weighted(name, arguments, **others):
    """A reward by an objective with arguments."""
    given = {"class_path": arguments["class_path"], "init_args": arguments["init_args"]}
    weights = {name: 1.0, **others}
    return {
        "class_path": "r4t.reward.Reward",
        "init_args": {"weights": weights, "objectives": {name: given}},
    }


@pytest.fixture
def start(run):
    """Saves a small model, otherwise made or with another tokenizer, to be tuned from."""

    def save(change=lambda tokenizer: None, **arguments):
        source = TinyQwen3(width=32, layers=1, vocabulary=300, **arguments)
        lm, tokenizer = source.build(["red linen shirt"], None)
        change(tokenizer)
        folder = run.step("warm_start") / "model"
        lm.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return save


def json_list(**arguments):
    """The paper's list format."""
    list_format = {"class_path": "r4t.fanout.formats.JsonList", "init_args": arguments}
    return {"class_path": "r4t.fanout.formats.Full", "init_args": {"list_format": list_format}}


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            # A word and a line break, ten times.
            {"sampling": {"max_new_tokens": 19}},
            r"at least 20, for a list of 10 sub-queries of one token each, but found 19\. "
            r"Raise it or lower set_size\.$",
        ),
        (
            {"sampling": {"max_new_tokens": 19}, "form": json_list()},
            r"at least \d\d, for a list of 10 sub-queries .*, but found 19\. Raise",
        ),
        ({"grpo": {"group_size": 1}}, r"group_size of at least 2, as .*, but found 1\. Use 8"),
        (
            {"sampling": {"max_new_tokens": 20, "temperature": 0.0}},
            r"a temperature above 0, but found 0\.0\. Take the paper's 0\.9\.$",
        ),
    ],
)
def test_settings_that_cannot_work(refused, run, silent, tmp_path, changes, said):
    sentence = refused(*tune(tmp_path, run, {"diversity": 1.0}, **changes))
    assert re.search(said, sentence), sentence


def test_a_prompt_template_without_the_query(refused, run, silent, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("Answer in <queries>[...]</queries>, {set_size} at most.")
    sentence = refused(*tune(tmp_path, run, {"diversity": 1.0}, form=json_list(task=str(path))))
    assert f"a prompt with {{query}}, but found none in '{path}'. Write it where" in sentence


def test_prompts_longer_than_the_model_reads(refused, run, start, silent, tmp_path):
    start(max_length=40)
    arguments = {"form": json_list(), "sampling": {"max_new_tokens": 39}}
    sentence = refused(*tune(tmp_path, run, {"diversity": 1.0}, **arguments))
    assert re.search(r"into the model's 40 tokens, but found \d+ of the prompt without a", sentence)
    # The longest of the training queries decides, whichever batch it comes in.
    asked = run.read_queries("train")
    asked[17] = Query("q17", "blue linen " * 6, "mood")
    write_queries(run.queries, {"train": asked, "val": run.read_queries("val")})
    sentence = refused(*tune(tmp_path, run, {"diversity": 1.0}))
    said = r"40 tokens, but found \d+ of the prompt for 'blue linen blue .*' and 20 of max_new_tokens\."
    assert re.search(said, sentence)


def test_tokenizers_that_cannot_do(refused, run, start, silent, tmp_path):
    start(lambda tokenizer: setattr(tokenizer, "eos_token", None))
    sentence = refused(*tune(tmp_path, run, {"diversity": 1.0}))
    assert "with a token that ends a completion, but found no eos_token in '" in sentence
    broken = "{{ raise_exception('system first') }}"
    start(lambda tokenizer: setattr(tokenizer, "chat_template", broken))
    sentence = refused(*tune(tmp_path, run, {"diversity": 1.0}))
    assert "one user message, but found one that fails with 'system first'. Correct it" in sentence


def test_a_tokenizer_without_a_pad_token_or_a_chat_template_will_do(program, run, start, tmp_path):
    start(lambda tokenizer: setattr(tokenizer, "pad_token", None))
    with pytest.warns(UserWarning, match="has no pad token: its end token '<eos>' pads"):
        code, _, err = program(*tune(tmp_path, run, {"diversity": 1.0}))
    assert (code, "Traceback" in err) == (0, False)
    assert len(FanoutModel.load(run.step("tune") / "model").sample(["red linen"], [0]).texts) == 1


@pytest.mark.parametrize(
    "reward, said",
    [
        (
            {"class_path": "r4t.reward.Reward", "init_args": {"weights": {"diversity": 0}}},
            r"other than 0, but found 0 for all of \['diversity'\], which only audits them\. W",
        ),
        (
            weighted(
                "slots",
                {
                    "class_path": "r4t_objectives.complementarity.Complementarity",
                    "init_args": {"field": "nown"},
                },
            ),
            r"metadata columns \['noun'\] of .* found 'nown'\. Choose.* Did you mean 'noun'",
        ),
        (
            weighted(
                "rules",
                {
                    "class_path": "r4t_objectives.constraint.Constraint",
                    "init_args": {
                        "rules": [
                            {
                                "class_path": "r4t_objectives.constraint.Budget",
                                "init_args": {"field": "noun", "total": 5},
                            }
                        ]
                    },
                },
            ),
            r"numbers in column 'noun' of .* found '\w+'",
        ),
        (
            weighted(
                "variety",
                {
                    "class_path": "r4t_objectives.diversity.Diversity",
                    "init_args": {"q": 0.0},
                },
            ),
            r"q.* found 0.0",
        ),
    ],
)
def test_objectives_that_cannot_score_here(refused, run, tmp_path, reward, said):
    sentence = refused(*tune(tmp_path, run, {"diversity": 1.0}, reward=reward))
    assert re.search(said, sentence), sentence


def test_coverage_of_queries_without_references(refused, run, silent, tmp_path):
    for split in ("train", "val"):
        asked = [Query(f"q{row}", "red linen", "mood") for row in range(8)]
        write_queries(run.queries, {split: asked})
    sentence = refused(*tune(tmp_path, run, {"coverage": 1.0}, retrieval={"pool_size": 20}))
    assert "sets with ['pool', 'references'] for objective 'coverage', but found sets" in sentence
    # Some have references, one has none.
    asked[3] = Query("q3", "blue wool", "set", ("i1",))
    write_queries(run.queries, {"train": asked, "val": asked})
    sentence = refused(*tune(tmp_path, run, {"coverage": 1.0}, retrieval={"pool_size": 20}))
    assert re.search(
        r"at least one reference item per query, .* found none for query \d+ of", sentence
    )


def test_a_retriever_cannot_choose_by_what_is_not_known_yet(refused, run, tmp_path):
    path = tmp_path / "choose.yaml"
    reward = {"class_path": "r4t.reward.Reward", "init_args": {"weights": {"coverage": 1.0}}}
    choice = {"class_path": "r4t.choice.BestRows", "init_args": {"by": reward}}
    path.write_text(yaml.safe_dump({"model": {"init_args": {"query_time": {"choice": choice}}}}))
    toy = configs_folder() / "toy" / "3_distill.yaml"
    sentence = refused("fit", "--config", toy, "--config", path, "--run", run.folder)
    assert "found ['coverage'], which need ['pool', 'references']. Choose by others." in sentence


def test_tuning_goes_on_over_completions_that_cannot_be_parsed(program, run, tmp_path):
    form = {
        "class_path": "r4t.fanout.formats.Full",
        "init_args": {"list_format": {"class_path": "r4t.fanout.formats.JsonList"}, "set_size": 2},
    }
    limit = {"sampling": {"max_new_tokens": 40}}
    code, _, err = program(*tune(tmp_path, run, {"diversity": 1.0}, form=form, **limit))
    assert (code, "Traceback" in err) == (0, False)
    (log,) = run.step("tune").glob("logs/*/metrics.csv")
    with log.open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["train/parsed/share"]]
    assert len(rows) == 2  # rollouts: 4 optimizer steps, 2 a rollout
    for row in rows:
        assert float(row["train/parsed/share"]) == 0
        assert float(row["train/reward/mean"]) == 0  # the lower bound of diversity
        assert float(row["train/distinct_items/mean"]) == 0


def test_synthesis_counts_samples_without_a_subquery(refused, run, tmp_path):
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(["red linen"], None)
    FanoutModel(lm, tokenizer, Full(JsonList()), 6).save(run.step("tune") / "model")
    path = tmp_path / "quick.yaml"
    settings = "{teachers: [folm], sampling: {samples: 4}, keep: null}"
    path.write_text(f"model: {{init_args: {settings}}}\n", encoding="utf-8")
    toy = configs_folder() / "toy"
    quick = ["--config", toy / "2_synthesize.yaml", "--config", path, "--run", run.folder]
    sentence = refused("synthesize", *quick)
    assert "found none of 96 samples of 24 queries in" in sentence
    assert "'no sub-query': 96}). Loosen the filter" in sentence
    sentence = refused("fit", "--config", toy / "3_distill.yaml", "--run", run.folder)
    assert "Expected finished target sets with a manifest.json, but found none in" in sentence


def test_more_items_than_the_catalog_has(refused, run):
    sentence = refused("retrieve", run.folder, "red linen", "--size", "201")
    assert f"at most 200 items, all of {run.catalog}, but found 201. Ask for fewer." in sentence
    sentence = refused("retrieve", run.folder, "red linen", "--size", "0")
    assert "a set of at least one item, but found size 0" in sentence
    sentence = refused("evaluate", run.folder, "--pool_size", "500")
    assert f"at most 200 items, all of {run.catalog}, but found 500. Ask for fewer." in sentence


def test_a_query_of_which_no_word_is_known(refused, run):
    sentence = refused("retrieve", run.folder, "zyzzyva quokka")
    assert (
        "a query with at least one word of the catalog's vocabulary, but found 'zyzzyva quo"
        in sentence
    )
    assert "of which the encoder knows no word. Use other words" in sentence
    assert "but found '', of which the encoder knows no word" in refused("retrieve", run.folder, "")


def test_text_queries_to_own_vectors_without_an_encoder(refused, run, small_items, tmp_path):
    vectors = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    write_catalog(run.catalog, small_items, vectors, None, overwrite=True)
    (run.folder / "run.json").unlink()
    Run.begin(run.folder)
    said = "a catalog with a text encoder, to search by text, but found vectors without one in"
    assert said in refused("retrieve", run.folder, "red linen")
    assert said in refused("evaluate", run.folder)
    assert said in refused(*tune(tmp_path, run, {"diversity": 1.0}))


def test_an_unknown_verb_names_the_nearest(refused):
    sentence = refused("retreive", "runs/toy", "red linen")
    assert "found 'retreive'. See 'r4t --help'. Did you mean 'retrieve'?" in sentence


def test_a_folder_that_is_no_run(refused, tmp_path):
    said = "Expected a run, which is a folder with run.json, but found no such file in"
    assert f"{said} {tmp_path}." in refused("retrieve", tmp_path, "red linen")
    assert f"{said} {tmp_path}/nowhere." in refused("evaluate", tmp_path / "nowhere")
    toy = configs_folder() / "toy" / "1_tune.yaml"
    assert "found no catalog.json in" in refused("fit", "--config", toy, "--run", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_run_that_has_not_come_so_far(refused, small_run):
    sentence = refused("retrieve", small_run.folder, "red linen")
    assert (
        "but found that the run has no model in distill/model yet. Run the steps up to it"
        in sentence
    )
    sentence = refused("retrieve", small_run.folder, "red linen", "--with", "difusion")
    assert "found 'difusion'." in sentence
    assert sentence.endswith("Did you mean 'diffusion'?")
    toy = configs_folder() / "toy"
    sentence = refused(
        "synthesize", "--config", toy / "2_synthesize.yaml", "--run", small_run.folder
    )
    assert "a fan-out model: a folder with fanout.json, but found none in" in sentence
    sentence = refused("fit", "--config", toy / "3_distill.yaml", "--run", small_run.folder)
    assert "Expected finished target sets with a manifest.json, but found none in" in sentence
