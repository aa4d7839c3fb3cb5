"""Stage 3 on a run: what validation measures, with which weights, and on how many processes."""

import json
import warnings

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from r4t.choice import QueryTime
from r4t.data.queries import Query, write_queries
from r4t.diffusion.data import TargetData
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.module import DiffusionRetriever, TrainingNoise
from r4t.diffusion.network import SetTransformer
from r4t.diffusion.training import generated_sets
from r4t.geometry import normalize
from r4t.objective import Objective
from r4t.retriever import Retriever
from r4t.reward import Reward
from r4t.search import Retrieval
from r4t.targets import TargetBatch, write_targets
from r4t.training.callbacks import Export
from r4t.training.learning_rate import WarmupCosine
from tests.diffusion.conftest import adam

DIM, ROWS = 8, 4
WEIGHTS = {"groundedness": 0.5, "diversity": 0.5, "coverage": 0.0}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def run(small_run):
    """128 random target sets of 16 queries, and 11 validation queries with references."""
    random = torch.Generator().manual_seed(3)
    queries = normalize(torch.randn(16, DIM, generator=random))
    which = torch.arange(128) % 16
    rows = normalize(torch.randn(128, ROWS, DIM, generator=random))
    names = [f"q{number}" for number in which.tolist()]
    items = torch.randint(200, (128, ROWS), generator=random)
    batch = TargetBatch(queries[which], rows, items, {}, names, names, [[]] * 128)
    origin = {"fingerprint": small_run.fingerprint, "encoder": "lsa", "model": "tiny"}
    write_targets(small_run.step("targets"), [batch], dim=DIM, set_size=ROWS, **origin)
    words = ["red linen", "blue wool", "green silk", "black hat", "white coat", "red boots"]
    asked = [
        Query(f"v{n}", text, "set", (f"i{n}", f"i{n + 40}"))
        for n, text in enumerate([*words, *[f"{word} dress" for word in words[:5]]])
    ]
    write_queries(small_run.queries, {"val": asked})
    return small_run


class OfTexts(Objective):
    """Reads sub-queries, which a generated set does not have."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts"})

    def score(self, sets):
        raise AssertionError("not to be asked")


def module(run, **arguments):
    torch.manual_seed(0)
    network = SetTransformer(DIM, width=32, mlp_width=32, heads=4, layers=1, set_size=ROWS)
    torch.nn.init.normal_(network.rows_out.weight, std=0.1)
    settings = {"optimizer": adam(3e-3), "schedule": WarmupCosine(2), "retrieval": Retrieval(10)}
    reward = Reward({**WEIGHTS, "texts": 0.0}, {"texts": OfTexts()})
    generator = DirectionGenerator(network, guidance=0.0)
    return DiffusionRetriever(
        generator, run=str(run.folder), reward=reward, **settings, **arguments
    )


def trainer(*callbacks, **arguments):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "accelerator": "cpu", "num_sanity_val_steps": 0}
    return Trainer(callbacks=list(callbacks), **{**quiet, **arguments})


def test_validation_measures_each_query_of_the_run_once(run):
    model, data = module(run), TargetData(run=str(run.folder), batch_size=4, val_share=0.5)
    _, logged = trainer().validate(model, data, verbose=False)  # one for each loader
    queries = run.read_queries("val")
    sets = generated_sets(model.generator, run.searcher(), queries, pool_size=10)
    total, components = Reward(WEIGHTS)(sets)
    for name in WEIGHTS:
        expected = components[name].mean().item()
        assert logged[f"val/{name}/mean"] == pytest.approx(expected, abs=1e-6)
    assert logged["val/reward/mean"] == pytest.approx(total.mean().item(), abs=1e-6)
    assert "val/texts/mean" not in logged
    # Two of the ten items of a pool that are references of 11 queries: some, not none.
    assert 0 < logged["val/coverage/mean"] < 1


class Record(Callback):
    """Writes what a rank saw: forked processes return little else."""

    def __init__(self, folder):
        self.folder, self.losses = folder, []

    def on_train_batch_end(self, trainer, pl_module, outputs, *_):
        self.losses.append(outputs["loss"].item())

    def on_fit_end(self, trainer, pl_module):
        logged = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        weights = [p.flatten() for p in pl_module.generator.network.parameters()]
        seen = {"losses": self.losses, "val": logged, "weights": torch.cat(weights).tolist()}
        (self.folder / f"rank-{trainer.global_rank}.json").write_text(json.dumps(seen))


def fit(run, folder, ranks, batch_size, model=module, **arguments):
    """Return what each rank saw in three epochs."""
    folder.mkdir()
    ema = EMAWeightAveraging(decay=0.7, update_every_n_steps=1)
    plan = {"strategy": "ddp_fork", "devices": 2} if ranks == 2 else {}
    data = TargetData(run=str(run.folder), batch_size=batch_size, val_share=0.25)
    record, export = Record(folder), Export(str(folder / "model"))
    trainer(ema, record, export, max_epochs=3, **plan).fit(model(run, **arguments), data)
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*"))]


def test_two_processes_train_and_validate_as_one_does(run, tmp_path):
    (one,) = fit(run, tmp_path / "one", 1, 16)
    first, second = fit(run, tmp_path / "two", 2, 8)
    assert len(one["losses"]) == 18  # 96 of 128 sets, 16 a batch, three times
    for alone, left, right in zip(one["losses"], first["losses"], second["losses"], strict=True):
        assert left != right
        assert (left + right) / 2 == pytest.approx(alone, abs=1e-5)
    assert first["weights"] == second["weights"]
    assert first["val"] == second["val"]
    for name, value in one["val"].items():
        assert first["val"][name] == pytest.approx(value, abs=1e-5), name


def test_validation_of_the_same_weights_is_the_same_on_two_processes(run, tmp_path):
    class Keep(Callback):
        def on_validation_end(self, trainer, pl_module):
            seen = {key: value.item() for key, value in trainer.callback_metrics.items()}
            (tmp_path / f"{trainer.world_size}-{trainer.global_rank}").write_text(json.dumps(seen))

    data = {"run": str(run.folder), "batch_size": 4, "val_share": 0.5}
    trainer(Keep()).validate(module(run), TargetData(**data), verbose=False)
    two = trainer(Keep(), strategy="ddp_fork", devices=2)
    two.validate(module(run), TargetData(**data), verbose=False)
    one, first, second = (
        json.loads((tmp_path / name).read_text()) for name in ("1-0", "2-0", "2-1")
    )
    assert set(one) == {f"val/{name}/mean" for name in [*WEIGHTS, "reward", "loss"]}
    assert one == first == second  # to the last bit


def test_validation_uses_the_averaged_weights(run, tmp_path):
    (seen,) = fit(run, tmp_path / "one", 1, 16)
    averaged = DirectionGenerator.load(tmp_path / "one" / "model")
    sets = generated_sets(averaged, run.searcher(), run.read_queries("val"), pool_size=10)
    expected = Reward(WEIGHTS).score(sets).mean().item()
    assert seen["val"]["val/reward/mean"] == pytest.approx(expected, abs=1e-6)


def test_a_measured_sigma_data_is_that_of_the_rows(run):
    model = module(run, noise=TrainingNoise(measure_sigma_data=True))
    model.generator.set_sigma_data(1.0)
    top = model.generator.schedule.steps(1)[0]
    data = TargetData(run=str(run.folder), batch_size=16, val_share=0.25)
    trainer(max_steps=1).fit(model, data)
    # Rows of unit length have coordinates of root mean square 1/√d.
    assert model.generator.denoiser.sigma_data == pytest.approx(DIM**-0.5)
    assert model.generator.schedule.steps(1)[0] == pytest.approx(top.item() * DIM**-0.5)


def test_an_anchor_is_measured_and_exported(run):
    model, data = (
        module(run, query_time=QueryTime(anchor=0.4)),
        TargetData(run=str(run.folder), val_share=0.5),
    )
    _, logged = trainer().validate(model, data, verbose=False)
    sets = generated_sets(
        model.generator, run.searcher(), run.read_queries("val"), 10, QueryTime(anchor=0.4)
    )
    expected = Reward(WEIGHTS).score(sets).mean().item()
    assert logged["val/reward/mean"] == pytest.approx(expected, abs=1e-6)
    model.export()
    assert Retriever.load(run.folder).method.query_time.anchor == 0.4
