import json
import shutil
from dataclasses import replace

import pytest
from r4t_objectives.constraint import AtMost, Constraint
from rich.console import Console

from r4t.data.queries import Query, write_queries
from r4t.errors import InputError
from r4t.evaluation.results import Results
from r4t.evaluation.scores import Composite, scores_by_block
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.methods.lineup import MethodOptions
from r4t.objective import load_objective
from r4t.report import table
from r4t.report.answers import read_answers
from r4t.report.evaluation import Evaluation
from r4t.report.headline import differences, ratios
from r4t.report.headroom import blocks, measure_headroom, notes, write_headroom
from r4t.reward import Reward
from r4t.run import Run
from r4t.support.fingerprints import to_plain
from tests.wardrobes import write_wardrobe


@pytest.fixture(scope="module")
def wardrobe_run(tmp_path_factory):
    """A run on a small wardrobe with a language model that was never trained."""
    folder = tmp_path_factory.mktemp("report") / "run"
    wardrobe = write_wardrobe(folder, 1, 16)
    write_queries(folder / "queries", wardrobe.wscr)
    run = Run.begin(folder)
    lm, tokenizer = TinyQwen3(width=32, layers=1).build(wardrobe.items.texts, None)
    FanoutModel(lm, tokenizer, Expand(set_size=5), 20).save(run.step("warm_start") / "model")
    return run


@pytest.fixture
def console():
    return Console(width=200)


def methods(**changes):
    return MethodOptions(
        **{"set_size": 5, "pool_size": 20, "best_of": 2, "curves": [0.2, 0.8], **changes}
    )


def evaluation(run, **changes):
    settings = {"queries": 6, "latency_batches": [], "across_runs": 2}
    return Evaluation(str(run.folder), **{**settings, **changes})


def test_a_run_is_measured_as_far_as_it_has_come(wardrobe_run, console):
    found = evaluation(wardrobe_run).measure(methods(), console)
    plain = ["No fan-out", "MMR", "DPP", "MMR in pool", "DPP in pool", "k-means facets"]
    plain += ["Most popular items", "Nearest sets", "Nearest sets by vote", "Ridge map"]
    plain += ["Set regression (matched)", "Set regression (mixture)"]
    zero = ["Nearby words", "Zero-shot", "Zero-shot + RRF", "Best-of-2", "Best-of-2 (oracle)"]
    ends = ["Random", "Greedy bound", "Oracle", "References (oracle)"]
    assert found.methods == [*plain, *zero, *ends]
    assert found.curves == {
        "MMR": [("MMR λ=0.2", 0.2), ("MMR λ=0.8", 0.8)],
        "DPP": [(f"DPP λ={x:g}", x) for x in (0.5, 0.7, 0.9, 0.95, 0.99)],
    }
    absent = ["R4T-Diffusion", "R4T-FOLM", "R4T-Refined", "R4T-Student"]
    assert sorted(found.settings["absent"]) == absent
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
    assert found.values["No fan-out"]["items/coverage"] == pytest.approx(recall, abs=1e-6)
    assert found.values["MMR in pool"]["items/recall"] == pytest.approx(recall, abs=1e-6)
    # Each end is at its end.
    composite, recalled = "directions/composite", "items/recall"
    assert found.mean("Greedy bound", composite) > found.mean("Best-of-2", composite)
    assert found.mean("Best-of-2", composite) >= found.mean("Zero-shot", composite)
    assert found.mean("References (oracle)", recalled) == 1.0
    assert found.mean("Best-of-2 (oracle)", recalled) >= found.mean("Zero-shot", recalled)
    assert found.mean("Oracle", "items/facet recall") > found.mean("MMR", "items/facet recall")


def test_the_same_run_gives_the_same_numbers_and_every_set_is_kept(wardrobe_run, console):
    few = methods(methods=["MMR", "Zero-shot"], curves=[])
    first, second = (evaluation(wardrobe_run).measure(few, console) for _ in range(2))
    assert json.dumps(first.values) == json.dumps(second.values)
    answers = read_answers(wardrobe_run.folder / "results" / "sets.jsonl")
    asked = [query.id for query in wardrobe_run.read_queries("test")[:6]]
    assert [(a.method, a.query_id) for a in answers] == [
        (method, query) for method in ("MMR", "Zero-shot") for query in asked
    ]
    zero = answers[6]
    assert len(zero.items) == 5
    assert zero.scores["items/vendi"] == first.values["Zero-shot"]["items/vendi"][0]


def test_installed_objectives_are_audited_where_they_apply(wardrobe_run, console):
    few = methods(methods=["MMR", "Zero-shot"], curves=[])
    found = evaluation(wardrobe_run).measure(few, console)
    audited = {"items/coherence", "items/complementarity", "items/novelty", "items/diversity"}
    assert audited <= set(found.measures)
    assert "directions/distinctness" in found.measures
    assert "items/distinctness" not in found.measures  # one for every method
    assert found.values["MMR"]["directions/prompt_format"] == [None] * 6
    assert found.mean("Zero-shot", "directions/prompt_format") > 0.5
    left_out = found.settings["left_out"]
    assert "at least one rule for the constraint, but found none" in left_out["constraint"]
    assert "it costs money" in left_out["judge"]
    assert "validation query of the embedded wardrobe, but found the test" in left_out["shopper"]
    bare = evaluation(wardrobe_run, audit=False).measure(few, console)
    assert not audited & (set(bare.measures) - {"items/diversity"})


def test_the_simulated_judge_grades_validation_queries_and_says_what_it_is(
    wardrobe_run, console, tmp_path
):
    few = methods(methods=["MMR", "Oracle"], curves=[])
    found = evaluation(wardrobe_run, split="val").measure(few, console)
    assert found.mean("Oracle", "items/shopper") > 0.8 > found.mean("MMR", "items/shopper")
    assert "shopper: a simulated judge, which knows the latent truth" in " ".join(
        table.notes(found)
    )
    # Another catalog has no truth, and a table that does not mention it.
    shutil.copytree(wardrobe_run.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "catalog" / "truth")
    bare = evaluation(Run.open(tmp_path / "run"), split="val")
    found = bare.measure(methods(methods=["MMR"], curves=[]), console)
    assert "shopper" not in " ".join([*table.notes(found), *found.settings["left_out"]])


def test_an_objective_with_arguments_is_named_among_the_weights(wardrobe_run, console):
    few = methods(methods=["MMR"], curves=[])
    given = {"one brand": Constraint([AtMost("brand", 1)])}
    weights = {"diversity": 1.0, "one brand": 0.0}
    settings = {"weights": weights, "objectives": given, "audit": False}
    found = evaluation(wardrobe_run, **settings).measure(few, console)
    searcher = wardrobe_run.searcher()
    brand = searcher.catalog.column("brand")
    row = {item: place for place, item in enumerate(searcher.catalog.ids)}
    kept = []
    for answer in read_answers(wardrobe_run.folder / "results" / "sets.jsonl"):
        brands = [brand[row[item.id]] for item in answer.items]
        kept.append(float(all(brands.count(b) <= 1 for b in brands if b is not None)))
    assert found.values["MMR"]["items/one brand"] == kept


def test_settings_tell_what_the_numbers_depend_on(wardrobe_run, console):
    given = {"rules": Constraint([AtMost("brand", 1)])}
    weights = {"diversity": 1.0, "rules": 0.0}
    settings = {"weights": weights, "objectives": given, "audit": False, "across_runs": 0}
    few = methods(methods=["MMR"], curves=[])
    found = evaluation(wardrobe_run, **settings).measure(few, console).settings
    rule = {"class": "r4t_objectives.constraint.AtMost", "field": "brand", "count": 1}
    told = {"class": "r4t_objectives.constraint.Constraint", "rules": [rule]}
    assert found["objectives"] == {"rules": told}
    assert (found["across_runs"], found["queries_limit"], found["best_of"]) == (0, 6, 2)
    assert found["methods"] == ["MMR"]
    assert json.loads(json.dumps(found)) == found  # no addresses of objects
    assert to_plain({"a": (1, None)}) == {"a": [1, None]}


def test_all_queries_leave_no_room_for_memory(wardrobe_run, console):
    found = evaluation(wardrobe_run, split="all", queries=None, audit=False, across_runs=0)
    results = found.measure(methods(methods=["No fan-out"], curves=[]), console)
    counts = [len(wardrobe_run.read_queries(split)) for split in ("train", "val", "test")]
    assert len(results.queries) == sum(counts)
    assert (wardrobe_run.folder / "results-all" / "sets.jsonl").is_file()
    with pytest.raises(InputError, match=r"found 'Ridge map', but too few training queries"):
        found.measure(methods(methods=["Ridge map"]), console)


def test_a_folder_with_catalog_and_queries_becomes_a_run(wardrobe_run, console, tmp_path):
    for name in ("catalog", "queries"):
        shutil.copytree(wardrobe_run.folder / name, tmp_path / name)
    found = evaluation(Run(tmp_path, tmp_path, tmp_path, ""), audit=False)
    results = found.measure(methods(methods=["MMR"], curves=[]), console)
    assert results.methods == ["MMR"]
    assert Run.open(tmp_path).fingerprint == wardrobe_run.fingerprint


def test_headroom_by_a_slow_reference(wardrobe_run, console):
    asked = evaluation(wardrobe_run, queries=3)
    found = measure_headroom(asked, methods(), console)
    assert (found.current, found.queries) == ("Zero-shot", 3)
    rows = found.rows
    assert list(rows) == ["groundedness", "diversity", "alignment", "composite"]
    # Items that search for themselves are grounded by construction.
    assert rows["groundedness"]["random"] == pytest.approx(1.0, abs=1e-5)
    assert rows["groundedness"]["oracle"] == pytest.approx(1.0, abs=1e-5)
    for name, row in rows.items():
        if name != "composite":
            assert row["bound alone"] >= max(row["current"], row["greedy bound"]) - 1e-6
    # The composite is the weighted sum of its terms, for everyone.
    for who in ("random", "current", "oracle", "greedy bound"):
        parts = [found.weights[name] * rows[name][who] for name in found.weights]
        assert rows["composite"][who] == pytest.approx(sum(parts), abs=1e-5)
    gain = rows["composite"]["greedy bound"] - rows["composite"]["current"]
    ground = 0.6 * (rows["groundedness"]["greedy bound"] - rows["groundedness"]["current"])
    assert gain > 0
    sentence = f"gain at most {gain:.3f} of the composite over Zero-shot"
    assert sentence in notes(found)[0]
    assert f"Of that, {ground:.3f} is groundedness" in notes(found)[0]
    table = blocks(found)[0]
    assert [row[0] for row in table.rows] == list(rows)
    assert table.rows[-1][-1] == f"{gain:.3f}"
    write_headroom(asked.folder, found)
    assert json.loads((asked.folder / "headroom.json").read_text())["rows"] == rows
    assert "| composite | 1 |" in (asked.folder / "headroom.md").read_text()


def test_headroom_of_coverage_is_bounded_by_the_references(wardrobe_run, console):
    found = measure_headroom(
        evaluation(wardrobe_run, queries=3, weights={"coverage": 1.0}), methods(), console
    )
    assert found.best == "oracle"
    assert found.rows["composite"]["oracle"] == 1.0
    current = found.rows["coverage"]["current"]
    assert found.gain("composite") == pytest.approx(1 - current)
    gain = f"at least {1 - current:.3f} of the composite over Zero-shot"
    assert gain in found.sentence()
    assert found.sentence().endswith(f"({current:.3f} → 1.000, oracle).")


def test_before_any_model_the_current_fan_out_is_the_query_itself(wardrobe_run, console, tmp_path):
    for name in ("catalog", "queries"):
        shutil.copytree(wardrobe_run.folder / name, tmp_path / name)
    asked = evaluation(Run(tmp_path, tmp_path, tmp_path, ""), queries=3)
    found = measure_headroom(asked, methods(), console)
    assert found.current == "the query itself"
    searcher = wardrobe_run.searcher()
    z = searcher.encode([query.text for query in wardrobe_run.read_queries("test")[:3]])
    nearest = (z @ searcher.catalog.embeddings.T).max(1).values
    distance = (2 - 2 * nearest).clamp(min=0).sqrt()  # of unit vectors
    assert found.rows["groundedness"]["current"] == pytest.approx(
        (1 - distance).mean().item(), abs=1e-4
    )
    assert found.rows["alignment"]["current"] == pytest.approx(1.0, abs=1e-5)
    assert found.rows["diversity"]["current"] == pytest.approx(1 / 5, abs=1e-5)


def test_one_query_without_references_counts_for_the_others(wardrobe_run, console, tmp_path):
    for name in ("catalog", "queries"):
        shutil.copytree(wardrobe_run.folder / name, tmp_path / name)
    queries = wardrobe_run.read_queries("test")[:3]
    queries[1] = Query(queries[1].id, queries[1].text, "mood")
    write_queries(tmp_path / "queries", {"test": queries})
    asked = evaluation(Run(tmp_path, tmp_path, tmp_path, ""), weights={"coverage": 1.0})
    found = measure_headroom(asked, methods(), console)
    z = wardrobe_run.searcher().encode([queries[0].text, queries[2].text])
    _, top = wardrobe_run.searcher().index.search(z, 20)
    catalog = wardrobe_run.searcher().catalog
    shares = [
        sum(row in near for row in catalog.rows(query.references)) / len(query.references)
        for query, near in zip((queries[0], queries[2]), top.tolist())
    ]
    assert found.rows["coverage"]["current"] == pytest.approx(sum(shares) / 2, abs=1e-6)


def test_a_readme_of_the_user_stays(wardrobe_run, console, tmp_path):
    for name in ("catalog", "queries"):
        shutil.copytree(wardrobe_run.folder / name, tmp_path / name)
    (tmp_path / "README.md").write_text("my notes")
    found = evaluation(Run(tmp_path, tmp_path, tmp_path, ""), audit=False, out=str(tmp_path / "o"))
    found.measure(methods(methods=["MMR"], curves=[]), console)
    assert (tmp_path / "README.md").read_text() == "my notes"
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "results.json",
        "sets.jsonl",
    ]


def test_a_composite_that_reads_texts_leaves_the_rest_comparable():
    composite = {"directions/composite": [0.1, 0.2]}
    none = {"directions/composite": [None, None]}
    values = {"Zero-shot": composite, "R4T-FOLM": composite, "R4T-Diffusion": none}
    found = Results({}, ["p", "q"], values)
    assert [(d.first, d.second) for d in differences(found)] == []
    values["Best-of-5"] = composite
    assert len(differences(Results({}, ["p", "q"], values))) == 2
    assert ratios(found) == []


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"batch_size": 0}, "batch_size to be at least 1, but found 0. Raise it"),
        ({"latency_batches": [8, 0]}, "latency_batches to be at least 1, but found 0"),
        ({"latency_calls": 0}, "latency_calls to be at least 1, but found 0"),
        ({"queries": -3}, "queries to be at least 1, but found -3"),
        ({"across_runs": -1}, "across_runs to be at least 0, but found -1"),
    ],
)
def test_numbers_that_are_too_small_are_refused_before_any_work(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        Evaluation(**settings)


def test_sizes_that_are_too_small_are_refused():
    for name in ("set_size", "pool_size", "best_of"):
        with pytest.raises(InputError, match=f"{name} to be at least 1, but found 0"):
            MethodOptions(**{name: 0})


def test_scores_are_sorted_by_what_they_read():
    reward = Reward({"groundedness": 0.5, "diversity": 0.5})
    audited = {name: load_objective(name) for name in ("distinctness", "novelty", "prompt_format")}
    directions, items = scores_by_block(reward, audited)
    assert list(directions) == [
        "groundedness",
        "diversity",
        "distinctness",
        "prompt_format",
        "composite",
    ]
    assert list(items) == ["diversity", "novelty"]


def test_the_composite_needs_what_its_objectives_need(sets_from):
    sets = sets_from([[[1, 0]]], [[[1, 0]]])
    assert Composite(Reward({"diversity": 1.0, "alignment": 1.0})).accepts(sets)
    assert not Composite(Reward({"diversity": 1.0, "coverage": 0.5})).accepts(sets)
    assert Composite(Reward({"diversity": 1.0, "coverage": 0.0})).accepts(sets)


def test_refusals(wardrobe_run, console):
    with pytest.raises(
        InputError, match="set_size 5, the number .* found set_size 6. Set set_size to 5"
    ):
        evaluation(wardrobe_run).measure(methods(set_size=6), console)
    with pytest.raises(InputError, match=r"found the splits \['test', 'train', 'val'\] in"):
        evaluation(wardrobe_run, split="tests").measure(methods(), console)
    with pytest.raises(InputError, match=r"without the references, .* found \['coverage'\] among"):
        evaluation(wardrobe_run, weights={"coverage": 1.0}).measure(methods(), console)
    with pytest.raises(InputError, match=r"methods among .* found 'MRR'.* Did you mean 'mmr'"):
        evaluation(wardrobe_run).measure(methods(methods=["MRR"]), console)


def test_queries_with_few_facets_are_left_out_on_request(small_run, capsys):
    queries = small_run.read_queries("test")
    assert len(queries) == 8
    grouped = [
        replace(query, facets=tuple((item,) for item in query.references)[: 2 - number % 2])
        for number, query in enumerate(queries)
    ]
    write_queries(small_run.queries, {"test": [*grouped[:6], *queries[6:]]})
    plain = methods(methods=["No fan-out"], curves=[])
    every = evaluation(small_run, queries=None).measure(plain, Console(width=200))
    values = every.values["No fan-out"]["items/facet recall"]
    assert [value is None for value in values] == [False] * 6 + [True] * 2
    assert "least_facets" not in every.settings
    assert capsys.readouterr().out == ""
    some = evaluation(small_run, queries=2, least_facets=2).measure(plain, Console(width=200))
    assert some.queries == [query.id for query in queries[:4:2]]
    assert some.values["No fan-out"]["items/facet recall"] == values[:4:2]
    assert some.settings["least_facets"] == 2
    assert capsys.readouterr().out == (
        "Skipped 5 of 8 test queries for every method: they have fewer than 2 gold facets\n"
    )
    with pytest.raises(
        InputError,
        match=r"at least 3 gold facets .* found none among 8 test queries of .*\. Leave",
    ):
        evaluation(small_run, least_facets=3).measure(plain, Console(width=200))
    with pytest.raises(InputError, match="least_facets to be at least 0, but found -1"):
        evaluation(small_run, least_facets=-1)
