"""The watchdog on a refinement: what it reads of a retriever, a collapse, and what it restores."""

from dataclasses import dataclass

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging

from r4t.diffusion.exploration import GaussianNoise, ItemSampling
from r4t.diffusion.generator import DirectionGenerator
from r4t.errors import InputError
from r4t.grpo.monitor.rollout_tables import SampleTable
from r4t.objective import Objective, load_objective
from r4t.reward import Reward, query_free_share
from r4t.search import Retrieval
from r4t.training.callbacks import Export
from r4t.training.collapse import QUERY_FREE, REWARD, SPECIFICITY, Rule
from r4t.training.hearing import query_free_statistics
from r4t.training.watchdog import RollBack, Stop, Warn, Watchdog
from tests.diffusion.test_ranks import trainer
from tests.diffusion.test_refiner import Even, data, place, quiet, refiner  # noqa: F401


class Alike(Objective):
    """Share of the members that are the item of row 7, whatever the query."""

    bounds = (0.0, 1.0)

    def score(self, sets):
        return (sets.items == 7).float().mean(1)


class Ends(Callback):
    """Records log and weights after each rollout, and the rollout itself."""

    def __init__(self):
        self.logged, self.weights, self.averages, self.rollouts = [], [], [], []

    def on_train_start(self, trainer, pl_module):
        self._record(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_):
        self._record(trainer, pl_module)
        self.logged.append({name: v.item() for name, v in trainer.callback_metrics.items()})
        self.rollouts.append(pl_module.rollout)

    def _record(self, trainer, module):
        self.weights.append(flat(module))
        averaging = [c for c in trainer.callbacks if isinstance(c, EMAWeightAveraging)]
        self.averages += [flat(each._average_model.module) for each in averaging]


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.generator.parameters()])


def fit(place, *callbacks, steps=6, **arguments):  # noqa: F811
    model = refiner(place, **arguments)
    trainer(*callbacks, max_steps=steps).fit(model, data(place))
    return model


def test_it_reads_a_retrievers_rollouts(place):  # noqa: F811
    watchdog, ends = Watchdog(window=2), Ends()
    reward = Reward({"even": 1.0, "diversity": 0.0}, {"even": Even()})
    model = fit(place, watchdog, ends, reward=reward, steps=3)
    assert watchdog.detector.audited == ("train/diversity/mean",)
    bank = model.searcher.bank
    assert bank is not None
    for number, (row, logged, rollout) in enumerate(
        zip(watchdog.detector.rows, ends.logged, ends.rollouts, strict=True)
    ):
        read = (REWARD, "train/diversity/mean", "train/distinct_items/mean", "train/entropy/mean")
        for name in read:
            assert row[name] == pytest.approx(logged[name])
        entropy = rollout.tries.entropy.mean().item()
        assert logged["train/entropy/mean"] == pytest.approx(entropy)
        vectors = rollout.vectors.repeat_interleave(8, 0)
        sets = model.searcher.gathered(
            vectors, rollout.items, rollout.tries.directions.flatten(0, 1)
        )
        expected = load_objective("specificity")(sets).mean().item()
        assert row[SPECIFICITY] == pytest.approx(expected, abs=1e-5)
        assert logged[SPECIFICITY] == pytest.approx(expected, abs=1e-5)
        # The share is measured once a window of two, and its latest value logged.
        assert (row[QUERY_FREE] == row[QUERY_FREE]) == (number != 1)
        latest = watchdog.detector.rows[number - number % 2][QUERY_FREE]
        assert logged[QUERY_FREE] == pytest.approx(latest)
        # Rules on texts have nothing to read.
        assert row["train/parsed/share"] != row["train/parsed/share"]


def test_noise_of_a_fixed_width_has_no_entropy_to_fade(place):  # noqa: F811
    ends = Ends()
    fit(place, Watchdog(window=2), ends, exploration=GaussianNoise(0.2), steps=2)
    assert "train/entropy/mean" not in ends.logged[-1]
    assert {SPECIFICITY, QUERY_FREE} <= ends.logged[-1].keys()


@pytest.mark.parametrize("pool", [None, 10])
@pytest.mark.parametrize("exploration", [ItemSampling(0.03), GaussianNoise(0.2)])
def test_each_query_is_given_what_was_tried_for_each(place, pool, exploration):  # noqa: F811
    model = refiner(place, exploration=exploration, retrieval=Retrieval(pool, cached=1000))
    queries = place.read_queries("train")[:3]
    model.rollout = rollout = model._roll_out(queries)
    rows = [0, 9, 23]  # one set of each query, 8 sets a query
    sets = model.exchange(rows)
    for one in range(3):
        for other in range(3):
            place_ = 3 * one + other
            assert torch.equal(sets.query[place_], rollout.vectors[one])
            assert sets.query_texts[place_] == queries[one].text
            assert torch.equal(sets.items[place_], rollout.items[rows[other]])
            tried = rollout.tries.directions.flatten(0, 1)[rows[other]]
            torch.testing.assert_close(sets.directions[place_], tried)
            wanted = model.searcher.references([queries[one]])[0]
            assert torch.equal(sets.references[place_], wanted)
            if pool is not None:
                assert torch.equal(sets.pool[place_], sets.pool[other])
    assert (sets.pool is None) == (pool is None)


def test_the_query_free_share_of_a_retriever(place):  # noqa: F811
    model = refiner(place)
    queries = place.read_queries("train")[:5]
    model.rollout = rollout = model._roll_out(queries)

    def share(name, objective=None):
        reward = Reward({name: 1.0}, {} if objective is None else {name: objective})
        return query_free_statistics(rollout, reward, model.exchange, 0)[QUERY_FREE]

    assert share("even", Even()) == pytest.approx(1.0)
    # Alignment, by a loop: the mean cosine of each query with the first set of each.
    cosines = torch.zeros(5, 5)
    for one in range(5):
        for other in range(5):
            items = model.searcher.embeddings(rollout.items[8 * other])
            cosines[one, other] = (items @ rollout.vectors[one]).mean()
    expected = query_free_share(cosines)
    assert 0 < expected < 1
    assert share("alignment") == pytest.approx(expected, abs=1e-5)


def test_a_retriever_that_learns_raises_no_alarm_and_one_that_collapses_does(place):  # noqa: F811
    watchdog, ends = Watchdog(window=10, patience=3), Ends()
    reward = Reward({"specific_coverage": 1.0, "diversity": 0.0})
    learned = fit(place, watchdog, ends, reward=reward, steps=80)
    rewards = [row[REWARD] for row in ends.logged]
    assert sum(rewards[-10:]) > sum(rewards[:10])
    assert watchdog.alarms == []
    learned.generator.save(place.step("accelerate") / "model")
    # From there, for one item whatever the query: every set narrows, and that shows in each way.
    reward = Reward({"alike": 1.0, "diversity": 0.0}, {"alike": Alike()})
    settings = {"reward": reward, "exploration": ItemSampling(0.1), "steps": 100}
    raised, logged = [], []
    for action in (Warn(), Stop()):
        watchdog, ends = Watchdog(action, window=10, patience=3), Ends()
        with pytest.warns(UserWarning, match="Training shows signs of a collapse"):
            fit(place, watchdog, ends, **settings)
        raised.append([(alarm.rollout, alarm.rule.split("(")[0]) for alarm in watchdog.alarms])
        logged.append(ends.logged)
    assert {"Narrows", "AuditGap", "Deaf"} <= {rule for _, rule in raised[0]}
    first, last = (logged[0][at]["train/diversity/mean"] for at in (0, -1))
    assert last < 0.7 * first
    assert logged[0][-1][QUERY_FREE] == pytest.approx(1.0)
    assert len(logged[1]) == raised[1][0][0] == raised[0][0][0] < 60


@dataclass(frozen=True)
class After(Rule):
    """Holds once the detector has a number of rows."""

    rollouts: int

    def evidence(self, detector):
        return "enough seen" if len(detector.rows) >= self.rollouts else ""


@pytest.mark.parametrize("averaged_first", [True, False])
def test_a_rollback_restores_averaged_weights_too(place, tmp_path, averaged_first):  # noqa: F811
    """Windows of 2, patience 2: the rule holds at 5 and 6; the snapshot of 2 had passed 4."""
    ends = Ends()
    watchdog = Watchdog(RollBack(), window=2, patience=2, rules=[After(5)])
    averaging = EMAWeightAveraging(decay=0.9, update_every_n_steps=1)
    pair = [averaging, ends, watchdog] if averaged_first else [ends, watchdog, averaging]
    with pytest.warns(UserWarning, match="are those after rollout 2, and the run stops"):
        model = fit(place, *pair, Export(str(tmp_path / "out")), steps=12)
    assert len(ends.rollouts) == 6
    # The fit ends with the averaged weights. If the average followed the watchdog, the snapshot has
    # that of the rollout before, and after the rollback the healthy weights are averaged in.
    expected = ends.averages[2]
    if not averaged_first:
        expected = torch.lerp(expected, ends.weights[2], 0.1)
    torch.testing.assert_close(flat(model), expected, atol=1e-6, rtol=0)
    assert (flat(model) - ends.averages[6]).abs().max() > 1e-4
    exported = DirectionGenerator.load(tmp_path / "out")
    weights = torch.cat([p.detach().flatten() for p in exported.parameters()])
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=0)


def test_watching_does_not_change_the_refinement(place):  # noqa: F811
    ends = [flat(fit(place, *dogs)) for dogs in ((), (Watchdog(window=1),))]
    assert torch.equal(*ends)


def test_callbacks_that_read_fan_outs_refuse_a_retriever(place):  # noqa: F811
    with pytest.raises(
        InputError, match="a FanoutTuner, whose rollouts SampleTable reads, but found a RetrieverR"
    ):
        SampleTable().setup(None, refiner(place), "fit")
