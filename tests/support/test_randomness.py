import random

import numpy as np
import pytest
import torch

from r4t.support.randomness import random_states, set_random_states

CPU = torch.device("cpu")


def draws():
    return random.random(), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


def test_a_file_brings_every_generator_back(tmp_path):
    random.gauss(0, 1)
    np.random.randn()  # leaves a second one in store
    torch.save(random_states(CPU), tmp_path / "states")
    expected = draws(), draws()
    states = torch.load(tmp_path / "states", weights_only=True)
    for _ in range(2):
        set_random_states(states, CPU)
        assert (draws(), draws()) == expected


def test_the_generator_of_a_gpu_is_that_of_its_own(monkeypatch):
    kept = {"cuda:1": torch.tensor([7])}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: kept[str(device)])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: kept.update({str(device): state + 1})
    )
    gpu = torch.device("cuda", 1)
    states = random_states(gpu)
    set_random_states(states, gpu)
    assert kept == {"cuda:1": torch.tensor([8])}
    assert "cuda" not in random_states(CPU)
    set_random_states(random_states(CPU), gpu)  # a fit begun on a CPU
    assert kept == {"cuda:1": torch.tensor([8])}


@pytest.fixture(autouse=True)
def apart():
    """Leave the states of other tests alone."""
    states = random_states(CPU)
    yield
    set_random_states(states, CPU)
