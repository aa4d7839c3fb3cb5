"""The refined retriever: what it learns, what holds it, and what is exported (stage 5)."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging

from r4t.choice import QueryTime
from r4t.credit import WholeSet
from r4t.diffusion.exploration import GaussianNoise, ItemSampling
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import Relay, SetTransformer
from r4t.diffusion.refiner import RetrieverRefiner
from r4t.diffusion.sampler import Euler
from r4t.diffusion.schedule import Levels
from r4t.diffusion.start import Start
from r4t.errors import InputError
from r4t.objective import Objective, load_objective
from r4t.retriever import Retriever
from r4t.reward import Reward
from r4t.search import Retrieval
from r4t.support.seeds import query_seed
from r4t.training.callbacks import Export, KeepLast
from r4t.training.collapse import Deaf
from r4t.training.learning_rate import WarmupConstant
from r4t.training.query_data import QueryData
from r4t.training.soft_grpo import SoftGRPO
from r4t.training.watchdog import RollBack, Watchdog
from tests.diffusion.conftest import adam
from tests.diffusion.test_ranks import DIM, trainer


class Even(Objective):
    """Share of the k members that are different items of even rows: only such items are wanted."""

    bounds = (0.0, 1.0)

    def score(self, sets):
        rows = [
            {row for row in items if row >= 0 and row % 2 == 0} for items in sets.items.tolist()
        ]
        return torch.tensor([len(row) / sets.set_size for row in rows])


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*workers.*")
        yield


def random_network(rows=5):
    network = SetTransformer(DIM, width=32, mlp_width=32, heads=4, layers=1, set_size=rows)
    torch.nn.init.normal_(network.rows_out.weight, std=0.2)
    return network


@pytest.fixture
def place(small_run):
    """The run, with a student of two steps whose network is random but does something."""
    torch.manual_seed(0)
    levels = Levels((20.0, 1.0))
    generator = DirectionGenerator(random_network(), levels, Euler(2), guidance=0.0)
    generator.save(small_run.step("accelerate") / "model")
    return small_run


GRPO = SoftGRPO(group_size=8, updates=1)


def refiner(place, rate=3e-3, start=None, **arguments):
    settings = {
        "start": Start(set_size=4) if start is None else start,
        "exploration": ItemSampling(0.03),
        "grpo": GRPO,
        "optimizer": adam(rate),
        "schedule": WarmupConstant(1),
        "max_loss": 20.0,
    }
    reward = arguments.pop("reward", Reward({"even": 1.0}, {"even": Even()}))
    return RetrieverRefiner(str(place.folder), reward, **{**settings, **arguments})


def data(place, batch_size=8):
    return QueryData(str(place.folder), batch_size=batch_size)


def answers(generator, place):
    queries = place.read_queries("train")
    searcher = place.searcher()
    vectors = searcher.encode_queries([query.text for query in queries])
    directions = generator(vectors, [query_seed(query.id, 0) for query in queries])
    return searcher.retrieve(vectors, directions)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"exploration": GaussianNoise(0.2)},
        {"grpo": replace(GRPO, updates=2)},
        {"start": Start(linear="rows", set_size=4), "rate": 1e-2},
        {"start": Start(linear="references", set_size=4), "rate": 1e-2},
    ],
    ids=["items", "noise", "two updates", "linear", "references"],
)
def test_it_learns_what_the_reward_wants(place, settings):
    model = refiner(place, **settings)
    before = Even()(answers(model.generator.eval(), place)).mean().item()
    trainer(max_steps=120).fit(model, data(place))
    after = Even()(answers(model.generator.eval(), place)).mean().item()
    assert before < 0.75
    assert after > 0.95


def test_the_loss_of_a_rollout_is_the_policy_gradient(place):
    """Against a loop over sets and members: −1/n · Σ advantage · ∇ log p, at ratio 1."""
    model = refiner(place, grpo=replace(GRPO, kl_new_old=0.0, kl_old_new=0.0))
    rollout = model._roll_out(place.read_queries("train")[:3])
    logs = model.exploration.log_probs(rollout.means, model.items, rollout.tries)
    expected = 0.0
    for query in range(3):
        for group in range(8):
            for member in range(4):
                advantage = rollout.advantages[query * 8 + group, member]
                expected = expected - advantage * logs[query, group, member] / (3 * 8 * 4)
    flat = logs.flatten(0, 1)
    loss = model.grpo(
        flat, flat.detach(), rollout.advantages, rollout.mask, model._weights(rollout)
    )
    weights = [p for p in model.generator.parameters() if p.requires_grad]
    gradients = [
        torch.autograd.grad(each, weights, retain_graph=True, allow_unused=True)
        for each in (loss, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_advantages_compare_a_member_with_the_same_place_of_the_other_sets(place):
    model = refiner(place)
    rollout = model._roll_out(place.read_queries("train")[:2])
    advantages = rollout.advantages.view(2, 8, 4)
    torch.testing.assert_close(advantages.sum(1), torch.zeros(2, 4), atol=1e-4, rtol=0)
    # A member of credit: the only one of its item in the set, at an even row.
    items = rollout.items.view(2, 8, 4)
    counts = (items.unsqueeze(3) == items.unsqueeze(2)).sum(3)
    worth = ((items % 2 == 0) & (counts == 1)).float()
    spread = worth.std(1, keepdim=True)
    expected = torch.where(
        spread > 0, (worth - worth.mean(1, keepdim=True)) / (4 * spread / 4), 0.0
    )
    torch.testing.assert_close(advantages, expected, atol=1e-2, rtol=0)  # ε is 1e-4 of spread/4


def test_every_member_of_a_set_can_get_the_advantage_of_the_set(place):
    model = refiner(place, credit=WholeSet())
    rollout = model._roll_out(place.read_queries("train")[:2])
    assert (rollout.advantages == rollout.advantages[:, :1]).all()
    assert rollout.advantages.any()


def test_a_strong_pull_keeps_the_retriever_where_it_began(place):
    moved = {}
    for pull in (0.0, 30.0):
        model = refiner(place, pull=pull)
        begun = answers(model.generator.eval(), place).directions
        trainer(max_steps=40).fit(model, data(place))
        ended = answers(model.generator.eval(), place).directions
        moved[pull] = (1 - (begun * ended).sum(-1)).mean().item()
    assert moved[30.0] < 0.3 * moved[0.0]


def test_references_and_pools_can_be_what_is_rewarded(place):
    """Coverage reads a pool of ten: its share of references found rises."""
    reward = Reward({"coverage": 1.0})
    caching = Retrieval(10, cached=1000)
    model = refiner(place, reward=reward, retrieval=caching, exploration=ItemSampling(0.1))

    def covered(model):
        queries = place.read_queries("train")
        vectors = model.searcher.encode_queries([query.text for query in queries])
        directions = model.generator.eval()(vectors, [0] * len(queries))
        sets = model.searcher.retrieve(vectors, directions, pool_size=10)
        sets = sets.extended(references=model.searcher.references(queries))
        return load_objective("coverage")(sets).mean().item()

    before = covered(model)
    trainer(max_steps=150).fit(model, data(place))
    assert covered(model) > before + 0.15


def test_audited_objectives_see_one_set_of_each_query(place):
    """Their mean is that of these sets; weighted ones, and those that may fail, see all sets."""

    class MayFail(Even):
        partial = True

    reward = Reward(
        {"diversity": 0.0, "even": 1.0, "failing": 0.0}, {"even": Even(), "failing": MayFail()}
    )
    model = refiner(place, reward=reward)
    rollout = model._roll_out(place.read_queries("train")[:3])
    first = rollout.components["diversity"].view(3, 8)
    assert torch.equal(first.isnan(), torch.arange(8).expand(3, 8) > 0)
    sets = model._retrieve(
        [query for query in rollout.queries for _ in range(8)],
        rollout.vectors.repeat_interleave(8, 0),
        rollout.tries.flat(),
    )
    expected = load_objective("diversity")(sets)[::8]
    assert torch.allclose(first[:, 0], expected)
    for name in ("even", "failing"):
        assert not rollout.components[name].isnan().any()
    assert torch.equal(rollout.rewards, rollout.components["even"])


class EvenShare(Even):
    """Share of the members that are items of even rows, the same one or others."""

    def score(self, sets):
        return (sets.items % 2 == 0).float().mean(1)


def test_what_loses_against_its_start_is_not_deployed(place):
    """One item for all queries: of an odd row, so that the reward falls; of an even one, and it rises."""
    for row, limits, failed in (
        (7, {"composite": 0.0, "vendi": 20.0}, ["composite"]),
        (8, {"composite": 0.0, "vendi": 0.5}, ["vendi"]),
        (8, {"composite": 0.0, "vendi": 20.0}, []),
    ):
        reward = Reward({"even": 1.0}, {"even": EvenShare()})
        model = refiner(place, max_loss=limits, reward=reward)
        output = model.generator.network.rows_out
        torch.nn.init.zeros_(output.weight)
        output.bias.data = 100 * place.searcher().catalog.embeddings[row]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.export()
        folder = place.step("refine") / ("rejected" if failed else "model")
        facts = json.loads((folder / "gate.json").read_text())
        assert (facts["passed"], facts["failed"]) == (not failed, failed)
        assert (facts["reference"], facts["queries"]) == ("start", 8)
        said = [str(one.message) for one in caught if "not deployed" in str(one.message)]
        assert len(said) == bool(failed)
        if failed:
            assert f"the refined loses too much in {failed[0]}. It is in {folder}" in said[0]
            assert "Lower the learning rate, raise pull, add" in said[0]
            assert not (place.step("refine") / "model").exists()


def test_the_exported_retriever_answers_by_its_key_and_all_draws_are_one(place):
    model = refiner(place, start=Start(set_size=4, levels=(20.0,)))
    trainer(Export(), max_steps=2).fit(model, data(place))
    loaded = DirectionGenerator.load(place.step("refine") / "model")
    assert (loaded.evaluations(), loaded.set_size, loaded.noises) == (1, 4, 1)
    retriever = Retriever.load(place.folder, "refined")
    assert retriever.method.draws == 1
    first, second = (retriever("red linen", size=4, seed=seed) for seed in (0, 1))
    assert [item.id for item in first] == [item.id for item in second]
    assert place.models()[0] == "refined"


@pytest.mark.parametrize("linear", ["rows", "references"])
def test_a_linear_start_is_deployed_with_one_evaluation(place, linear):
    model = refiner(place, start=Start(linear=linear, set_size=4), pull=0.01)
    trainer(Export(), max_steps=2).fit(model, data(place))
    loaded = DirectionGenerator.load(place.step("refine") / "model")
    assert (loaded.evaluations(), loaded.set_size, loaded.noises) == (1, 4, 1)
    assert len(loaded.network.offsets) == 4
    again = Start("refine/model", linear="rows", set_size=4).load(place)
    assert torch.equal(again.network.map.weight, loaded.network.map.weight)


def test_references_need_no_model(small_run):
    start = Start(None, linear="references", set_size=4)
    model = refiner(small_run, start=start, max_loss=20.0)
    trainer(Export(), max_steps=2).fit(model, data(small_run))
    facts = json.loads((small_run.step("refine") / "model" / "gate.json").read_text())
    assert facts["start"]["evaluations"] == facts["refined"]["evaluations"] == 1
    assert Retriever.load(small_run.folder, "refined")("red linen", size=4)
    for wrong, message in (
        ({"linear": "rows"}, "a start.model, which only linear: references does without"),
        ({}, "found model: null and linear: none"),
        ({"linear": "references", "set_size": None}, "a start.set_size, as there is no model"),
        ({"linear": "reference"}, "start.linear to be one of none, rows, references"),
        ({"linear": "references", "noises": 0}, "noises .*at least 1"),
        ({"linear": "references", "spread": -1.0}, "spread .*at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            Start(None, **wrong)


def test_a_missing_model_is_no_reference(small_run):
    """The toy names the student; a run with references alone has none."""
    start = Start(linear="references", set_size=4)
    name, generator, _ = start.reference(small_run, QueryTime())
    assert name == "start"
    assert torch.equal(generator.network.offsets, start.load(small_run).network.offsets)


def test_one_network_of_a_hybrid_can_be_refined(place):
    torch.manual_seed(1)
    relay = Relay(random_network(), random_network(), until=1.0)
    folder = place.step("accelerate") / "model"
    DirectionGenerator(relay, Levels((20.0, 1.0)), Euler(2), guidance=0.0).save(folder)
    begun = Start(set_size=4, levels=(20.0,)).load(place)
    for mine, its in zip(begun.network.parameters(), relay.first.parameters(), strict=True):
        assert torch.equal(mine, its)
    both = Start(set_size=4).load(place)
    assert (both.network.first.set_size, both.network.then.set_size) == (4, 4)
    with pytest.raises(InputError, match="one network for these levels, but found a hybrid"):
        Start(levels=(20.0, 1.0)).load(place)


class Stop(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 3:
            raise KeyboardInterrupt


def test_a_killed_refinement_goes_on_to_the_same_weights(place):
    def train(*callbacks, checkpoint=None):
        model = refiner(place, pull=0.01)
        watchdog = Watchdog(RollBack(), window=2, rules=[Deaf(fall=2.0)])  # never holds
        every = [EMAWeightAveraging(decay=0.7, update_every_n_steps=1), watchdog, KeepLast(every=1)]
        settings = {"max_steps": 7, "enable_checkpointing": True}
        settings["default_root_dir"] = str(place.step("refine"))
        running = trainer(*every, *callbacks, **settings)
        running.fit(model, data(place), ckpt_path=checkpoint)
        snapshot = watchdog.action.healthy
        seen.append((watchdog.detector.state(), snapshot["rollout"], snapshot["averages"]))
        return torch.cat([p.flatten() for p in model.generator.parameters()])

    seen = []
    whole = train()
    with pytest.raises(SystemExit):
        train(Stop())
    last = place.step("refine") / "checkpoints" / "last.ckpt"
    assert torch.equal(train(checkpoint=str(last)), whole)
    (rows, number, averages), (rows_after, number_after, averages_after) = seen
    assert json.dumps(rows) == json.dumps(rows_after)
    assert number == number_after > 0
    for name, weight in averages[0].items():
        assert torch.equal(weight, averages_after[0][name])


def test_two_processes_refine_as_one_does(place, tmp_path):
    class Record(Callback):
        def on_fit_end(self, trainer, pl_module):
            weights = torch.cat([p.flatten() for p in pl_module.generator.parameters()])
            name = f"{trainer.world_size}-{trainer.global_rank}"
            (tmp_path / name).write_text(json.dumps(weights.tolist()))

    for ranks in (1, 2):
        plan = {"strategy": "ddp_fork", "devices": 2} if ranks == 2 else {}
        fit = trainer(Record(), max_epochs=2, **plan)
        fit.fit(refiner(place, rate=1e-3), data(place, 12 // ranks))
    one, first, second = (
        torch.tensor(json.loads((tmp_path / name).read_text())) for name in ("1-0", "2-0", "2-1")
    )
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one, atol=2e-4, rtol=0)
