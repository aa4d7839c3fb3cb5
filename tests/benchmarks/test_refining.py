"""benchmarks.credit, refine_speed and forward_process: numbers by hand, and the programs at a tiny size."""

import json

import pytest
import torch

from benchmarks import (
    credit,
    credit_report,
    forward_process,
    forward_report,
    refine_speed,
    refining,
)
from r4t.data.queries import write_queries
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.diffusion.sampler import Euler, Multistep
from r4t.diffusion.schedule import Levels
from r4t.reward import Reward
from r4t.run import Run
from tests.wardrobes import write_wardrobe

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on a small wardrobe with its truth, an untrained denoiser and a student."""
    folder = tmp_path_factory.mktemp("refining") / "run"
    wardrobe = write_wardrobe(folder, 7, 16)
    write_queries(folder / "queries", {name: each[:24] for name, each in wardrobe.oar.items()})
    torch.manual_seed(0)
    network = SetTransformer(16, width=16, mlp_width=16, heads=2, layers=1)
    torch.nn.init.normal_(network.rows_out.weight, std=0.2)
    levels = Levels((80.0, 1.0))
    DirectionGenerator(network, levels, Euler(2), 0.0).save(folder / "accelerate" / "model")
    DirectionGenerator(network, sampler=Multistep(2)).save(folder / "distill" / "model")
    return Run.begin(folder)


def test_moments_by_hand():
    """(1, 0), (3, 0), (1, 2), (3, 2): mean (2, 1), covariance diag(4/3, 4/3)."""
    moments = credit.Moments(4)
    for vector in ([1.0, 0.0], [3.0, 0.0], [1.0, 2.0], [3.0, 2.0]):
        moments.add(torch.tensor(vector))
    facts = moments.facts()
    assert facts["trace"] == pytest.approx(8 / 3)
    assert facts["signal"] == pytest.approx(5 - 8 / 3 / 4)
    assert facts["noise"] == pytest.approx((8 / 3) / (5 - 2 / 3))
    # With the mean of the first two, (2, 0): 1/√5 and 3/√13.
    assert facts["cosine"] == pytest.approx((5**-0.5 + 3 * 13**-0.5) / 2)


def test_gradients_of_a_rollout_are_those_of_the_refiner(place):
    """At ratio 1 the loss of stage 5 has the gradient that the noise is measured of."""
    options = credit.build_parser().parse_args([str(place.folder), "--batch", "3", "--group", "4"])
    refiner = credit.build(options, "shopper", credit.LeaveOneOut(), 0)
    batch = place.read_queries("train")[:3]
    rollout = refiner._roll_out(batch)
    means = rollout.means.detach().requires_grad_()
    logs = refiner.exploration.log_probs(means, refiner.items, rollout.tries).flatten(0, 1)
    weights = refiner._weights(rollout)
    loss = refiner.grpo(logs, logs.detach(), rollout.advantages, rollout.mask, weights)
    (expected,) = torch.autograd.grad(loss, means)

    class Same:
        def __getattr__(self, name):
            return getattr(refiner.exploration, name)

        def tries(self, *_):
            return rollout.tries

    class Refiner:
        exploration = Same()

        def __getattr__(self, name):
            return getattr(refiner, name)

    gradients = credit._gradients(Refiner(), batch, rollout.vectors, means, 0)
    torch.testing.assert_close(gradients["leave one out", True], expected, atol=1e-6, rtol=1e-4)
    assert set(gradients) == {(name, scale) for name in credit.credits_of() for scale in (0, 1)}


def test_equal_seconds_are_read_from_the_curves_by_hand():
    def rows(*seconds):
        places = zip((0, 10, 20), seconds, (0.0, 0.4, 0.6))
        return [{"step": n, "seconds": s, "reward": r} for n, s, r in places]

    run = {"objective": "diversity", "seed": 0}
    run["held_out"] = {"set": rows(0, 5, 10), "leave one out": rows(0, 10, 30)}
    ends = credit_report.ends(run)
    assert ends["set"]["equal seconds"] == pytest.approx(0.6)
    assert ends["leave one out"] == pytest.approx(
        {"start": 0.0, "equal steps": 0.6, "equal seconds": 0.4, "seconds a step": 1.5}
    )
    line = credit_report.reward_table([run]).splitlines()[3]
    assert line == (
        "| diversity: leave one out | 0.000 | 0.600 (0.600 … 0.600) | 0.400 (0.400 … 0.400) | 3.00 |"
    )


def test_credits_are_compared(place, tmp_path):
    words = [str(place.folder), "--objectives", "shopper", "--seeds", "1", "--steps", "2"]
    words += ["--every", "1", "--rollouts", "4", "--batch", "2", "--group", "3", "--limit", "4"]
    credit.main([*words, "--results", str(tmp_path)])
    noise = json.loads((tmp_path / "noise-shopper.json").read_text())
    assert noise["command"].startswith("python -m benchmarks.credit runs/run --objectives shopper")
    assert len(noise["rows"]) == 2 * 4 * 2
    for row in noise["rows"]:
        assert row["trace"] > 0
        assert row["rollouts"] == 4
    curves = json.loads((tmp_path / "shopper-seed1.json").read_text())
    for name in credit.credits_of():
        assert [row["step"] for row in curves["held_out"][name]] == [0, 1, 2]
        assert len(curves["train"][name]) == 2
        measured = curves["held_out"][name][-1]
        assert all(0 <= measured[key] <= 1 for key in ("reward", "facet recall", "fitting"))
    assert (tmp_path / "credit.png").stat().st_size > 10_000
    written = (tmp_path / "shopper-seed1.json").stat().st_mtime_ns
    credit.main([*words, "--results", str(tmp_path)])
    assert (tmp_path / "shopper-seed1.json").stat().st_mtime_ns == written


def test_trainings_take_turns_and_averaged_weights_answer(place):
    options = credit.build_parser().parse_args([str(place.folder), "--group", "3"])
    training = refining.Training(
        credit.build(options, "diversity", credit.LeaveOneOut(), 0), 4, decay=0.5
    )
    held = refining.HeldOut(place, limit=6)
    assert training.module.global_step == 0
    assert training.step() > 0
    first = [weight.detach().clone() for weight in training.module.generator.parameters()]
    assert list(refining.in_turns({"one": training}, 1)) == [1]
    assert training.module.global_step == 2
    trained, averaged = training.module.generator, training.generator
    # The average begins with the weights after the first step.
    for one, two, mean in zip(first, trained.parameters(), averaged.parameters()):
        torch.testing.assert_close(mean, (one + two) / 2)
    values = held.measure(training.generator, "test", Reward({"diversity": 1.0}))
    assert 1 <= values["vendi"] <= 10
    assert values["reward"] <= 1
    training.finish()


def test_speed_is_measured_by_credit_objective_and_group(place, tmp_path, monkeypatch):
    monkeypatch.setattr(refine_speed, "QUERIES", 2)
    words = [str(place.folder), "--pairs", "2", "--warmup", "1", "--threads", "1", "--groups", "2"]
    words += ["--objectives", "coverage", "novelty", "prompt_format", "--results", str(tmp_path)]
    refine_speed.main(words)
    names = {path.stem for path in tmp_path.glob("*.json")}
    assert names == {
        "refine-coverage", "refine-novelty", "tune-coverage", "tune-prompt_format", "sets-shopper-2",
        "sets-label-free-2", "latency"
    }  # fmt: skip
    compared = json.loads((tmp_path / "refine-coverage.json").read_text())
    assert len(compared["ratios"]) == 2
    assert compared["ratio"] == pytest.approx(sum(compared["ratios"]) / 2, abs=1e-4)
    sets = json.loads((tmp_path / "sets-shopper-2.json").read_text())
    assert sets["sets_per_second"] * sets["seconds"] == pytest.approx(2 * 2)
    latency = json.loads((tmp_path / "latency.json").read_text())
    assert latency["ratio"]["refined"] == 1.0
    assert set(latency["milliseconds"]) == {"student", "one evaluation", "refined"}
    assert "| coverage | " in (tmp_path / "refine_speed.md").read_text()


def test_the_forward_loss_by_hand(place):
    """Its gradient at the old policy is β·λ·(1 − 2r)·2·(z − D)/d, of D; r = 1/2 teaches nothing."""
    options = forward_process.build_parser().parse_args([str(place.folder), "--batch", "2"])
    model = forward_process.build(options, forward_process.forward(1e-3, beta=0.5), 0)
    random = torch.Generator().manual_seed(0)
    query, clean, noise = (
        torch.randn(*shape, 16, generator=random) / 4 for shape in [(2,), (2, 10), (2, 10)]
    )
    sigma, advantages = torch.tensor([0.1, 0.7]), torch.zeros(2, 10)
    advantages[0], advantages[1, 0] = 0.6, -7.0  # the latter is clipped to −1
    noisy = clean + sigma[:, None, None] * noise
    for part in model.generator.modules():
        part.eval()
    weight = 1 / sigma**2 + 1 / model.generator.denoiser.sigma_data**2  # λ(σ)
    estimate = model.generator.denoiser.bind(query)(noisy, sigma)
    error = (estimate - clean).square().mean(-1)
    losses = model.losses(query, clean, advantages, sigma, noise)
    torch.testing.assert_close(losses, weight[:, None] * error, rtol=1e-4, atol=1e-5)
    bias = model.generator.network.rows_out.bias
    (gradient,) = torch.autograd.grad(losses.sum(), bias)
    unit = model.generator.denoiser.sigma_data
    out = sigma * unit / (sigma**2 + unit**2).sqrt()  # D moves by this times the bias
    good = (1 + advantages.clamp(-1, 1)) / 2
    factor = weight[:, None] * 0.5 * (2 * good - 1) * 2 / 16 * out[:, None]
    expected = (factor.unsqueeze(-1) * (estimate - clean)).sum((0, 1))
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-3, atol=1e-5)
    assert good[1, 1] == 0.5


def test_both_ways_get_equal_time_and_the_best_try_is_kept(place, tmp_path, monkeypatch):
    tries = [
        forward_process.Settings("refiner", 1e-3, group=2),
        forward_process.Settings("refiner", 1e-9, group=2),
        forward_process.forward(1e-3),
    ]
    monkeypatch.setattr(forward_process, "TRIES", tries)
    words = [str(place.folder), "--seeds", "3", "--seconds", "1", "--try_seconds", "0.3"]
    words += ["--points", "2", "--batch", "2", "--limit", "4", "--results", str(tmp_path)]
    forward_process.main(words)
    for rows in json.loads((tmp_path / "seed3.json").read_text())["rows"].values():
        assert rows[0]["step"] == 0
        assert 1.0 <= rows[-1]["seconds"] < 3.0
        assert "facet recall" in rows[-1]["test"]
        assert "reward" not in rows[-1]["test"]  # the shopper refuses test queries
    tried = forward_report.read_tries(tmp_path)
    assert [each["tried"]["rate"] for each in tried] == [1e-3, 1e-9, 1e-3]
    chosen = forward_process.best(tmp_path)
    rewards = [max(row["val"]["reward"] for row in each["rows"]) for each in tried[:2]]
    assert chosen["refiner"].rate == tried[rewards.index(max(rewards))]["tried"]["rate"]
    assert (tmp_path / "forward_process.png").stat().st_size > 10_000
    assert "forward process (DiffusionNFT), end" in (tmp_path / "forward_process.md").read_text()
