"""Which objective ranks sets as the truth does: against slow loops on a small run, and its words."""

import csv
import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from scipy.stats import pearsonr, spearmanr

from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query, write_queries
from r4t.data.wardrobe import Truth
from r4t.errors import InputError
from r4t.evaluation.measures import pool_recall
from r4t.evaluation.resampling import Interval
from r4t.fanout.model import FanoutModel
from r4t.methods.lineup import MethodOptions
from r4t.methods.registry import MethodContext, find
from r4t.objective import Objective, load_objective
from r4t.report.agreement import FACETS, RECALL, known_truth, measure_agreement
from r4t.report.agreement_table import DRAWS, Agreement, Row, blocks, notes, write_agreement
from r4t.report.evaluation import Evaluation
from r4t.reward import Reward, query_free_share

METHODS = ["no-fan-out", "k-means", "ridge-map", "zero-shot", "folm"]
OPTIONS = MethodOptions(set_size=4, pool_size=20, methods=METHODS)


def measured(run, options=OPTIONS, **settings):
    return measure_agreement(Evaluation(str(run.folder), **settings), options, Console(quiet=True))


def mean_of(values):
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


@pytest.fixture
def untrained_run(untrained_run):
    """With a third of the catalog as references, other ones for each query: every recall differs."""
    queries = [
        dataclasses.replace(query, references=tuple(f"i{row}" for row in range(number % 3, 200, 3)))
        for number, query in enumerate(untrained_run.read_queries("test"))
    ]
    write_queries(untrained_run.queries, {"test": queries})
    for step in ("warm_start", "tune"):
        model = FanoutModel.load(untrained_run.step(step) / "model")
        model.max_new_tokens = 24
        model.save(untrained_run.step(step) / "model")
    return untrained_run


@pytest.fixture
def answers(untrained_run):
    """The run's queries, and their sets by method and draw, with all that is known of them."""
    searcher = untrained_run.searcher()
    queries = untrained_run.read_queries("test")
    context = MethodContext(untrained_run, searcher, 4, 20, queries)
    vectors = searcher.encode_queries([query.text for query in queries])
    sets = {}
    for key in METHODS:
        (entry,) = find([key])
        method = entry.build(context)
        number = DRAWS if key in ("zero-shot", "folm") else 1
        sets[method.name] = [
            method(queries, vectors, draw=draw).extended(
                query_texts=[query.text for query in queries],
                references=searcher.references(queries),
            )
            for draw in range(number)
        ]
    return queries, sets


def test_a_run_against_slow_loops(untrained_run, answers):
    _, sets = answers
    found = measured(untrained_run, batch_size=3)
    assert (found.truth, found.queries, found.drawn) == (RECALL, 8, ["Zero-shot", "R4T-FOLM"])
    assert found.methods == list(sets)
    assert found.excluded == ["coverage"]
    assert found.lists == "R4T-FOLM"
    truth = {name: [pool_recall(each) for each in draws] for name, draws in sets.items()}
    for name in ("diversity", "specific_coverage", "specificity", "coverage"):
        objective = load_objective(name)
        scores = {method: [objective(each) for each in draws] for method, draws in sets.items()}
        groups = {method: [] for method in found.drawn}
        for method, values in groups.items():
            for row in range(8):
                pairs = zip(scores[method], truth[method])
                x, y = zip(*((float(score[row]), float(known[row])) for score, known in pairs))
                if max(y) - min(y) < 1e-9:
                    values.append(math.nan)
                else:
                    varies = max(x) - min(x) > 1e-9
                    values.append(pearsonr(x, y).statistic if varies else 0.0)
        row = found.rows[name]
        known = {method: mean_of(values) for method, values in groups.items()}
        assert not any(math.isnan(mean) for mean in known.values())
        found_by = {method: each.mean for method, each in row.by_method.items()}
        assert found_by == pytest.approx(known, abs=1e-5)
        both = [mean_of(pair) for pair in zip(*groups.values())]
        assert row.in_group.mean == pytest.approx(mean_of(both), abs=1e-5)
        fan = [
            spearmanr(
                [round(float(scores[method][0][query]), 6) for method in sets],
                [float(truth[method][0][query]) for method in sets],
            ).statistic
            for query in range(8)
        ]
        assert row.fan.mean == pytest.approx(mean_of(fan), abs=1e-5)
        means = [[float(each[m][0].double().mean()) for m in sets] for each in (scores, truth)]
        assert row.across == pytest.approx(pearsonr(*means).statistic, abs=1e-5)
        assert row.methods == 5, name
    assert found.rows["coverage"].in_group.mean == pytest.approx(1)
    # Only two methods have directions.
    assert (found.rows["alignment"].methods, found.rows["alignment"].fan) == (2, None)
    assert found.rows["composite"].methods == 2
    assert "novelty" in found.rows
    assert set(found.left_out) == {"complementarity", "coherence", "constraint", "judge"}


def test_the_lists_of_a_language_model_are_read_for_every_query(untrained_run, answers):
    queries, _ = answers
    searcher = untrained_run.searcher()
    model = FanoutModel.load(untrained_run.step("tune") / "model")
    (entry,) = find(["folm"])
    writer = entry.build(MethodContext(untrained_run, searcher, 4, 20, queries)).writer
    drafts = writer(queries, [0])
    words = [[text.split(" ")[2:] for text in each] for query, each in zip(queries, drafts) if each]
    rows = []
    for query in queries:  # "red linen" and the words that each list adds
        lists = [[" ".join([query.text, *added]) for added in each] for each in words]
        vectors = searcher.encode_queries([query.text] * len(lists))
        rows.append(load_objective("alignment")(searcher.retrieve_texts(vectors, lists, 4)))
    found = measured(untrained_run)
    assert found.rows["alignment"].query_free == pytest.approx(
        query_free_share(torch.stack(rows)), abs=1e-5
    )
    assert model.form.entry == "expand"


def test_sets_of_other_methods_are_exchanged_as_they_are(untrained_run, answers):
    _, sets = answers
    options = MethodOptions(set_size=4, pool_size=20, methods=["no-fan-out", "k-means"])
    found = measured(untrained_run, options)
    assert (found.lists, found.drawn) == ("No fan-out", [])
    own = sets["No fan-out"][0]
    rows = [
        load_objective("specificity")(own.extended(query=own.query[row].expand_as(own.query)))
        for row in range(8)
    ]
    assert found.rows["specificity"].query_free == pytest.approx(
        query_free_share(torch.stack(rows)), abs=1e-5
    )
    assert found.rows["diversity"].query_free == pytest.approx(1)  # it never reads the query
    assert found.rows["diversity"].in_group is None
    assert found.sentence().startswith("No objective here ranks")
    assert "methods that sample (none here)" in notes(found)[0]


class Judge(Objective):
    """Counts its calls; 1 if the first item is red."""

    bounds = (0.0, 1.0)
    needs = frozenset({"catalog"})
    costly = True

    def score(self, sets):
        texts = sets.catalog.texts
        return torch.tensor(
            [float(texts[row].startswith("red")) for row in sets.items[:, 0].tolist()]
        )


def test_the_best_truth_that_there_is(untrained_run):
    searcher = untrained_run.searcher()
    queries = untrained_run.read_queries("test")
    bare = [Query(query.id, query.text, "mood") for query in queries]
    judged = Reward({"diversity": 1.0, "judge": 0.0}, {"judge": Judge()})
    truth = {"style": ("punk",), "slot": ("top",)}
    facets = FacetTruth(
        Truth(
            dict.fromkeys(searcher.catalog.ids, truth), {q.id: {"style": "punk"} for q in queries}
        ),
        searcher.catalog.ids,
    )
    context = SimpleNamespace(searcher=searcher, truth=facets, queries=queries, run=untrained_run)
    sets = searcher.ranked_sets(torch.eye(8)[:1], torch.tensor([[3, 4]]), 1)
    name, measure = known_truth(context, judged)
    assert (name, measure(queries[:1], sets).tolist()) == (FACETS, [1.0])  # all items are punk tops
    context.truth = None
    name, measure = known_truth(context, judged)
    assert name == RECALL
    references = sets.extended(references=torch.tensor([[4, 9]]))
    assert measure(queries[:1], references).tolist() == [0.5]
    grouped = dataclasses.replace(queries[0], facets=((queries[0].references[0],),))
    context.queries = [grouped, *queries[1:]]
    name, measure = known_truth(context, judged)
    # Row 4 is in both of two facets, row 9 in one more; the item returned is row 3, or row 4.
    gold = references.extended(facets=torch.tensor([[[1, 1, 0], [0, 0, 1]]]).bool())
    assert (name, measure(queries[:1], gold).tolist()) == (FACETS, [0.0])
    near = gold.extended(pool=torch.tensor([[4, 3]]))
    assert measure(queries[:1], near).tolist() == pytest.approx([2 / 3])
    context.queries = bare
    name, measure = known_truth(context, judged)
    red = [row for row, text in enumerate(searcher.catalog.texts) if text.startswith("red")]
    sets = searcher.ranked_sets(torch.eye(8)[:2], torch.tensor([[red[0], 9], [199, red[0]]]), 1)
    assert (name, measure(bare[:2], sets).tolist()) == ("'judge'", [1.0, 0.0])
    with pytest.raises(
        InputError, match="neither latent facets nor references in .*, and no judge"
    ):
        known_truth(context, Reward({"diversity": 1.0}))


def test_a_judge_is_the_truth_and_not_an_objective(untrained_run):
    queries = [Query(q.id, q.text, "mood") for q in untrained_run.read_queries("test")]
    write_queries(untrained_run.queries, {"test": queries})
    weights = {"diversity": 1.0, "judge": 0.0}
    found = measured(untrained_run, weights=weights, objectives={"judge": Judge()}, audit=False)
    assert found.truth == "'judge'"
    assert list(found.rows) == ["diversity", "composite"]
    assert found.excluded == []
    assert found.rows["diversity"].in_group == found.rows["composite"].in_group
    weights = {"judge": 1.0, "diversity": 0.0}  # a composite that costs money is not measured
    found = measured(untrained_run, weights=weights, objectives={"judge": Judge()}, audit=False)
    assert list(found.rows) == ["diversity"]


def test_a_bound_is_no_method_that_answers(untrained_run):
    with pytest.raises(InputError, match="answers it, but found 8 queries and 0 methods. Correct"):
        measured(untrained_run, MethodOptions(methods=["random"]))


def interval(mean, half=0.05):
    return Interval(mean, mean - half, mean + half, 9, 9)


ROWS = {
    "plain": Row(interval(0.04), interval(0.3), 0.9, 0.2, 5),
    "deaf": Row(interval(0.1), interval(0.2), None, 0.94, 5),
    "hears": Row(interval(0.25), None, -0.5, 0.13, 5, {"Zero-shot": interval(0.2)}),
    "reads": Row(interval(1.0), interval(1.0), 1.0, None, 5),
}
WORDS = "of all objectives here it ranks the sets of a query most as true-facet recall does"


def agreed(*names, drawn=("Zero-shot",), excluded=("reads",)):
    rows = {name: ROWS[name] for name in names}
    listed = ["MMR", "Zero-shot"]
    reasons = {"judge": "It costs money."}
    return Agreement(FACETS, 9, listed, [*drawn], "Zero-shot", rows, [*excluded], reasons)


@pytest.mark.parametrize(
    "names, sentence",
    [
        (
            ROWS,
            f"Train on hears: {WORDS} (in-group +0.250, 95 % interval +0.200 … +0.300), and only 13% of "
            "its variance does not depend on the query.",
        ),
        (
            ["plain", "deaf"],
            f"Train on deaf: {WORDS} (in-group +0.100, 95 % interval +0.050 … +0.150), but 94% of its "
            "variance does not depend on the query: add one with a lower share.",
        ),
        (
            ["plain", "reads"],
            "No objective here ranks the sets of a query as true-facet recall does (in-group: no "
            "interval is above 0). Tuning on any of them is not likely to help: train on references "
            "or a judge.",
        ),
    ],
)
def test_the_last_sentence_says_what_to_train_on(names, sentence):
    assert agreed(*names).sentence() == sentence
    assert notes(agreed(*names))[-1] == sentence


def test_without_draws_the_methods_decide():
    rows = {
        "one": Row(None, interval(0.3), 0.9, None, 5),
        "two": Row(None, interval(0.4), 0.9, None, 5),
    }
    found = Agreement(RECALL, 9, ["MMR"], [], "MMR", rows)
    assert found.sentence() == (
        "Train on two: of all objectives here it ranks the sets of a query most as recall of the "
        "references in the pool does (fan +0.400, 95 % interval +0.350 … +0.450)."
    )


def test_the_table_and_the_files(tmp_path):
    found = agreed(*ROWS)
    (table,) = blocks(found)
    assert table.title == "Agreement with true-facet recall, 9 queries"
    assert [row[0] for row in table.rows] == ["reads", "hears", "deaf", "plain"]
    assert table.rows[1] == ["hears", "+0.250 ±0.050", "–", "-0.500", "5", "0.13"]
    assert any(line.startswith("reads reads the references") for line in notes(found))
    assert "Left out: judge. It costs money." in notes(found)
    write_agreement(tmp_path, found)
    stored = json.loads((tmp_path / "agreement.json").read_text())
    assert stored["rows"]["hears"]["by_method"]["Zero-shot"]["mean"] == 0.2
    text = (tmp_path / "agreement.md").read_text()
    assert "| deaf | +0.100 ±0.050 | +0.200 ±0.050 | – | 5 | 0.94 |" in text
    assert text.strip().endswith(found.sentence())
    with (tmp_path / "agreement.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["objective"] == "hears"]
    assert [(row["column"], row["method"], row["value"]) for row in rows] == [
        ("in-group", "", "0.25"),
        ("in-group", "Zero-shot", "0.2"),
        ("across", "", "-0.5"),
        ("query-free", "", "0.13"),
    ]


def test_objectives_that_read_gold_facets_are_not_compared_with_them(untrained_run):
    queries = [
        dataclasses.replace(query, facets=tuple((item,) for item in query.references))
        for query in untrained_run.read_queries("test")
    ]
    write_queries(untrained_run.queries, {"test": queries})
    found = measured(untrained_run)
    assert found.truth == FACETS
    assert found.excluded == ["coverage", "facet_coverage"]
    assert found.rows["facet_coverage"].methods > 0
