"""Query vectors (B, d) → directions (B, L, d), by each way to run the diffusion retriever."""

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
    """Settings of the sampler.

    Attributes:
        sampler: Algorithm and number of steps.
        guidance: w; above 0 each step evaluates the network twice.
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
    """Decreasing sigmas on both host and device, so that a sampler never copies them.

    Args:
        sigmas: (S + 1,) on the host.
        device: Gets a copy.
    """

    def __init__(self, sigmas: Tensor, device: torch.device) -> None:
        self._host, self._device = sigmas.tolist(), sigmas.to(device)

    def tolist(self) -> list[float]:
        """Return the values on the host."""
        return self._host

    def to(self, like: Tensor) -> Tensor:
        """Return the tensor on the device."""
        return self._device


def build_generator(network: dict[str, Any], device: torch.device) -> DirectionGenerator:
    """Build a retriever with random weights in bfloat16; its rows stay in float32."""
    generator = DirectionGenerator(SetTransformer(**network)).to(device).eval()
    generator.network.to(torch.bfloat16)
    return generator


def ways(generator: DirectionGenerator) -> dict[str, DirectionGenerator]:
    """Generator that each way runs: the given one, or a copy with a compiled network."""
    compiled = copy.deepcopy(generator)
    compiled.network.compile(dynamic=False, backend=BACKEND)
    return {DEPLOYED: generator, "graph": generator, "compiled graph": compiled}


def with_setting(generator: DirectionGenerator, setting: Setting) -> DirectionGenerator:
    """Return the same network with another sampler."""
    other = copy.copy(generator)
    other.sampler, other.guidance = setting.sampler, setting.guidance
    return other


def cast(device: torch.device) -> torch.autocast:
    """Run matrix products in bfloat16, without cached casts: a graph would reuse those of old calls."""
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def deployed(generator: DirectionGenerator) -> Generate:
    """The module as deployed, under autocast."""

    def generate(query: Tensor, seeds: Sequence[int]) -> Tensor:
        with cast(query.device):
            return generator(query, seeds)

    return generate


def graphed(generator: DirectionGenerator, batch: int, device: torch.device) -> Generate:
    """Noise and all sampler steps as one CUDA graph, with the same results as ``deployed``.

    Args:
        generator: The retriever.
        batch: The only B for which the graph works.
        device: Device of the generator.
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
