"""Global random states, which dropout draws from ↔ plain values that a checkpoint can hold."""

import random
from typing import Any

import numpy as np
import torch


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the random states of Python, NumPy, torch and, if ``device`` is a GPU, of that GPU.

    They are numbers, tuples and CPU tensors, which ``torch.load`` reads with ``weights_only``.
    """
    name, key, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(key).tolist(), *rest),
        "torch": torch.get_rng_state(),
        **({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}),
    }


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Restore what ``random_states`` returned; a GPU without a stored state keeps its own.

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
