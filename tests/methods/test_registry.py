"""Which methods a run has, which it lacks and why; names, plug-ins, and one rule for seeds."""

import json

import pytest
import torch
from r4t_objectives.judge import Judge
from r4t_objectives.shopper import Shopper

from r4t.data.queries import Query, write_queries
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.errors import InputError, PluginError
from r4t.evaluation.measuring import Plan, Scores, evaluate
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.methods.context import MethodContext
from r4t.methods.lineup import MethodOptions
from r4t.methods.registry import entries, find
from r4t.methods.training_sets import NearestSets, RidgeMap
from r4t.objective import load_objective
from r4t.report.answers import read_answers
from r4t.report.comparison import compare_answers
from r4t.report.evaluation import Evaluation
from r4t.retriever import Retriever
from r4t.reward import Reward
from r4t.run import Run
from tests.wardrobes import write_wardrobe

REWARD = Reward({"diversity": 1.0})
TEXTS_ONLY = {"latency_batches": ()}


def save_models(run, size=4):
    """Give a run a model of each kind, none of them trained."""
    searcher = run.searcher()
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(
        searcher.catalog.texts, run.folder
    )
    for step in ("warm_start", "tune"):
        FanoutModel(lm, tokenizer, Expand(set_size=size), 12).save(run.step(step) / "model")
    torch.manual_seed(0)
    network = SetTransformer(
        searcher.catalog.dim, width=16, mlp_width=16, heads=2, layers=1, set_size=size + 2
    )
    torch.nn.init.normal_(network.rows_out.weight, std=0.3)
    for step in ("distill", "accelerate", "refine"):
        DirectionGenerator(network).save(run.step(step) / "model")
    return run


@pytest.fixture
def run(small_run) -> Run:
    return save_models(small_run)


def build(run, queries, *, training=None, **options):
    options = MethodOptions(4, 20, **options)
    searcher = run.searcher()
    return options.line_up(options.context(run, searcher, queries, REWARD, training)), searcher


def test_keys_and_names():
    keys = [entry.key for entry in entries().values()]
    assert keys[:3] == ["no-fan-out", "mmr", "dpp"]
    assert keys[-4:] == ["random", "greedy-bound", "oracle", "references"]
    names = ["folm", "FOLM", "R4T-FOLM", "no fan-out", "best-of", "k-means facets"]
    assert [entry.key for entry in find(names)] == ["folm", "no-fan-out", "best-of", "k-means"]
    with pytest.raises(InputError, match=r"among no-fan-out, mmr, .* found 'mrr'.*mean 'mmr'"):
        find(["mmr", "mrr"])


def test_curves_have_their_own_trade_offs(small_run):
    queries = small_run.read_queries("test")[:1]
    few = ["MMR", "DPP"]

    def curves(**settings):
        lineup = build(small_run, queries, **{"methods": few, **settings})[0]
        points = [name for curve in lineup.curves.values() for name, _ in curve]
        assert [m.name for m in lineup.methods] == [*settings.get("methods", few), *points]
        assert lineup.untimed == set(points)
        return {name: [value for _, value in points] for name, points in lineup.curves.items()}

    near_one = [0.5, 0.7, 0.9, 0.95, 0.99]
    assert curves() == {"MMR": [0.1, 0.3, 0.5, 0.7, 0.9], "DPP": near_one}
    assert curves(curves=[0.2]) == {"MMR": [0.2], "DPP": near_one}
    assert curves(curves=[0.2], dpp_curves=[0.98]) == {"MMR": [0.2], "DPP": [0.98]}
    assert curves(curves=[]) == {}
    assert curves(curves=[], dpp_curves=[0.98]) == {"DPP": [0.98]}
    assert curves(methods=["MMR"]) == {"MMR": [0.1, 0.3, 0.5, 0.7, 0.9]}
    with pytest.raises(InputError, match=r"trade-off of MMR λ=2 between .* found 2\."):
        curves(curves=[2])


def test_in_pool_methods_order_the_set_alone(small_run):
    queries = small_run.read_queries("test")
    names = ["no-fan-out", "mmr-in-pool", "dpp-in-pool"]
    lineup, searcher = build(small_run, queries, methods=names, curves=[])
    vectors = searcher.encode([query.text for query in queries])
    plain, *others = (method(queries, vectors).pool for method in lineup.methods)
    for pool in others:
        assert torch.equal(pool.sort().values, plain.sort().values)
        for ranked, near in zip(pool.tolist(), plain.tolist(), strict=True):
            assert ranked[4:] == [row for row in near if row not in ranked[:4]]


def test_oracles_without_references_say_why(run):
    queries = [*run.read_queries("test")[:2], Query("bare", "red", "mood")]
    lineup, _ = build(run, queries, curves=[])
    why = "1 of 3 queries have no references"
    oracles = ("Best-of-5 (oracle)", "References (oracle)")
    assert {name: lineup.absent[name] for name in oracles} == dict.fromkeys(oracles, why)
    with pytest.raises(InputError, match=rf"this run has, .* 'Best-of-5 \(oracle\)', but {why}"):
        build(run, queries, methods=["best-of-oracle"])
    lineup, _ = build(run, queries[:2], curves=[])
    assert set(oracles) <= {method.name for method in lineup.methods}


def test_no_method_remembers_a_query_that_is_asked(small_run):
    training = small_run.read_queries("train")
    asked = [Query("typed", training[3].text.upper() + "?", ""), training[5]]
    names = ["nearest-sets", "ridge-map"]
    for given in (training, None):  # those of the run by default
        lineup, _ = build(small_run, asked, training=given, methods=names, curves=[])
        nearest, ridge = lineup.methods
        assert isinstance(nearest, NearestSets)
        assert [query.id for query in nearest.training] == [
            query.id for query in training if query.id not in (training[3].id, training[5].id)
        ]
        assert isinstance(ridge, RidgeMap)
        vectors = small_run.searcher().encode([query.text for query in asked])
        assert ridge(asked, vectors).items.shape == (2, 4)  # it does not refuse
    lineup, _ = build(small_run, asked, training=[], curves=[])
    assert {"Nearest sets", "Ridge map"} <= lineup.absent.keys()


def test_external_subqueries_of_few_lines_have_no_vendi_across_runs(small_run, tmp_path):
    queries = small_run.read_queries("test")[:2]
    path = tmp_path / "external.jsonl"
    lines = [
        {"id": query.id, "subqueries": [f"{color} {noun}" for color in ("red", "blue")]}
        for query in queries
        for noun in ("hat", "coat", "boots")
    ]

    def across(lines, runs):
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        names = ["External", "External + RRF"]
        lineup, searcher = build(small_run, queries, methods=names, curves=[], subqueries=str(path))
        plan = Plan(across_runs=runs, unrepeated=lineup.unrepeated, **TEXTS_ONLY)
        results = evaluate(lineup.methods, queries, searcher, Scores({}), plan=plan)
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
    lineup, searcher = build(run, queries, methods=names, curves=[])
    written = []
    sample = FanoutModel.sample

    def counted(self, texts, seeds, *rest):
        written.extend(zip(texts, seeds, strict=True))
        return sample(self, texts, seeds, *rest)

    monkeypatch.setattr(FanoutModel, "sample", counted)
    plan = Plan(across_runs=5, unrepeated=lineup.unrepeated, **TEXTS_ONLY)
    results = evaluate(lineup.methods, queries, searcher, Scores({}), plan=plan)
    # Draws 0 to 4 of each query, which are those of Best-of-5 and of Vendi across runs.
    assert len(written) == len(set(written)) == 5 * len(queries)
    across = {
        name: values["directions/vendi across runs"] for name, values in results.values.items()
    }
    assert None not in across["Zero-shot"]
    assert {value for name in names[1:] for value in across[name]} == {None}
    written.clear()
    plan = Plan(latency_batches=(2,), latency_calls=1)
    evaluate(lineup.methods, queries, searcher, Scores({}), plan=plan)
    # Timing writes anew: a call that does not count and one that does, of two queries each.
    assert len(written) == 2 * 2 * (1 + 1 + 5 + 5)


def test_a_language_model_of_another_size_is_refused(run):
    with pytest.raises(InputError, match=r"set_size 4, .* R4T-FOLM writes.* found set_size 6"):
        MethodOptions(6, 20, methods=["folm"]).line_up(
            MethodContext(run, run.searcher(), 6, 20, reward=REWARD)
        )


@pytest.fixture(scope="module")
def wardrobe_run(tmp_path_factory):
    """A run with everything that a method may need: truth, references, models of each kind."""
    folder = tmp_path_factory.mktemp("methods") / "run"
    wardrobe = write_wardrobe(folder, 1, 8)
    write_queries(folder / "queries", wardrobe.wscr)
    run = save_models(Run.begin(folder), size=10)
    judged = json.dumps({"shopper": Shopper(0.2, seed=4).facts()})
    (run.step("tune") / "model" / "objectives.json").write_text(judged)
    return run


WITHOUT_FILE = [key for key in entries() if not key.startswith("external")]


GRADED = ["graded-nearest-sets", "graded-ridge", "graded-regression"]


def test_graded_baselines_learn_from_the_judge_of_the_run(wardrobe_run):
    searcher = wardrobe_run.searcher()
    queries = wardrobe_run.read_queries("test")[:2]
    context = MethodContext(wardrobe_run, searcher, queries=queries)
    assert context.judge.identity == {"simulated": True, "error": 0.2, "seed": 4}
    training = wardrobe_run.read_queries("train")
    assert context.graded.queries == training
    every = torch.arange(len(searcher.catalog)).expand(3, -1)
    texts = [query.text for query in training[:3]]
    grades = Shopper(0.2, seed=4).grades(texts, searcher.catalog, every)
    assert context.graded.fits[:3].equal(grades == 1)
    assert context.graded.slots.equal(context.truth.slots)
    # Queries that are answered teach nothing.
    asked = MethodContext(wardrobe_run, searcher, queries=training[:2])
    assert asked.graded.queries == [q for q in training[2:] if q.text not in texts[:2]]
    named = MethodContext(wardrobe_run, searcher, judge=Shopper(0))
    assert named.judge.error == 0


def test_graded_baselines_say_why_they_are_absent(run, wardrobe_run, monkeypatch):
    for key, pattern in zip(GRADED, ["no model of the run was tuned on the simulated judge"] * 3):
        with pytest.raises(InputError, match=pattern):
            build(run, [], methods=[key], curves=[])
    with pytest.raises(InputError, match="the catalog has no latent truth"):
        build(run, [], methods=GRADED, judge=Shopper(), curves=[])
    lineup, _ = build(run, run.read_queries("test")[:2], judge=Shopper(), curves=[])
    assert not any(name.startswith("Graded") for name in lineup.absent)  # in tables: silently
    pytest.importorskip("openai", reason="the extra eval is not installed")
    costly = Judge("fit", "tiny", "http://127.0.0.1:1")
    for judge, pattern in (
        (load_objective("diversity"), "judge of single items .* but found Diversity"),
        (costly, "whose grades cost nothing.* but found Judge, which is costly"),
    ):
        with pytest.raises(InputError, match=pattern):
            build(wardrobe_run, [], methods=GRADED, judge=judge, curves=[])
    with pytest.raises(InputError, match="too few training queries, besides those answered, can"):
        build(wardrobe_run, [], training=[], methods=GRADED, curves=[])


@pytest.fixture(scope="module")
def evaluated(wardrobe_run):
    """Ids that ``evaluate`` returns for the first three test queries, by method."""
    from rich.console import Console

    settings = {"queries": 3, "latency_batches": [], "across_runs": 0, "audit": False}
    evaluation = Evaluation(str(wardrobe_run.folder), **settings)
    evaluation.measure(MethodOptions(curves=[], methods=WITHOUT_FILE), Console(quiet=True))
    by_method = {}
    for answer in read_answers(evaluation.folder / "sets.jsonl"):
        by_method.setdefault(answer.method, []).append([item.id for item in answer.items])
    return by_method


@pytest.mark.parametrize("key", WITHOUT_FILE)
def test_retrieve_compare_and_evaluate_give_the_same_set(wardrobe_run, evaluated, key):
    queries = wardrobe_run.read_queries("test")[:3]
    retriever = Retriever.load(wardrobe_run.folder, key)
    texts = [query.text for query in queries]
    retrieved = [[item.id for item in answer] for answer in retriever.many(texts)]
    assert retrieved == evaluated[retriever.method.name]
    answers = compare_answers(wardrobe_run.folder, texts, methods=[key]).answers
    assert [[item.id for item in answer.items] for answer in answers] == retrieved
    # Another seed: the same in both, and another set if the method has several.
    (other,) = compare_answers(wardrobe_run.folder, texts[:1], methods=[key], seed=3).answers
    seeded = retriever(texts[0], seed=3)
    assert [item.id for item in other.items] == [item.id for item in seeded]
    if retriever.method.draws == 1:
        assert [item.id for item in seeded] == retrieved[0]
    elif retriever.method.name in ("R4T-Diffusion", "R4T-Student", "R4T-Refined"):
        assert [item.id for item in seeded] != retrieved[0]
    elif not key.startswith("best-of"):  # another five may have the same best
        assert other.subqueries != answers[0].subqueries


OUR_SEARCH = """
class OurSearch:
    '''Our production search: the catalog's last items first.'''

    key, name, draws = "our-search", "Our search", 1

    def __init__(self, context):
        self.context = context

    def __call__(self, queries, vectors, *, draw=0):
        searcher, size = self.context.searcher, len(self.context.searcher.catalog)
        pool = vectors.new_tensor(range(size - 1, -1, -1)).long()[: self.context.pool_size]
        texts = [query.text for query in queries]
        ranking = pool.expand(len(queries), -1)
        return searcher.ranked_sets(vectors, ranking, self.context.set_size, texts)


def broken(context):
    raise RuntimeError("no route to host")


def anonymous(context):
    return lambda queries, vectors: None
"""


@pytest.fixture
def plugin(tmp_path, as_installed):
    """Installs a package with methods of these keys."""

    def install(**points):
        folder = tmp_path / "site"
        points = {key.replace("_", "-"): f"our_search:{name}" for key, name in points.items()}
        as_installed(folder, "ours", "1.0", points, group="r4t.methods")
        (folder / "our_search.py").write_text(OUR_SEARCH)

    return install


def test_a_strangers_method_is_a_row_of_the_table(small_run, plugin, program):
    plugin(our_search="OurSearch")
    ids = small_run.searcher().catalog.ids
    answer = Retriever.load(small_run.folder, "our-search")("red linen", size=3)
    assert [item.id for item in answer] == ids[::-1][:3]
    assert answer.items[0].score == answer.items[0].query_score  # it has no directions
    options = ["--latency_batches", "[]", "--audit", "false", "--plots", "false"]
    code, _, err = program("evaluate", small_run.folder, *options, "--pool_size", "20")
    assert code == 0, err
    table = (small_run.folder / "results" / "results.md").read_text()
    assert "| Our search |" in table
    code, printed, err = program("retrieve", small_run.folder, "red linen", "--with", "our-search")
    assert code == 0, err
    assert small_run.searcher().catalog.texts[-1] in printed


def test_a_strangers_method_that_fails(small_run, plugin):
    plugin(broken="broken", anonymous="anonymous", missing="Missing")
    queries = small_run.read_queries("test")[:1]
    lineup, _ = build(small_run, queries, curves=[])
    assert "RuntimeError: no route to host" in lineup.absent["broken"]
    assert "found function with key None" in lineup.absent["anonymous"]
    assert "Missing" in lineup.absent["missing"]
    with pytest.raises(PluginError, match="'broken' to be built from our_search:broken") as error:
        build(small_run, queries, methods=["broken"])
    assert isinstance(error.value.__cause__, RuntimeError)
    with pytest.raises(InputError, match="a method with key 'anonymous'"):
        Retriever.load(small_run.folder, "anonymous")


def test_a_plugin_cannot_take_a_shipped_key(plugin):
    plugin(mmr="OurSearch")
    with pytest.raises(InputError, match="'mmr', which r4t ships, for our_search:OurSearch"):
        entries()
