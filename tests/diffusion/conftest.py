import pytest
import torch

from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer

torch.set_num_threads(1)  # forking after multi-threaded work hangs


def build_network(**changes) -> SetTransformer:
    """A small network whose output layer is not the zeros it starts training with."""
    sizes = {"dim": 8, "width": 32, "mlp_width": 32, "heads": 4, "layers": 2, "set_size": 5}
    torch.manual_seed(0)
    network = SetTransformer(**{**sizes, "condition_tokens": 3, **changes})
    torch.nn.init.normal_(network.rows_out.weight, std=0.2)
    return network


def adam(rate: float):
    """Builds Adam at a learning rate, as a config does."""
    return lambda weights: torch.optim.Adam(weights, lr=rate)


@pytest.fixture
def network() -> SetTransformer:
    return build_network().eval()


@pytest.fixture
def generator() -> DirectionGenerator:
    return DirectionGenerator(build_network(), guidance=0.5).eval()


@pytest.fixture
def queries() -> torch.Tensor:
    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(rows, dim=-1)
