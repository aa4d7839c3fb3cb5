"""The few-step student: what it learns, what the gate lets through, and what is exported."""

import json
import math
import warnings

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging

from r4t.choice import BestRows, QueryTime
from r4t.diffusion.data import TargetData
from r4t.diffusion.gate import GateReport, Measured
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.module import DiffusionRetriever
from r4t.diffusion.network import Relay, SetTransformer
from r4t.diffusion.sampler import Euler, Multistep
from r4t.diffusion.student import FewStepStudent, Trajectory, student_of
from r4t.errors import InputError
from r4t.geometry import distinct_first, vendi
from r4t.retriever import Retriever
from r4t.reward import Reward
from r4t.search import Retrieval
from r4t.training.callbacks import Export, KeepLast
from r4t.training.learning_rate import WarmupCosine
from tests.diffusion.conftest import adam
from tests.diffusion.test_ranks import DIM, ROWS, WEIGHTS, fit, run, trainer  # noqa: F401

LEVELS = (20.0, 1.0)
COMPOSITE = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*workers.*")
        yield


@pytest.fixture
def place(run):  # noqa: F811
    """The run, with a teacher whose network is random but does something."""
    torch.manual_seed(0)
    network = SetTransformer(DIM, width=32, mlp_width=32, heads=4, layers=1, set_size=ROWS)
    torch.nn.init.normal_(network.rows_out.weight, std=0.2)
    DirectionGenerator(network, guidance=0.5).save(run.step("distill") / "model")
    return run


RATE = 2e-3


def student(place, rate=RATE, trajectory=None, **arguments):
    trajectory = {"levels": LEVELS, "teacher_steps": 8, **(trajectory or {})}
    settings = {"optimizer": adam(rate), "schedule": WarmupCosine(2), "reward": Reward(COMPOSITE)}
    return FewStepStudent(str(place.folder), Trajectory(**trajectory), **{**settings, **arguments})


def distilling(place, rate=RATE):
    torch.manual_seed(1)
    network = SetTransformer(
        DIM, width=32, mlp_width=32, heads=4, layers=1, set_size=ROWS, dropout=0.1
    )
    generator = DirectionGenerator(network, guidance=0.0)
    settings = {"optimizer": adam(rate), "schedule": WarmupCosine(2), "reward": Reward(COMPOSITE)}
    return DiffusionRetriever(generator, run=str(place.folder), **settings)


def data(place, batch_size=32):
    return TargetData(run=str(place.folder), batch_size=batch_size, val_share=0.25)


def test_it_begins_as_its_teacher_and_is_not_guided(place):
    model = student(place)
    assert model.generator.sampler == Euler(2)
    assert model.generator.schedule.levels == LEVELS
    assert (model.generator.guidance, model.teacher.guidance) == (0.0, 0.5)
    assert student(place, trajectory={"guidance": 0.1}).teacher.guidance == 0.1
    assert model.teacher.sampler == Multistep(8)
    for mine, its in zip(
        model.generator.network.parameters(), model.teacher.network.parameters(), strict=True
    ):
        assert torch.equal(mine, its)
        assert not its.requires_grad
    assert not any("teacher" in name for name in model.state_dict())
    one = student(place, trajectory={"levels": [20.0]})
    assert one.generator.schedule.steps(1).tolist() == pytest.approx([20.0 * DIM**-0.5, 0.0])


def test_it_comes_nearer_to_the_guided_teachers_sets(place, tmp_path):
    model = student(place, trajectory={"levels": (20.0, 2.0, 1.0, 0.3)}, max_loss=20)
    queries = torch.nn.functional.normalize(torch.randn(40, DIM), dim=-1)

    def distance(generator):
        wanted = model.teacher(queries, range(40))
        return (generator(queries, range(40)) - wanted).square().mean().item()

    before = distance(model.generator)
    trainer(Export(str(tmp_path / "out")), max_steps=300).fit(model, data(place))
    assert distance(model.generator) < 0.5 * before
    loaded = DirectionGenerator.load(tmp_path / "out")
    assert distance(loaded) < 0.5 * before
    assert loaded.evaluations() == 4


def test_what_fails_the_gate_is_not_deployed(place):
    model = student(place, max_loss=0.0)
    torch.nn.init.zeros_(model.generator.network.rows_out.weight)  # says the same of all queries
    model.generator.network.rows_in.reset_parameters()
    with pytest.warns(
        UserWarning, match=r"is in .*rejected and is not deployed\. Train longer, give"
    ):
        model.export()
    assert not (place.step("accelerate") / "model").exists()
    facts = json.loads((place.step("accelerate") / "rejected" / "gate.json").read_text())
    assert (facts["passed"], facts["queries"]) == (False, 11)
    assert max(facts[facts["best"]]["lost"].values()) > 0


def test_the_gate_compares_what_is_deployed(place):
    """The teacher with its own steps, guidance and choice; the student with its own."""
    reward = Reward(COMPOSITE)
    choice = BestRows(reward, draws=3)
    QueryTime(choice).save(place.step("distill") / "model")
    model = student(place, query_time=QueryTime(anchor=0.3), max_loss=20)
    model.export()
    facts = json.loads((place.step("accelerate") / "model" / "gate.json").read_text())
    assert facts["teacher"]["evaluations"] == 3 * 16  # three draws of eight guided steps
    assert facts["student"]["evaluations"] == 2
    for key, name in (("diffusion", "teacher"), ("student", facts["best"])):
        method = Retriever.load(place.folder, key).method
        queries = place.read_queries("val")
        vectors = place.searcher().encode_queries([query.text for query in queries])
        sets = method(queries, vectors)
        assert sets.set_size == ROWS if name != "teacher" else 10
        assert facts[name]["composite"] == pytest.approx(reward.score(sets).mean().item(), abs=1e-6)
        # Of the items that users get: the first distinct ones of the pool, one per variant.
        searcher = place.searcher()
        pool = sets.one_per_variant(searcher.catalog.variants()).pool
        rows = distinct_first(pool, sets.set_size)
        spread = vendi(searcher.embeddings(rows), rows >= 0)
        assert facts[name]["vendi"] == pytest.approx(spread.mean().item(), abs=1e-6)


def test_a_hybrid_is_exported_where_it_loses_less(place, monkeypatch):
    def measured(value):
        return Measured({"composite": torch.full((11,), value)}, 4)

    by_name = {
        name: measured(x) for name, x in zip(("teacher", "student", "hybrid"), (0.5, 0.4, 0.49))
    }
    report = GateReport("teacher", by_name, {"composite": (0.0, 1.0)}, {"composite": 0.3})
    monkeypatch.setattr("r4t.diffusion.gate.compare", lambda *_: report)
    student(place).export()
    loaded = DirectionGenerator.load(place.step("accelerate") / "model")
    assert isinstance(loaded.network, Relay)
    assert loaded.evaluations() == 2
    # The first level belongs to the teacher, the second to the student.
    first, second = loaded.schedule.steps(2).tolist()[:2]
    assert second < loaded.network.until < first
    with pytest.raises(
        InputError, match="a teacher of one network for these levels, but found a hybrid"
    ):
        student_of(loaded, LEVELS)
    retriever = Retriever.load(place.folder, "student")
    assert len(retriever("red linen", size=3)) == 3


class Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("build", [student, distilling], ids=["student", "teacher"])
@pytest.mark.parametrize("stop", [3, 5])  # in an epoch of four batches, and in the one after
def test_a_killed_fit_goes_on_to_the_same_weights(place, build, stop):
    def train(*callbacks, checkpoint=None):
        model = build(place)
        every = [EMAWeightAveraging(decay=0.7, update_every_n_steps=1), KeepLast(every=1)]
        settings = {"max_steps": 7, "enable_checkpointing": True}
        settings["default_root_dir"] = str(place.step(model.step))
        running = trainer(*every, *callbacks, **settings)
        running.fit(model, data(place, 24), ckpt_path=checkpoint)
        return torch.cat([p.flatten() for p in model.generator.parameters()])

    whole = train()
    with pytest.raises(SystemExit):
        train(Stop(stop))
    last = place.step(build(place).step) / "checkpoints" / "last.ckpt"
    assert torch.equal(train(checkpoint=str(last)), whole)


@pytest.mark.parametrize("build", [student, distilling], ids=["student", "teacher"])
def test_a_resumed_fit_uses_the_learning_rate_of_its_config(place, build):
    rates = {}

    class Rates(Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            rates[trainer.global_step] = trainer.optimizers[0].param_groups[0]["lr"]

    def train(rate, steps, checkpoint=None):
        rates.clear()
        model = build(place, rate)
        model.rate_schedule = WarmupCosine(2, end=8)
        settings = {"max_steps": steps, "default_root_dir": str(place.step(model.step))}
        running = trainer(KeepLast(every=1), Rates(), enable_checkpointing=True, **settings)
        running.fit(model, data(place, 24), ckpt_path=checkpoint)
        return dict(rates)

    train(RATE, 4)
    last = str(place.step(build(place).step) / "checkpoints" / "last.ckpt")
    # Steps 4 to 7 are 2/6 to 5/6 of the way from warm-up to the end at step 8.
    expected = [(1 + math.cos(math.pi * progress / 6)) / 2 for progress in (2, 3, 4, 5)]
    resumed = train(1e-5, 8, last)
    assert list(resumed) == [4, 5, 6, 7]
    assert list(resumed.values()) == pytest.approx([1e-5 * factor for factor in expected])


def test_two_processes_learn_as_one(place, tmp_path):
    def build(run, **_):  # noqa: F811
        return student(run, reward=Reward({**COMPOSITE, "coverage": 0.0}), retrieval=Retrieval(10))

    (one,) = fit(place, tmp_path / "one", 1, 16, model=build)
    first, second = fit(place, tmp_path / "two", 2, 8, model=build)
    for alone, left, right in zip(one["losses"], first["losses"], second["losses"], strict=True):
        assert left != right
        assert (left + right) / 2 == pytest.approx(alone, abs=1e-5)
    assert first["val"] == second["val"]


def test_unfit_settings_are_refused(place, tmp_path):
    for wrong, message in (
        ({"own_share": 1.5}, r"own_share in \[0, 1\], but found 1\.5"),
        ({"levels": []}, r"at least one noise level for a student, but found none"),
        ({"levels": (1.0, 2.0)}, r"each below the one before, but found \(1.0, 2.0\)"),
        ({"teacher_steps": 1}, r"teacher_steps .*at least 2, .*found 1"),
        ({"teacher": "nowhere"}, r"found no config.json in .*nowhere\. Name a folder that step 3"),
    ):
        with pytest.raises(InputError, match=message):
            student(place, trajectory=wrong)
    with pytest.raises(InputError, match=r"max_loss to be at least 0, but found -0\.1"):
        student(place, max_loss=-0.1)
    model, wrong = student(place), torch.randn(2, 5, DIM)
    message = r"\(L, d\) = \(4, 8\), but found \(5, 8\)\. .* a student needs the sets"
    with pytest.raises(InputError, match=message):
        model.training_step((torch.randn(2, DIM), wrong), 0)
    with pytest.raises(InputError, match=message):
        model.validation_step((0, torch.randn(2, DIM), wrong), 0)
