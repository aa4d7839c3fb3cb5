"""benchmarks.real_models: commands and files of the stages, and the tables of the folds."""

import json
from dataclasses import replace

import pytest

from benchmarks import real_models
from benchmarks.real_models import SETS
from benchmarks.real_tables import FACET_MEASURES, MEASURES, PLAIN, STAGES
from r4t.data.queries import Query, write_queries
from r4t.evaluation.results import Results
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.methods.registry import TABLE
from r4t.retriever import RetrievedItem, RetrievedSet
from r4t.run import Run


@pytest.fixture
def lm(tmp_path):
    model, tokenizer = TinyQwen3(32, 1, 300).build(["red hat linen"] * 4, None)
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


@pytest.fixture
def called(small_run, tmp_path, monkeypatch):
    """The commands of the stages; the data are those of the small run."""
    shared = tmp_path / "runs" / "lm" / "recipes"
    shared.mkdir(parents=True)
    (shared / "catalog").symlink_to(small_run.catalog)
    (shared / "queries").mkdir()
    (shared / "queries" / "fold_1").symlink_to(small_run.queries)
    calls = []

    def run_verb(words):
        calls.append(words)
        if words[0] == "evaluate":
            known = {f"items/{name}": [0.25, 0.5] * 4 for name in MEASURES}
            values = {name: known for stage in STAGES.values() for name in stage}
            folder = Run.open(words[1]).folder / "results"
            folder.mkdir(exist_ok=True)
            Results({}, ["p"] * 8, values, {}, ["a"] * 8).save(folder)

    def more_queries(writer, training, held_out, items, encode, count, seed):
        assert (writer.label, writer.item_label) == ("Dish", "Ingredient")
        assert (count, len(items)) == (real_models.WRITTEN, len(small_run.searcher().catalog.ids))
        assert {query.text for query in training}.isdisjoint(query.text for query in held_out)
        return [Query("w0", "new hat", "written")], ""

    monkeypatch.setattr(real_models, "run_verb", run_verb)
    monkeypatch.setattr(real_models, "more_queries", more_queries)
    return calls


def test_each_stage_is_made_once_with_its_commands(called, small_run, tmp_path, lm):
    words = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "out"), "--folds", "1"]
    words += ["--lm", str(lm), "--more", "--trainer.max_steps", "3"]
    real_models.main(words)
    verbs = [call[0] for call in called]
    assert verbs == [
        *["evaluate"] * 2,
        *["fit", "evaluate"] * 2,
        *["synthesize", "fit", "evaluate"],
        *["fit", "evaluate"],
        *["synthesize", "fit", "evaluate"],
        *["fit", "evaluate"],
    ]
    _, few_shot, warm, _, tune, tuned, synthesize, student, _, plain, _, alone, *_ = called
    assert few_shot[few_shot.index("--methods") + 1] == "['Zero-shot', 'Best-of-5']"
    assert few_shot[1].endswith("recipes-fold1-few-shot")
    assert [w for w in warm if w.endswith("real/0_warm_start.yaml")]
    assert warm[warm.index("--model.init_args.lm.init_args.path") + 1] == str(lm)
    label = "--model.init_args.form.init_args.list_format.init_args.query_label"
    assert warm[warm.index(label) + 1] == "Dish"
    assert warm[-2:] == tune[-2:] == ["--trainer.max_steps", "3"]
    assert label not in tune  # it goes on with the format of the warm start
    model = FanoutModel.load(
        tmp_path / "runs" / "lm" / "recipes-fold1-few-shot" / "warm_start" / "model"
    )
    assert model.prompts(["Pad thai"])[0].endswith("Dish: Pad thai\nTen ingredients:")
    assert model.prompts(["Pad thai"])[0].count("Dish: ") == 9
    assert tuned[-2:] == ["--consensus", "16"]
    assert "R4T-FOLM + consensus" not in tuned[3]
    assert synthesize[synthesize.index("--run") + 1] == tune[tune.index("--run") + 1]
    assert student[student.index("--config") + 1] == "configs/real/4_accelerate.yaml"
    assert (small_run.queries / "written.jsonl").read_text().count("new hat") == 1
    assert plain[plain.index("--data.init_args.folder") + 1].endswith("recipes-fold1/targets")
    assert alone[alone.index("--run") + 1].endswith("recipes-fold1-student-references")
    assert alone[alone.index("--model.init_args.teachers") + 1] == "[references]"
    stored = json.loads((tmp_path / "out" / "lm" / "recipes-fold1-warm-start.json").read_text())
    assert stored["methods"]["Warm start"]["recall"] == [0.25, 0.5] * 4
    assert str(tmp_path / "runs") not in " ".join(stored["commands"])
    real_models.main(words)
    assert len(called) == 16  # nothing twice
    # A stage that was killed after its trainings only measures; with other words it trains again.
    (tmp_path / "out" / "lm" / "recipes-fold1-student.json").unlink()
    real_models.main(words)
    assert [call[0] for call in called[16:]] == ["evaluate"]
    (tmp_path / "out" / "lm" / "recipes-fold1-student.json").unlink()
    record = json.loads((tmp_path / "runs" / "lm" / "recipes-fold1" / "trainings.json").read_text())
    assert list(record)[-2:] == ["student 1", "diffusion 0"]
    real_models.main([*words[:-1], "4"])
    record = json.loads((tmp_path / "runs" / "lm" / "recipes-fold1" / "trainings.json").read_text())
    assert list(record)[-2:] == [
        "student 0",
        "student 1",
    ]  # the diffusion of earlier sets is out of date
    assert [call[0] for call in called[17:]] == ["synthesize", "fit", "evaluate"]


def test_perspectrum_has_one_fold_and_is_measured_by_facets(tmp_path):
    one = SETS["perspectrum"]
    data = real_models.data_commands(one, tmp_path / "data", tmp_path / "runs")
    assert data["queries"][-4:-2] == ["--out", str(tmp_path / "runs/perspectrum/queries/fold_0")]
    assert data["queries"][-2:] == ["--split", "official"]
    recipes = real_models.data_commands(SETS["recipes"], tmp_path, tmp_path)["queries"]
    assert recipes[-2:] == ["--folds", "5"]
    rewards = {}
    for name in ("perspectrum", "recipes"):
        (words,) = real_models.commands(SETS[name], 0, tmp_path, tmp_path, 7)["tuned"]
        rewards[name] = [word for word in words if "facet_coverage" in word]
    assert rewards == {"perspectrum": ["{facet_coverage: 1.0, coverage: 0.0}"], "recipes": []}
    words = real_models.evaluate_words(one, tmp_path, ["R4T-FOLM"])
    assert words[words.index("--least_facets") + 1] == "2"
    assert "--least_facets" not in real_models.evaluate_words(SETS["recipes"], tmp_path, ["MMR"])


def test_only_queries_with_several_facets_are_tested(small_run):
    queries = small_run.read_queries("test")
    several = replace(queries[0], facets=((queries[0].references[0],), (queries[0].references[1],)))
    write_queries(small_run.queries, {"test": [several, *queries[1:]]})
    assert real_models.tested(SETS["perspectrum"], small_run) == [several]
    assert len(real_models.tested(SETS["recipes"], small_run)) == len(queries)


def test_only_the_first_queries_of_a_large_set_are_tested(small_run, tmp_path):
    queries = small_run.read_queries("test")
    one = replace(SETS["electronic"], tested=2)
    assert real_models.tested(one, small_run) == queries[:2]
    words = real_models.evaluate_words(one, tmp_path, ["MMR"])
    assert words[words.index("--queries") + 1] == "2"
    assert "--queries" not in real_models.evaluate_words(SETS["recipes"], tmp_path, ["MMR"])


def test_sets_for_queries_of_ones_own_are_shown_and_written(tmp_path, capsys, monkeypatch):
    item = RetrievedItem("i1", "coconut milk", 0.5, 0.4)

    class Fake:
        def many(self, queries):
            return [RetrievedSet(query, [item, item]) for query in queries]

    asked = []
    monkeypatch.setattr(real_models.Retriever, "load", lambda *words: asked.append(words) or Fake())
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path)]
    real_models.main([*folders, "--folds", "2", "--table", "--show", "pad thai", "ramen"])
    assert asked == [(tmp_path / "runs" / "recipes-fold2", "student")]
    assert "pad thai: coconut milk, coconut milk\n" in capsys.readouterr().out
    stored = json.loads((tmp_path / "sets-recipes-fold2.json").read_text())
    assert list(stored) == ["pad thai", "ramen"]
    assert not list(tmp_path.glob("recipes-fold*"))  # which the tables read


def test_facets_have_columns_where_all_methods_have_them(tmp_path, capsys):
    methods = {
        name: {m: [0.25, 0.75] for m in (*MEASURES, *FACET_MEASURES)}
        for name in STAGES["baselines"].values()
    }
    path = tmp_path / "perspectrum-fold0-baselines.json"
    path.write_text(json.dumps({"clusters": [0, 1], "methods": methods}), encoding="utf-8")
    real_models.main(["--table", "--results", str(tmp_path)])
    table = (tmp_path / "perspectrum.md").read_text()
    assert (
        "| in ten | Vendi of ten | facet recall of ten | α-nDCG |\n|---|---:|---:|---:|---:|---:|"
        in table
    )
    del methods["MMR"]["facet recall"]
    path.write_text(json.dumps({"clusters": [0, 1], "methods": methods}), encoding="utf-8")
    real_models.main(["--table", "--results", str(tmp_path)])
    assert "facet recall" not in (tmp_path / "perspectrum.md").read_text()


def test_tables_pool_the_folds_that_have_all_stages(tmp_path, capsys):
    def stage(fold, name, **methods):
        content = {
            "clusters": [0, 1],
            "methods": {
                method: {measure: [value, value + 0.2] for measure in MEASURES}
                for method, value in methods.items()
            },
        }
        path = tmp_path / f"recipes-fold{fold}-{name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")

    plain = list(STAGES["baselines"].values())
    few = list(STAGES["few-shot"].values())
    for fold in (0, 1):
        stage(fold, "baselines", **dict.fromkeys(plain, 0.1 + fold))
    stage(1, "few-shot", **dict.fromkeys(few[:2], 1.6))  # an older file, without a consensus
    real_models.main(["--table", "--results", str(tmp_path)])
    tables = json.loads((tmp_path / "recipes.json").read_text())
    assert [*tables] == ["baselines", "baselines, few-shot"]
    both, alone = tables["baselines, few-shot"], tables["baselines"]
    assert (both["folds"], both["queries"], both["clusters"]) == (1, 2, 2)
    assert both["methods"]["Few-shot"]["recall"][0] == pytest.approx(1.7)
    assert both["differences"]["Few-shot − No fan-out"]["vendi"][0] == pytest.approx(0.5)
    assert (alone["folds"], alone["methods"]["MMR"]["recall"][0]) == (2, pytest.approx(0.7))
    assert "Few-shot, consensus" not in both["methods"]
    assert "| Few-shot − No fan-out | +0.500 " in capsys.readouterr().out


def test_the_methods_are_those_of_the_tables():
    assert {*PLAIN} <= {each["name"] for each in TABLE.values()}


def test_every_set_has_a_source(shared_data):
    assert all((shared_data / one.source).is_dir() for one in SETS.values())
