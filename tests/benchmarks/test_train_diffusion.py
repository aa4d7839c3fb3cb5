"""The training benchmark: FLOP by hand and against torch's counter, and a tiny run."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import train_diffusion
from r4t.diffusion.network import SetTransformer


def test_flop_by_hand():
    # d 2, width 4, mlp 3, one layer, 5 rows, 1 token; multiply-adds:
    # self 5·4·16 = 320, its scores and sums 2·25·4 = 200, cross 5·4·8 + 2·5·4 = 200, feed-forward
    # 2·5·4·3 = 120, ends 2·5·2·4 = 80, noise 2·16 = 32, tokens 2·2 = 4, keys 2·8 = 16.
    sizes = {"dim": 2, "width": 4, "mlp_width": 3, "layers": 1, "set_size": 5}
    expected = 2 * (320 + 200 + 200 + 120 + 80 + 32 + 4 + 16)
    assert train_diffusion.forward_flops({**sizes, "condition_tokens": 1}) == expected == 1944


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_flop_equal_those_that_torch_counts(name):
    sizes = train_diffusion.SIZES[name].network
    with torch.device("meta"):
        network = SetTransformer(**sizes).eval()
        rows, noise = torch.zeros(1, sizes["set_size"], sizes["dim"]), torch.zeros(1)
        with FlopCounterMode(display=False) as counter:
            network(rows, noise, network.memory(torch.zeros(1, sizes["dim"])))
    found = counter.get_total_flops()
    assert train_diffusion.forward_flops(sizes) == pytest.approx(found, rel=0.01)


def test_a_tiny_run_keeps_what_another_device_gave(tmp_path):
    out = tmp_path / "found.json"
    out.write_text(json.dumps({"gpu": {"kept": True}}))
    train_diffusion.main(["--small", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["gpu"] == {"kept": True}
    told = found["small"]["eager"]
    assert told["sets/s"] == pytest.approx(8 * told["steps/s"])
    assert told["FLOP/s"] == pytest.approx(found["small"]["flop a step"] * told["steps/s"])
    assert {len(seconds) for seconds in told["seconds a step"].values()} == {2}
