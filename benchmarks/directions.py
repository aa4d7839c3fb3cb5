"""Query vectors (B, d) → directions (B, L, d): the ways to run the diffusion retriever."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.device import BACKEND, recorded
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.diffusion.sampler import Multistep, ReverseSde, Sampler, seeded_noise
from r4t.geometry import normalize

Generate = Callable[[Tensor, Sequence[int]], Tensor]
# The paper's network: 53.9M parameters.
NETWORK = {
    "dim": 128,
    "width": 1024,
    "mlp_width": 1024,
    "heads": 16,
    "layers": 6,
    "set_size": 12,
    "condition_tokens": 1,
    "dropout": 0.1,
}


@dataclass(frozen=True)
class Setting:
    """How to sample.

    Attributes:
        sampler: Method and steps.
        guidance: w; above 0 a step evaluates the network twice.
    """

    sampler: Sampler
    guidance: float = 0.0


SETTINGS = {
    "diffusion, 4 evaluations": Setting(Multistep(4)),
    "diffusion, 8 evaluations": Setting(Multistep(8)),
    "diffusion, 20 evaluations": Setting(Multistep(20)),
    "diffusion, 2 × 256 evaluations (the paper's)": Setting(ReverseSde(256), guidance=0.1),
}
DEPLOYED = "as deployed"


class HeldSigmas:
    """Decreasing sigmas that host and device both hold, so that a sampler copies none of them.

    Args:
        sigmas: (S + 1,) on the host.
        device: Where they are to lie as well.
    """

    def __init__(self, sigmas: Tensor, device: torch.device) -> None:
        self._host, self._device = sigmas.tolist(), sigmas.to(device)

    def tolist(self) -> list[float]:
        """Return the host's."""
        return self._host

    def to(self, like: Tensor) -> Tensor:
        """Return the device's."""
        return self._device


def build_generator(network: dict[str, Any], device: torch.device) -> DirectionGenerator:
    """Build a retriever with random weights in bfloat16; its rows stay in float32."""
    generator = DirectionGenerator(SetTransformer(**network)).to(device).eval()
    generator.network.to(torch.bfloat16)
    return generator


def ways(generator: DirectionGenerator) -> dict[str, DirectionGenerator]:
    """What each way of running a retriever runs: itself, or a copy whose network is compiled."""
    compiled = copy.deepcopy(generator)
    compiled.network.compile(dynamic=False, backend=BACKEND)
    return {DEPLOYED: generator, "graph": generator, "compiled graph": compiled}


def with_setting(generator: DirectionGenerator, setting: Setting) -> DirectionGenerator:
    """Return the same networks under another sampler."""
    found = copy.copy(generator)
    found.sampler, found.guidance = setting.sampler, setting.guidance
    return found


def cast(device: torch.device) -> torch.autocast:
    """Matrix products in bfloat16; casts are not kept: a graph would read those of earlier calls."""
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def deployed(generator: DirectionGenerator) -> Generate:
    """The module as it is called in deployment, under autocast."""

    def generate(query: Tensor, seeds: Sequence[int]) -> Tensor:
        with cast(query.device):
            return generator(query, seeds)

    return generate


def graphed(generator: DirectionGenerator, batch: int, device: torch.device) -> Generate:
    """Noise and all steps of the sampler as one CUDA graph; returns what ``deployed`` does.

    Args:
        generator: What is run.
        batch: B, the only one it will do for.
        device: Of the generator.
    """
    query = torch.zeros(batch, generator.dim, device=device)
    keys = torch.zeros(batch, dtype=torch.long, device=device)
    levels: Any = HeldSigmas(generator.schedule.steps(generator.sampler.steps), device)

    @torch.no_grad()
    def sample() -> Tensor:
        with cast(device):
            noise = seeded_noise(keys, (generator.set_size, generator.dim), device)
            return normalize(generator.sampler(generator.denoise_fn(query), noise, levels))

    replay = recorded(sample, device)

    def generate(new_query: Tensor, seeds: Sequence[int]) -> Tensor:
        query.copy_(new_query)
        keys.copy_(torch.as_tensor(seeds))
        return replay()

    return generate
