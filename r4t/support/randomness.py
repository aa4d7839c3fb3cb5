"""Global random states ↔ plain values that a checkpoint can hold: what dropout draws from."""

import random
from typing import Any

import numpy as np
import torch


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the random states of Python, NumPy, torch and, if it is a GPU, of ``device``.

    They are numbers, tuples and tensors on the CPU, which ``torch.load`` takes as safe.
    """
    name, key, *rest = np.random.get_state()
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, np.asarray(key).tolist(), *rest),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Go on drawing from where ``random_states`` found each generator.

    Args:
        states: What it returned; without a GPU's state that generator is left alone.
        device: Whose state to set, if it is a GPU.

    Examples:
        >>> cpu = torch.device("cpu")
        >>> states = random_states(cpu)
        >>> first = random.random(), np.random.rand(), torch.rand(())
        >>> set_random_states(states, cpu)
        >>> first == (random.random(), np.random.rand(), torch.rand(()))
        True
    """
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
