import random

import numpy as np
import pytest
import torch

from r4t.support.randomness import random_states, set_random_states

CPU = torch.device("cpu")


def draws():
    return random.random(), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


def test_saved_states_restore_every_generator(tmp_path):
    random.gauss(0, 1)
    np.random.randn()  # keeps a second number for the next call
    torch.save(random_states(CPU), tmp_path / "states")
    expected = draws(), draws()
    states = torch.load(tmp_path / "states", weights_only=True)
    for _ in range(2):
        set_random_states(states, CPU)
        assert (draws(), draws()) == expected


def test_the_state_of_a_gpu_belongs_to_that_gpu(monkeypatch):
    stored = {"cuda:1": torch.tensor([7])}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: stored[str(device)])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: stored.update({str(device): state + 1})
    )
    gpu = torch.device("cuda", 1)
    states = random_states(gpu)
    set_random_states(states, gpu)
    assert stored == {"cuda:1": torch.tensor([8])}
    assert "cuda" not in random_states(CPU)
    set_random_states(random_states(CPU), gpu)  # a fit that began on a CPU
    assert stored == {"cuda:1": torch.tensor([8])}


@pytest.fixture(autouse=True)
def restored():
    """Restore the global states after each test."""
    states = random_states(CPU)
    yield
    set_random_states(states, CPU)
