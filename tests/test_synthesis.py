"""Synthesis with scripted fan-outs: what is kept, how rows are filled, what is counted."""

import os
import signal
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from r4t.data.queries import Query, write_queries
from r4t.errors import InputError
from r4t.fanout.formats import Full
from r4t.filters import Filter
from r4t.methods.bounds import ReferenceSets
from r4t.objective import Objective, load_objective
from r4t.reward import Reward
from r4t.search import Retrieval
from r4t.support.interruption import Interrupted
from r4t.support.seeds import query_seed
from r4t.synthesis import (
    DirectionRows,
    ItemRows,
    SampledModel,
    SynthesisTrainer,
    Synthesizer,
    Writing,
)
from r4t.targets import TargetSets, begin
from r4t.training.query_data import QueryData

# Sub-queries of the four samples of each query; k = 2, and one sample says nothing known.
SCRIPT = {
    "red linen": [
        ["red linen shirt", "blue wool coat"],
        ["green silk"],
        [],
        ["black hat", "boots"],
    ],
    "blue wool": [
        ["xyzzy"],
        ["blue wool hat", "xyzzy"],
        ["white dress"],
        ["grey coat", "red silk"],
    ],
}
# Known members of k, the score of Size: red linen 1, ½, 0, 1; blue wool 0, ½, ½, 1.


class Scripted:
    """Takes the place of the tuned model."""

    form = Full(set_size=2)

    def __init__(self):
        self.asked = []

    def sample(self, queries, seeds, group_size, temperature):
        self.asked.append((list(queries), list(seeds), group_size, temperature))
        return SimpleNamespace(subqueries=[texts for query in queries for texts in SCRIPT[query]])


class Size(Objective):
    """Share of members that are not missing."""

    bounds = (0.0, 1.0)

    def score(self, sets):
        return sets.mask.float().mean(-1)


class Red(Objective):
    """1 for the sets of queries of red things."""

    bounds = (0.0, 1.0)
    needs = frozenset({"query_texts"})

    def score(self, sets):
        return torch.tensor([float("red" in text) for text in sets.query_texts])


class Known(Objective):
    """Sees references; remembers them."""

    bounds = (0.0, 1.0)
    needs = frozenset({"references", "pool"})

    def __init__(self):
        self.seen = None

    def score(self, sets):
        self.seen = (sets.references, sets.pool)
        return torch.zeros(len(sets))


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def synthesize(small_run, monkeypatch):
    """Writes the target sets of the two scripted queries and opens them."""
    monkeypatch.setattr("r4t.synthesis.FanoutModel.load", lambda folder, backend: Scripted())

    def write(
        queries=None,
        objectives=None,
        batch_size=2,
        strategy="auto",
        devices=1,
        overwrite=True,
        shard_size=8192,
        pool_size=None,
        **arguments,
    ):
        asked = [Query("a", "red linen", "mood"), Query("b", "blue wool", "mood")]
        write_queries(small_run.queries, {"train": asked if queries is None else queries})
        objectives = {"size": Size()} if objectives is None else objectives
        reward = Reward(dict.fromkeys(objectives, 1.0), objectives)
        module = Synthesizer(
            str(small_run.folder),
            reward,
            SampledModel(samples=4),
            retrieval=Retrieval(pool_size),
            writing=Writing(overwrite, shard_size),
            **{"set_size": 3, **arguments},
        )
        off = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        plan = {"accelerator": "cpu", "strategy": strategy, "devices": devices}
        trainer = SynthesisTrainer(**plan, **off)
        data = QueryData(str(small_run.folder), batch_size=batch_size)
        trainer.synthesize(module, datamodule=data)
        return TargetSets.load(small_run.step("targets")), module

    return write


@pytest.fixture
def top(small_run):
    """Text → row and embedding of its nearest item."""
    searcher = small_run.searcher()

    def find(text):
        _, rows = searcher.index.search(searcher.encode([text]), 1)
        return rows.item()

    return find


def test_samples_without_a_member_are_dropped_and_counted(synthesize, small_run):
    sets, module = synthesize()
    manifest = sets.manifest
    assert manifest.drawn == 8
    reasons = ("below the floor", "nearly equal", "beyond the best share")
    assert manifest.dropped == {**dict.fromkeys(reasons, 0), "no sub-query": 2}
    assert (manifest.sets, manifest.queries) == (6, 2)
    assert manifest.fingerprint == small_run.fingerprint
    shard = sets.shard(0)
    assert shard.query_ids == ["a"] * 3 + ["b"] * 3
    assert shard.queries == ["red linen"] * 3 + ["blue wool"] * 3
    expected = [
        texts for query in SCRIPT.values() for texts in query if texts not in ([], ["xyzzy"])
    ]
    assert shard.texts == expected
    assert shard.scores["size"].tolist() == [1, 0.5, 1, 0.5, 0.5, 1]
    conditions = module.searcher.encode(shard.queries)
    assert torch.equal(shard.condition, conditions)
    # Asked once, with seeds of the queries that validation (draw 0) and rollouts do not use.
    seeds = [query_seed("a", -1), query_seed("b", -1)]
    assert module.folm.asked == [(["red linen", "blue wool"], seeds, 4, 0.9)]


@pytest.mark.parametrize(
    "keep, below, beyond, empty, scores",
    [
        # The best 2 of 4: red linen 1, 1; blue wool 1 and the first ½.
        (Filter(share=0.5), 0, 4, 0, [1, 1, 0.5, 1]),
        # From ½ up: all but the two samples without a member.
        (Filter(floor=0.5), 2, 0, 0, [1, 0.5, 1, 0.5, 0.5, 1]),
        # The best 3 of 4, of which 1 must have both members: red linen 1, 1; blue wool 1.
        (Filter(share=0.75, floor=0.9), 5, 0, 0, [1, 1, 1]),
        (Filter(share=0.25, floor=0.2), 2, 4, 0, [1, 1]),
    ],
)
def test_filters_by_hand(synthesize, keep, below, beyond, empty, scores):
    sets, _ = synthesize(keep=keep)
    assert sets.manifest.dropped == {
        "below the floor": below,
        "nearly equal": 0,
        "beyond the best share": beyond,
        "no sub-query": empty,
    }
    assert sets.shard(0).scores["reward"].tolist() == scores


def test_a_query_without_a_kept_sample_has_no_set(synthesize):
    # Under the floor: all four of "blue wool", and the one of "red linen" without a member.
    sets, _ = synthesize(batch_size=1, objectives={"red": Red()}, keep=Filter(floor=0.5))
    manifest = sets.manifest
    assert (manifest.sets, manifest.queries, manifest.asked, manifest.drawn) == (3, 1, 2, 8)
    assert manifest.dropped["below the floor"] == 5
    with pytest.raises(InputError, match=r"found none of 8 samples of 2 queries .*Loosen the filt"):
        synthesize(batch_size=1, keep=Filter(floor=1.5))


def test_near_equal_samples_are_dropped_and_counted(synthesize, monkeypatch):
    monkeypatch.setitem(
        SCRIPT, "red linen", [["black hat", "boots"], ["boots", "black hat"], [], []]
    )
    sets, _ = synthesize(keep=Filter(overlap=1.0))
    assert sets.manifest.dropped["nearly equal"] == 1
    assert sets.shard(0).texts[:2] == [["black hat", "boots"], ["blue wool hat", "xyzzy"]]


def test_what_fills_rows_does_not_depend_on_the_batch(synthesize):
    together = synthesize(set_size=5, batch_size=2)[0].shard(0).items
    alone = synthesize(set_size=5, batch_size=1)[0].shard(0).items
    assert torch.equal(together, alone)


def test_item_ids_are_written_with_the_texts(synthesize, small_run):
    shard = synthesize()[0].shard(0)
    ids = small_run.searcher().catalog.ids
    assert shard.item_ids == [[ids[item] for item in row] for row in shard.items.tolist()]


def test_missing_rows_come_from_other_sets_of_the_query(synthesize, top):
    shard = synthesize(set_size=3)[0].shard(0)
    first = [top("red linen shirt"), top("blue wool coat")]
    second, third = [top("green silk")], [top("black hat"), top("boots")]
    mine = shard.items[:3].tolist()
    assert (mine[0][:2], mine[1][:1], mine[2][:2]) == (first, second, third)
    assert mine[0][2] in second + third
    assert set(mine[1][1:]) <= set(first + third)
    assert mine[2][2] in first + second
    # Each filled row is of another member: five members fill five rows of one set without repeats.
    five = synthesize(set_size=5)[0].shard(0).items[0].tolist()
    assert sorted(five) == sorted(first + second + third)


def test_too_few_members_are_repeated(synthesize, top):
    shard = synthesize(set_size=5, keep=Filter(share=0.25))[0].shard(0)
    first = [top("red linen shirt"), top("blue wool coat")]
    assert shard.items[0].tolist() == [*first, *first, first[0]]
    assert torch.equal(shard.rows[0][0], shard.rows[0][2])


def test_rows_are_items_or_directions(synthesize, small_run):
    searcher = small_run.searcher()
    by_item = synthesize(rows=ItemRows())[0].shard(0)
    assert torch.equal(by_item.rows, searcher.catalog.embeddings[by_item.items])
    by_direction = synthesize(rows=DirectionRows())[0].shard(0)
    assert torch.equal(by_direction.items, by_item.items)
    texts = SCRIPT["red linen"][0]
    assert torch.allclose(by_direction.rows[0][:2], searcher.encode(texts), atol=1e-6)
    # "green silk" is no item's whole text: its direction is not the item that it finds.
    assert (by_direction.rows[1][0] - by_item.rows[1][0]).abs().max() > 0.01
    # The member without a known word leaves no row: the other one of its set comes first.
    hat = searcher.encode(["blue wool hat"])[0]
    assert torch.allclose(by_direction.rows[3][0], hat, atol=1e-6)


def test_references_and_pool_reach_the_reward(synthesize, small_run):
    queries = [
        Query("a", "red linen", "set", ("i3", "i4")),
        Query("b", "blue wool", "set", ("i9",)),
    ]
    known = Known()
    synthesize(queries, objectives={"size": Size(), "known": known}, pool_size=20)
    references, pool = known.seen
    assert references.tolist() == [[3, 4]] * 4 + [[9, -1]] * 4
    assert pool.shape == (8, 20)
    with pytest.raises(InputError, match=r"sets with .*'references'.* found sets without"):
        synthesize(objectives={"known": Known()}, pool_size=20)


class Near(Objective):
    """Mean cosine of the members' items with the query."""

    bounds = (-1.0, 1.0)

    def score(self, sets):
        cosines = (sets.item_embeddings @ sets.query.unsqueeze(-1)).squeeze(-1)
        return cosines.sum(-1) / sets.mask.sum(-1).clamp(min=1)


def test_every_teacher_competes_and_is_counted(synthesize, small_run):
    # At the floor stay, of red linen, the samples 0 and 3; of blue wool, 3; and both of No fan-out.
    # All of these score 1: the first teacher's is the best.
    keep = Filter(floor=0.75)
    sets, _ = synthesize(teachers=["folm", "no-fan-out"], keep=keep)
    assert sets.manifest.teachers == {
        "folm": {"candidates": 8, "kept": 3, "best": 2},
        "no-fan-out": {"candidates": 2, "kept": 2, "best": 0},
    }
    shard = sets.shard(0)
    assert shard.teachers == ["folm", "folm", "no-fan-out", "folm", "no-fan-out"]
    assert shard.query_ids == ["a", "a", "a", "b", "b"]
    assert [bool(texts) for texts in shard.texts] == [True, True, False, True, False]
    assert (sets.manifest.drawn, sets.manifest.model) == (10, "tune/model")
    sets, _ = synthesize(teachers=["no-fan-out", "R4T-FOLM"], keep=keep)
    assert [counts["best"] for counts in sets.manifest.teachers.values()] == [2, 0]
    card = (sets.folder / "README.md").read_text()
    assert "| no-fan-out | 2 | 2 | 2 |\n| folm | 8 | 3 | 0 |" in card


def test_the_best_of_all_teachers_stays(synthesize, capsys):
    # No two items are nearer to a query than its two nearest, which No fan-out returns.
    sets, module = synthesize(
        objectives={"near": Near()},
        keep=Filter(share=0.01),
        teachers=["folm", "mmr", "no-fan-out"],
        set_size=2,
    )
    assert [counts["best"] for counts in sets.manifest.teachers.values()] == [0, 0, 2]
    _, nearest = module.searcher.index.search(sets.shard(0).condition, 2)
    assert torch.equal(sets.shard(0).items, nearest)
    assert (
        "The best set of a query is from no-fan-out for 2, folm for 0, mmr for 0."
        in capsys.readouterr().out
    )


def test_items_without_directions_are_their_own(synthesize, small_run):
    sets, module = synthesize(
        objectives={"groundedness": load_objective("groundedness")},
        rows=DirectionRows(),
        teachers=["mmr"],
        set_size=4,
    )
    # Without a language model a set has as many members as a target set has rows.
    shard, items = sets.shard(0), module.searcher.catalog.embeddings
    assert torch.equal(shard.rows, items[shard.items])
    assert len(set(shard.items[0].tolist())) == 4
    assert shard.scores["groundedness"].tolist() == pytest.approx([1.0, 1.0])
    assert (sets.manifest.model, sets.manifest.model_fingerprint) == ("none", "")


def test_equal_sets_of_teachers_count_once(synthesize, capsys):
    # The first pick of MMR and DPP is the nearest item, the only one in a set of one.
    sets, _ = synthesize(teachers=["mmr", "dpp", "no-fan-out"], set_size=1)
    assert (sets.manifest.sets, sets.manifest.dropped["nearly equal"]) == (2, 4)
    assert [counts["best"] for counts in sets.manifest.teachers.values()] == [2, 0, 0]
    assert "For every query all teachers gave the same items" in capsys.readouterr().out


def test_references_teach_where_queries_have_some(synthesize):
    queries = [
        Query("a", "red linen", "set", ("i190", "i180")),
        Query("b", "blue wool", "set", ("i150",)),
    ]
    coverage = {"coverage": load_objective("coverage")}
    settings = {"objectives": coverage, "pool_size": 2, "keep": Filter(share=0.01), "set_size": 2}
    sets, _ = synthesize(queries, teachers=["mmr", "references"], **settings)
    assert sets.manifest.teachers["references"]["best"] == 2
    shard = sets.shard(0)
    assert shard.scores["coverage"].tolist() == [1, 1]
    assert shard.items.tolist() == [[190, 180], [150, 150]]  # a short set repeats its members
    queries[1] = Query("b", "blue wool", "written")
    settings = {"objectives": {"diversity": load_objective("diversity")}, "set_size": 2}
    sets, _ = synthesize(queries, teachers=["mmr", "references"], **settings)
    assert [sets.manifest.teachers[key]["kept"] for key in ("mmr", "references")] == [2, 1]
    assert sets.manifest.dropped["no sub-query"] == 1
    with pytest.raises(InputError, match="'references', but 1 of 1 queries have no references"):
        synthesize(queries[1:], teachers=["references"])


def test_other_candidates_do_not_fill_references(synthesize):
    queries = [Query("a", "red linen", "set", ("i190", "i180"))]
    objectives = {"diversity": load_objective("diversity")}
    sets, _ = synthesize(queries, teachers=["references", "mmr"], objectives=objectives, set_size=5)
    shard = sets.shard(0)
    items = dict(zip(shard.teachers, shard.items.tolist(), strict=True))
    assert items["references"] == [190, 180, 190, 180, 190]
    assert len(set(items["mmr"])) == 5


def test_a_draw_of_references_holds_as_many_as_a_set(small_run):
    searcher, many = small_run.searcher(), tuple(f"i{row}" for row in range(9))
    queries = [Query("a", "red linen", "set", many), Query("b", "blue wool", "set", ("i5",))]
    vectors = searcher.encode_queries([query.text for query in queries])
    teacher = ReferenceSets(searcher=searcher, set_size=4, pool_size=20)
    draws = [teacher(queries, vectors, draw=draw) for draw in range(2)]
    assert draws[0].items[1].tolist() == [5, -1, -1, -1]
    held = [set(each.items[0].tolist()) for each in draws]
    assert held[0] != held[1]
    assert all(len(each) == 4 and each <= set(range(9)) for each in held)
    assert torch.equal(teacher(queries, vectors, draw=1).items, draws[1].items)
    assert set(draws[0].pool[0, :9].tolist()) == set(range(9))


def test_teachers_resume_on_one_process_and_on_two(synthesize, monkeypatch):
    settings = {"teachers": ["folm", "mmr", "k-means"], "shard_size": 4, "keep": Filter(floor=0.5)}
    whole, _ = synthesize(MANY, batch_size=1, **settings)
    expected, facts = kept(whole), whole.manifest

    def interrupted(self, *arguments):
        if self.asked:
            raise KeyboardInterrupt
        return sample(self, *arguments)

    sample = Scripted.sample
    with monkeypatch.context() as patched:
        patched.setattr(Scripted, "sample", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            raise_unless_finished(lambda: synthesize(MANY, batch_size=3, **settings))
    for how in ({"overwrite": False}, {"strategy": "ddp_fork", "devices": 2}):
        sets, _ = synthesize(MANY, batch_size=2, **how, **settings)
        assert kept(sets) == expected
        assert sets.manifest.teachers == facts.teachers
    (sets.folder / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"begun.json\), but found another config\. Restore them"):
        synthesize(MANY, overwrite=False, **{**settings, "teachers": ["folm", "mmr"]})


def test_the_same_run_writes_the_same_bytes(synthesize, small_run):
    folder = small_run.step("targets")
    written = []
    for _ in range(2):
        synthesize(set_size=4)
        written.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert written[0] == written[1]
    shard = [f"shard-000-00000.{ending}" for ending in ("json", "jsonl", "safetensors")]
    assert list(written[0]) == ["README.md", "begun.json", "manifest.json", *shard]


def test_refusals(synthesize, monkeypatch):
    with pytest.raises(
        InputError, match=r"set_size, .* sub-queries .* at least 2, but found 1\. Raise"
    ):
        synthesize(set_size=1)
    _, module = synthesize()
    with pytest.raises(InputError, match="found finished ones in .*targets"):
        synthesize(overwrite=False)
    with pytest.raises(InputError, match="samples .*at least 1, .*found 0"):
        SampledModel(samples=0)
    with pytest.raises(InputError, match="draws .*at least 1, .*found 0"):
        SampledModel(draws=0)
    with pytest.raises(InputError, match="at least one teacher, .*found none. Name some in teach"):
        synthesize(teachers=[])
    with pytest.raises(InputError, match="methods among .*found 'mmrr'.* Did you mean 'mmr'"):
        synthesize(teachers=["folm", "mmrr"])
    with pytest.raises(
        InputError, match="that this run has, .*'student', but the run has no model"
    ):
        synthesize(teachers=["student"])
    with pytest.raises(InputError, match="shard_size .*at least 1, .*found 0"):
        Writing(shard_size=0)
    items = module.searcher.retrieve(torch.ones(1, 8), torch.ones(1, 2, 8))
    object.__setattr__(items, "directions", None)
    with pytest.raises(
        InputError, match="sets with directions, but found sets without\\. Use ItemRows"
    ):
        DirectionRows()(items)


MANY = [Query(f"m{n}", "red linen" if n % 2 else "blue wool", "mood") for n in range(7)]


def kept(sets):
    """Every set of a folder by query, sub-queries and items, whatever the order."""
    shards = [sets.shard(number) for number in range(len(sets.manifest.shards))]
    return sorted(
        (query, *texts, *map(str, items))
        for shard in shards
        for query, texts, items in zip(shard.query_ids, shard.texts, shard.items.tolist())
    )


def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(synthesize, monkeypatch):
    whole, module = synthesize(MANY, batch_size=1, shard_size=4)
    expected, facts = kept(whole), whole.manifest
    assert len(facts.shards) == 4  # three sets a query: two queries a shard, the last one alone
    asked = [queries[0] for queries, *_ in module.folm.asked]

    class Killed(Scripted):
        def sample(self, *arguments):
            if len(self.asked) == 5:
                raise KeyboardInterrupt
            return super().sample(*arguments)

    killed, second = Killed(), Scripted()
    monkeypatch.setattr("r4t.synthesis.FanoutModel.load", lambda folder, backend: killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        raise_unless_finished(lambda: synthesize(MANY, batch_size=1, shard_size=4))
    monkeypatch.setattr("r4t.synthesis.FanoutModel.load", lambda folder, backend: second)
    sets, module = synthesize(MANY, batch_size=1, shard_size=4)
    assert kept(sets) == expected
    for name in ("sets", "queries", "asked", "drawn", "dropped"):
        assert getattr(sets.manifest, name) == getattr(facts, name)
    # Five queries were sampled before the kill; only the four of committed shards are skipped.
    assert [queries[0] for queries, *_ in second.asked] == asked[4:]


@pytest.mark.parametrize("count", range(1, 14, 2))
def test_a_kill_before_any_rename_leaves_a_folder_that_goes_on(synthesize, monkeypatch, count):
    whole, _ = synthesize(MANY, batch_size=1, shard_size=4)
    expected, renamed = kept(whole), []

    def rename(source, target):
        renamed.extend([target] if "targets" in Path(target).parts else [])
        if len(renamed) == count:
            raise KeyboardInterrupt
        os.rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("r4t.support.files.os.replace", rename)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            raise_unless_finished(lambda: synthesize(MANY, batch_size=1, shard_size=4))
    with pytest.raises(InputError, match="with a manifest.json, but found none"):
        TargetSets.load(whole.folder)
    sets, _ = synthesize(MANY, batch_size=1, shard_size=4)
    assert kept(sets) == expected


def test_ctrl_c_as_soon_as_the_folder_has_begun_stops_after_a_batch(synthesize, monkeypatch):
    expected = kept(synthesize(MANY, batch_size=1)[0])

    def interrupted(*arguments):
        begin(*arguments)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr("r4t.synthesis.begin", interrupted)
        with pytest.raises(Interrupted, match=r"^stopped after batch 1; what was written stays$"):
            synthesize(MANY, batch_size=1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert kept(synthesize(MANY, batch_size=1, overwrite=False)[0]) == expected


def raise_unless_finished(run):
    """Run; if Lightning ended quietly after an interrupt, a missing manifest says so."""
    try:
        run()
    except InputError as error:
        raise KeyboardInterrupt from error


def test_other_settings_do_not_go_on(synthesize, small_run):
    synthesize(MANY, overwrite=False)
    (small_run.step("targets") / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"begun.json\), but found another config\. Restore them"):
        synthesize(MANY, overwrite=False, keep=Filter(share=0.5))
    small_run.step("tune").mkdir(exist_ok=True)
    (small_run.step("tune") / "model").mkdir()
    (small_run.step("tune") / "model" / "weights").write_text("other")
    with pytest.raises(InputError, match=r"found another model_fingerprint\. Restore"):
        synthesize(MANY, overwrite=False)


def test_two_processes_write_the_sets_of_one(synthesize, small_run):
    alone, _ = synthesize(MANY, batch_size=2)
    expected, facts = kept(alone), alone.manifest
    for batch_size, shards in ((2, 2), (1, 2)):
        sets, _ = synthesize(MANY, batch_size=batch_size, strategy="ddp_fork", devices=2)
        assert kept(sets) == expected
        assert len(sets.manifest.shards) == shards
        for name in ("sets", "queries", "asked", "drawn", "dropped", "config_fingerprint"):
            assert getattr(sets.manifest, name) == getattr(facts, name)
