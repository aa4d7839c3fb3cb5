"""A retriever of one evaluation that learns the likelihood of target sets."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from r4t.choice import Likely, QueryTime
from r4t.diffusion.data import TargetData
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.likelihood import LikelihoodStudent
from r4t.diffusion.mixture import log_mixture
from r4t.diffusion.slots import SlotSet
from r4t.diffusion.start import Start
from r4t.errors import InputError
from r4t.methods.diffusion import DiffusionMethod
from r4t.reward import Reward
from r4t.training.callbacks import Export
from r4t.training.learning_rate import WarmupCosine
from tests.diffusion.conftest import adam
from tests.diffusion.test_ranks import DIM, ROWS, run, trainer  # noqa: F401


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_mixture_by_hand():
    """Two directions, two items, τ = 1: each draws its own item with e/(e + 1)."""
    items = torch.eye(2)
    p, q = math.e / (math.e + 1), 1 / (math.e + 1)
    found = log_mixture(torch.eye(2)[None], items[None], items, 1.0)
    assert found.exp().tolist() == [pytest.approx([(p + q) / 2] * 2)]
    same = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert log_mixture(same, items[None], items, 1.0).exp().tolist() == [pytest.approx([p, q])]


def test_items_of_the_catalog_have_probabilities_that_sum_to_one():
    items, directions = unit(7, 4), unit(2, 3, 4, seed=1)
    logs = log_mixture(directions, items.expand(2, -1, -1), items, 0.1)
    assert logs.exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-6)
    for query in range(2):
        draws = [(items @ d / 0.1).softmax(0) for d in directions[query]]
        assert logs[query].exp().allclose(torch.stack(draws).mean(0), atol=1e-6)


def student(place, steps=2, **arguments):
    torch.manual_seed(0)
    network = arguments.pop("network", None) or SlotSet(DIM, set_size=3, width=16)
    settings = {"optimizer": adam(1e-2), "schedule": WarmupCosine(2), "temperature": 0.1}
    reward = Reward({"diversity": 1.0})
    return LikelihoodStudent(str(place.folder), network, reward=reward, **{**settings, **arguments})


def fitted(place, steps, **arguments):
    module = student(place, **arguments)
    data = TargetData(run=str(place.folder), batch_size=8)
    trainer(Export(), max_steps=steps).fit(module, data)
    return module


def test_training_raises_the_likelihood_and_exports(run):  # noqa: F811
    data = TargetData(run=str(run.folder), batch_size=100, val_share=0.0)
    data.setup()
    (condition, rows), *_ = data.train_dataloader()
    assert rows.shape[1] == ROWS != 3  # rows of a target set and directions may differ in number
    before = student(run).loss(condition, rows).mean().item()
    module = fitted(run, 60)
    module.eval()
    after = module.loss(condition, rows).mean().item()
    assert after < before - 0.1
    loaded = DirectionGenerator.load(run.step("accelerate") / "model")
    assert isinstance(loaded.network, SlotSet)
    assert loaded.evaluations() == 1
    found = loaded(condition, list(range(len(condition))))
    assert torch.equal(found, loaded(condition, [7] * len(condition)))  # one answer for all seeds
    with torch.no_grad():  # an eightieth of the fixed noise is left
        assert found.allclose(module.generator.network.directions(condition), atol=0.05)
    assert QueryTime.load(run.step("accelerate") / "model").likely == Likely()
    refined = Start("accelerate/model", set_size=2).load(run)
    assert refined.set_size == 2
    assert refined(condition, [0] * len(condition)).allclose(found[:, :2], atol=0.05)


def test_dropout_depends_on_seed_and_step_alone(run):  # noqa: F811
    one, same, other = (
        fitted(run, 3, network=_fresh(), seed=seed).generator.network.state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def _fresh():
    torch.manual_seed(0)
    return SlotSet(DIM, set_size=3, width=16, dropout=0.5)


def test_a_diffusion_retriever_is_the_rival_of_its_export(run):  # noqa: F811
    torch.manual_seed(1)
    rival = DirectionGenerator(SlotSet(DIM, set_size=3, width=16), noises=1)
    rival.save(run.step("distill") / "model")
    with pytest.warns(UserWarning, match="loses too much"):
        fitted(run, 1, max_loss=0.0, query_time=QueryTime(anchor=0.99))
    assert not (run.step("accelerate") / "model").is_dir()
    assert (run.step("accelerate") / "rejected").is_dir()
    fitted(run, 1, max_loss=20.0)
    assert (run.step("accelerate") / "model" / "gate.json").is_file()


def test_what_does_not_fit_is_refused(run):  # noqa: F811
    with pytest.raises(InputError, match="temperature"):
        student(run, temperature=0.0)
    with pytest.raises(InputError, match="width, which only r4t fit|dim, the width"):
        SlotSet()
    for dropout in (1.0, -0.1):
        with pytest.raises(InputError, match="dropout"):
            SlotSet(4, dropout=dropout)
    with pytest.raises(InputError, match="at most 3 rows"):
        SlotSet(4, set_size=3).resize(4)
    with pytest.raises(InputError, match=f"width {DIM}"):
        student(run).check_shape(torch.zeros(2, 3, DIM + 1))


def test_the_deployed_retriever_recalls_the_sets_of_its_training_queries(run):  # noqa: F811
    likely = Likely(0.1, 1.0, memory=0.5)
    fitted(run, 2, query_time=QueryTime(likely=likely))
    memory = QueryTime.load(run.step("accelerate") / "model").memory
    data = TargetData(run=str(run.folder))
    data.setup()
    sets = data.train.dataset
    ids, owners = sets.queries()
    trained = {ids[owners[number]] for number in data.train.indices}
    assert 0 < len(memory) == len(trained) < len(ids)  # not those of held-out queries
    folder, query = run.step("accelerate") / "model", run.read_queries("val")[0]
    method = DiffusionMethod.load(
        run.searcher(), 3, 8, folder=folder, key="student", name="Student"
    )
    vectors = method.searcher.encode_queries([query.text])
    assert len(set(method([query], vectors).items[0].tolist())) == 3
    fitted(run, 2)  # without a share of it, no memory stays
    assert QueryTime.load(run.step("accelerate") / "model").memory is None
