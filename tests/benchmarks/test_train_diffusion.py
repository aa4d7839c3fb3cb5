"""benchmarks.train_diffusion: counts by hand, and measurements at a small size."""

import json
import sys

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import train_diffusion, train_sides
from benchmarks.directions import NETWORK


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """Hide packages that the script must not import; modules that are already imported stay."""
    for name in ("trl", "vllm", "faiss", "jsonargparse"):
        monkeypatch.setitem(sys.modules, name, None)


def test_forward_operations_by_hand():
    """d = 2, w = 4, m = 3, L = 5, n = 2 layers, t = 1 token."""
    config = {"dim": 2, "width": 4, "mlp_width": 3, "set_size": 5, "layers": 2}
    flops = train_sides.forward_flops(config | {"condition_tokens": 1})
    assert flops == {
        "rows_in": 2 * 5 * 2 * 4,
        "noise": 2 * 4 * 4 + 2 * 4 * 4,
        "tokens": 2 * 1 * 2 * 2,
        "keys_values": 2 * 1 * 2 * (2 * 2 * 4),
        # A layer: to q, k and v, 2·5·4·12 = 480; out, 160; scores and sums over 5 rows, 2·200;
        # cross-attention in and out, 320, over one token, 2·40; feed-forward, 2·120.
        "blocks": 2 * (480 + 160 + 400 + 320 + 80 + 240),
        "rows_out": 2 * 5 * 4 * 2,
    }


@pytest.mark.parametrize("tokens", [1, 3])
def test_training_operations_equal_the_count_of_torch(tokens):
    config = NETWORK | {"dim": 8, "width": 32, "mlp_width": 24, "heads": 4, "layers": 2}
    config |= {"condition_tokens": tokens, "dropout": 0.0, "set_size": 5}
    module = train_sides.build_module(config)
    condition, rows = torch.randn(3, 8), torch.randn(3, 5, 8)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        dropped = torch.zeros(3, dtype=torch.bool)
        module.loss(condition, rows, dropped, torch.rand(3), torch.randn(3, 5, 8)).mean().backward()
    assert counter.get_total_flops() == 3 * train_sides.training_flops(config)


def test_the_papers_network_needs_3_7_billion_operations_per_set():
    """Each weight not for the condition meets 12 rows: 2·3·12·50.6M, plus attention."""
    assert train_sides.training_flops(NETWORK) == pytest.approx(3.67e9, rel=0.01)


def test_rates_by_hand():
    """8 sets in 0.5 s, at half of the peak."""
    size = train_diffusion.SIZES["small"]
    work = size.batch * train_sides.training_flops(size.network)
    rates = train_diffusion.rates([0.4, 0.5, 0.9], size, peak=4 * work)
    assert (rates["steps_per_second"], rates["sets_per_second"]) == (2.0, 16.0)
    assert rates["share_of_peak"] == pytest.approx(0.5)
    assert train_diffusion.rates([1.0], size, peak=None)["share_of_peak"] is None


def test_the_first_turn_does_not_count():
    turns = [(9.0, 8.0), (1.0, 0.5), (2.0, 1.0)]
    assert train_sides.per_step(turns, block=4) == [0.25, 0.5]
    assert train_sides.per_step(turns, block=4, column=1) == [0.125, 0.25]


def test_a_held_batch_is_read_once(tmp_path):
    size = train_diffusion.SIZES["small"]
    data = train_diffusion.TargetData(
        str(train_sides.write_sets(tmp_path, size.sets, size.network)), size.batch
    )
    data.setup()
    held = train_sides.held_batch(data, torch.device("cpu"))
    reads = []
    sets = data.train.dataset
    read = sets.__getitems__
    sets.__getitems__ = lambda numbers: reads.append(len(numbers)) or read(numbers)
    for batch, expected in ((held, []), (None, [8] * 6)):
        side = train_sides.lightning_side(size.network, data, batch, False, block=3, blocks=2)
        side.step()
        side.step()
        side.finish()
        assert reads == expected


def test_a_bare_step_learns_the_same_in_every_way(monkeypatch):
    size = train_diffusion.SIZES["small"]
    batch = (torch.randn(8, 16), torch.randn(8, 12, 16))
    build, built = train_sides.build_module, []
    monkeypatch.setattr(
        train_sides, "build_module", lambda *a, **k: built.append(build(*a, **k)) or built[-1]
    )
    for way in train_sides.WAYS:
        step = train_sides.bare_step(size.network, batch, way, torch.device("cpu"))
        for _ in range(2 if "graph" in way else 3):  # recording runs the step once
            step()
    weights = [module.generator.network.rows_out.weight.detach() for module in built]
    # Weights start at zero; each of Adam's three steps moves them by about the learning rate at most.
    assert 1e-4 < weights[0].abs().mean() < 4 * 3e-4
    for other in weights[1:]:
        assert torch.allclose(other, weights[0], atol=1e-6)


def test_it_measures_every_step(tmp_path, capsys):
    out = tmp_path / "results.json"
    train_diffusion.main(["--small", "--ways", "eager", "graph", "--out", str(out)])
    results = json.loads(out.read_text())
    assert results["size"] == "small"
    assert set(results["bare"]) == {"eager", "graph"}
    assert set(results["lightning"]) == {"eager"}
    forward = sum(results["flops_of_a_set"]["forward"].values())
    assert 2.5 * forward < results["flops_of_a_set"]["training"] < 3 * forward
    sides = results["lightning"]["eager"]
    for row in (*results["bare"].values(), sides["read"], sides["held"]):
        assert row["sets_per_second"] == pytest.approx(8 * row["steps_per_second"])
        assert row["seconds"] * row["steps_per_second"] == pytest.approx(1)
        assert len(row["all_seconds"]) == 2  # of three turns
    pairs = zip(sides["held"]["all_seconds"], sides["read"]["all_seconds"])
    shares = [1 - held / read for held, read in pairs]
    assert sides["data_share"] == pytest.approx(sum(shares) / 2)
    assert f"| bare, eager | {1000 * results['bare']['eager']['seconds']:.3g} |" in (
        capsys.readouterr().out
    )
