"""benchmarks.noise: both ways give a query the same noise in any batch."""

import json

import pytest
import torch

from benchmarks import noise


@pytest.mark.parametrize("draw", [noise.one_generator_per_query, noise.hashed])
def test_noise_does_not_depend_on_the_batch(draw):
    cpu = torch.device("cpu")
    together = draw([3, 8, 5], cpu)
    assert together.shape == (3, 12, 128)
    assert torch.equal(together[1], draw([8], cpu)[0])
    assert abs(float(together.std()) - 1) < 0.05


def test_all_batches_are_timed(tmp_path):
    out = tmp_path / "noise.json"
    noise.main(["--turns", "2", "--out", str(out)])
    milliseconds = json.loads(out.read_text())["milliseconds"]
    assert list(milliseconds) == ["1", "64", "1024"]
    assert all(ms > 0 for ways in milliseconds.values() for ms in ways.values())
