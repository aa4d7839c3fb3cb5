import warnings
from types import SimpleNamespace

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from r4t.choice import BestRows, QueryTime
from r4t.diffusion.data import TargetData
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.module import DiffusionRetriever, TrainingNoise
from r4t.diffusion.network import SetTransformer
from r4t.diffusion.precondition import denoising_loss
from r4t.diffusion.sampler import Heun
from r4t.diffusion.schedule import Exponential, Karras, LogNormal
from r4t.diffusion.training import CompileNetwork
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.objective import load_objective
from r4t.reward import Reward
from r4t.targets import TargetBatch, TargetSets, as_fetched, write_targets
from r4t.training.callbacks import Export
from r4t.training.learning_rate import WarmupCosine
from tests.diffusion.conftest import adam

QUERIES, ROWS, DIM = 4, 4, 16


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def known_sets():
    """Four queries (4, d), each with one right set (4, 4, d)."""
    random = torch.Generator().manual_seed(3)
    queries = normalize(torch.randn(QUERIES, DIM, generator=random))
    return queries, normalize(torch.randn(QUERIES, ROWS, DIM, generator=random))


@pytest.fixture
def folder(tmp_path):
    queries, rows = known_sets()
    which = torch.arange(1024) % QUERIES
    names = [f"q{i}" for i in which.tolist()]
    items = torch.full((1024, ROWS), -1)
    batch = TargetBatch(queries[which], rows[which], items, {}, names, names, [[]] * 1024)
    origin = {"fingerprint": "abc", "encoder": "lsa", "model": "tiny"}
    write_targets(tmp_path / "targets", [batch], dim=DIM, set_size=ROWS, **origin)
    return str(tmp_path / "targets")


def module(width=32, layers=1, **arguments) -> DiffusionRetriever:
    torch.manual_seed(0)
    network = SetTransformer(
        DIM, width=width, mlp_width=width, heads=4, layers=layers, set_size=ROWS
    )
    arguments = {"optimizer": adam(3e-3), "schedule": WarmupCosine(2), **arguments}
    return DiffusionRetriever(DirectionGenerator(network, guidance=0.0), **arguments)


def trainer(*callbacks, **arguments) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "accelerator": "cpu"}
    return Trainer(callbacks=list(callbacks), **{**quiet, "num_sanity_val_steps": 0, **arguments})


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.generator.network.parameters()])


def test_training_learns_the_right_set_of_each_query(folder, tmp_path):
    out = tmp_path / "retriever"
    callbacks = [EMAWeightAveraging(decay=0.98, update_every_n_steps=1), Export(str(out))]
    model = module(width=64, layers=2, noise=TrainingNoise(LogNormal()))
    data = TargetData(folder, batch_size=64, val_share=0.0)
    trainer(*callbacks, max_steps=400).fit(model, data)

    queries, rows = known_sets()
    generator = DirectionGenerator.load(out)
    directions = generator(queries.repeat_interleave(25, 0), range(100))  # 25 sets per query
    cosine = directions @ rows.flatten(0, 1).T  # (100, L, 16)
    best, nearest = cosine.max(dim=-1)
    right_query = nearest // ROWS == torch.arange(QUERIES).repeat_interleave(25)[:, None]
    assert right_query.float().mean() > 0.98
    assert best.mean() > 0.95
    # Drawn one by one, four rows would cover all four in 4!/4⁴ = 9 % of the sets.
    whole = torch.tensor([len(set(row)) == ROWS for row in nearest.tolist()])
    assert whole.float().mean() > 0.7


@pytest.mark.parametrize("export_first", [False, True])
def test_exported_weights_are_the_moving_average(folder, tmp_path, export_first):
    class Record(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, pl_module, *_):
            self.seen.append(weights(pl_module).clone())

    record, decay = Record(), 0.7
    callbacks = [
        EMAWeightAveraging(decay=decay, update_every_n_steps=1),
        Export(str(tmp_path / "out")),
    ]
    model, data = module(), TargetData(folder, batch_size=64, val_share=0.25)
    trainer(record, *callbacks[:: -1 if export_first else 1], max_steps=6).fit(model, data)

    average = record.seen[0]  # the first update copies
    for seen in record.seen[1:]:
        average = decay * average + (1 - decay) * seen
    assert len(record.seen) == 6
    assert (average - record.seen[-1]).abs().max() > 1e-3
    assert torch.allclose(weights(model), average, atol=1e-6)
    exported = load_file(tmp_path / "out" / "model.safetensors")
    for name, value in model.generator.network.state_dict().items():
        assert torch.equal(exported[name], value)


def test_a_resumed_run_equals_one_that_was_not_stopped(folder, tmp_path):
    def fit(model, steps, checkpoint=None):
        ema = EMAWeightAveraging(decay=0.7, update_every_n_steps=1)
        # A checkpoint written after fit would hold the averaged weights twice.
        save = ModelCheckpoint(tmp_path, filename="step-{step}", every_n_train_steps=3)
        run = trainer(ema, save, max_steps=steps, enable_checkpointing=True)
        run.fit(model, loader, ckpt_path=checkpoint)

    loader = DataLoader(TargetSets.load(folder), batch_size=1024, collate_fn=as_fetched)
    whole = module(schedule=WarmupCosine(2, end=6))
    fit(whole, 6)
    fit(module(schedule=WarmupCosine(2, end=6)), 3)
    resumed = module(schedule=WarmupCosine(2, end=6))
    fit(resumed, 6, tmp_path / "step-step=3.ckpt")
    assert torch.allclose(weights(resumed), weights(whole), atol=1e-6)


def test_loss_does_not_depend_on_the_order_of_rows(folder):
    model = module().eval()
    torch.nn.init.normal_(model.generator.network.rows_out.weight)
    queries, rows = known_sets()
    sigma, noise = torch.tensor([0.01, 0.1, 0.3, 2.0]), torch.randn(4, ROWS, DIM)
    order = torch.tensor([2, 0, 3, 1])
    denoise = model.generator.denoiser.bind(queries)
    one = denoising_loss(denoise, rows, sigma, noise, 0.25)
    other = denoising_loss(denoise, rows[:, order], sigma, noise[:, order], 0.25)
    assert torch.allclose(one, other, rtol=1e-4)


def test_training_noise_is_spread_evenly_over_its_schedule():
    model, seen = module(noise=TrainingNoise(Exponential(0.01, 100.0))), []
    model.log = lambda *_, **__: None
    model._trainer = SimpleNamespace(global_rank=0, world_size=1, global_step=0)
    unit = model.generator.denoiser.sigma_data
    handle = model.generator.denoiser.register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[1])
    )
    model.training_step((torch.ones(64, DIM), torch.zeros(64, ROWS, DIM)), 0)
    handle.remove()
    t = Exponential(0.01, 100.0, unit=unit).t(seen[0])
    # One time in each of 64 equal parts of [0, 1].
    assert (t * 64).floor().sort().values.tolist() == list(range(64))


def test_held_out_noise_depends_on_the_sets_number_alone():
    model, rows = module(), torch.zeros(89, ROWS, DIM)
    t, noise = model.held_out_noise(5, rows)
    part_t, part_noise = model.held_out_noise(7, rows[:3])
    assert torch.equal(t[2:5], part_t)
    assert torch.equal(noise[2:5], part_noise)
    # 89, a Fibonacci number, of multiples of the golden ratio: gaps of two lengths, none above 2/89.
    gaps = t.sort().values.diff()
    assert gaps.max() < 2 / 89
    assert noise.std().item() == pytest.approx(1, abs=0.03)


def test_each_step_draws_its_own_noise():
    model = module()
    draws = [
        torch.rand(1, generator=model.random(*numbers)).item()
        for numbers in [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0)]
    ]
    assert len(set(draws)) == 4
    assert draws[1] == torch.rand(1, generator=model.random(0, 1, 0)).item()


def test_ranks_take_their_part_of_one_batchs_noise(folder):
    batch = next(iter(DataLoader(TargetSets.load(folder), 16, collate_fn=as_fetched)))

    def loss(rank, ranks):
        model = module(noise=TrainingNoise(condition_drop=0.5))
        torch.nn.init.normal_(model.generator.network.rows_out.weight, std=0.1)
        model.log = lambda *_, **__: None
        place = {"global_rank": rank, "world_size": ranks, "global_step": 3}
        model._trainer = SimpleNamespace(**place)
        part = tuple(part[rank::ranks] for part in batch)
        return model.training_step(part, 0).item()

    # The mean over 16 sets is the mean of the means over two times 8.
    assert loss(0, 1) == pytest.approx((loss(0, 2) + loss(1, 2)) / 2, rel=1e-6)


def test_the_network_is_compiled_by_a_callback(folder, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    model = module()
    trainer(CompileNetwork(), max_steps=1).fit(model, TargetData(folder))
    assert compiled == [model.generator.network]


def test_the_validation_loss_is_the_same_each_time(folder):
    data, run, model = TargetData(folder, batch_size=100, val_share=0.5), trainer(), module()
    logged = run.validate(model, data, verbose=False)[0]
    # An untrained network puts out zeros; its loss is 1 on average for data of this spread.
    assert logged["val/loss/mean"] == pytest.approx(1.0, abs=0.15)
    assert run.validate(model, data, verbose=False)[0] == logged


def test_yaml_builds_the_module(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        """
model:
  class_path: DiffusionRetriever
  init_args:
    generator:
      class_path: DirectionGenerator
      init_args:
        network: {class_path: SetTransformer, init_args: {dim: 8}}
        schedule: {class_path: Karras, init_args: {sigma_min: 0.02}}
        sampler: {class_path: Heun, init_args: {steps: 5}}
    noise: {schedule: {class_path: LogNormal}, condition_drop: 0.2}
    optimizer: {class_path: Adam, init_args: {lr: 1e-3}}
    schedule: {class_path: WarmupCosine, init_args: {warmup: 3}}
    retrieval: {pool_size: 20}
    query_time: {anchor: 0.3}
"""
    )
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(LightningModule, "model")
    rate = "--model.init_args.optimizer.init_args.lr=1e-5"
    built = parser.instantiate_classes(parser.parse_args(["--config", str(path), rate])).model
    assert built.generator.dim == 8
    assert built.generator.sampler == Heun(5)
    assert built.generator.schedule == Karras(0.02, unit=8**-0.5)
    assert built.noise == TrainingNoise(LogNormal(), condition_drop=0.2)
    assert built.build_optimizer(built.parameters()).defaults["lr"] == 1e-5
    assert built.rate_schedule.warmup == 3
    assert (built.retrieval.pool_size, built.query_time) == (20, QueryTime(anchor=0.3))


def test_the_defaults_are_those_of_the_paper_but_for_warm_up():
    built = DiffusionRetriever(DirectionGenerator(SetTransformer(8)))
    optimizer = built.build_optimizer(built.parameters())
    assert isinstance(optimizer, torch.optim.Adam)
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (3e-4, (0.9, 0.999))
    assert (built.rate_schedule.warmup, built.rate_schedule.end) == (1000, None)
    assert built.noise_schedule == Exponential()  # in units of sigma_data, whatever that will be
    assert (built.noise.condition_drop, built.noise.seed) == (0.1, 0)


def test_unfit_settings_are_refused(folder):
    with pytest.raises(InputError, match=r"condition_drop in \[0, 1\], but found 2"):
        TrainingNoise(condition_drop=2.0)
    with pytest.raises(
        InputError, match=r"a last step, .* but found a trainer without end\. Set max_steps"
    ):
        trainer(max_epochs=-1).fit(module(), TargetData(folder))
    model = DiffusionRetriever(DirectionGenerator(SetTransformer(DIM, set_size=12)))
    with pytest.raises(
        InputError, match=r"network's \(L, d\) = \(12, 16\), but found \(4, 16\)\. Set"
    ):
        trainer(max_steps=1).fit(model, TargetData(folder))


def test_an_export_needs_a_module_that_exports_and_a_place(tmp_path):
    with pytest.raises(InputError, match=r"with an export method, .* but found LightningModule"):
        Export(str(tmp_path)).on_fit_end(trainer(), LightningModule())
    with pytest.raises(InputError, match="a folder or a run to export to, but found neither"):
        module().export()
    with pytest.raises(InputError, match="a folder of target sets or a run, but found neither"):
        TargetData()


def test_a_saved_model_chooses_by_what_it_can_name_and_know(folder):
    mine = BestRows(Reward({"mine": 1.0}, {"mine": load_objective("diversity")}))
    with pytest.raises(InputError, match=r"objects for \['mine'\] in the choice\. Remove them"):
        module(query_time=QueryTime(mine))
