"""Query embeddings (B, d) → unit directions (B, L, d): the part of stage 3 that is deployed."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import r4t.diffusion.slots  # noqa: F401  (a saved model may name its network)
from r4t.diffusion.network import SetNetwork
from r4t.diffusion.precondition import DenoiseFn, Denoiser, guided
from r4t.diffusion.sampler import Multistep, Sampler, seeded_noise
from r4t.diffusion.schedule import Karras, Schedule
from r4t.errors import InputError, check_least
from r4t.geometry import normalize
from r4t.support.files import write_text
from r4t.support.named import build, describe

FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class DirectionGenerator(nn.Module):
    """A trained denoiser and how to sample from it.

    A query's directions depend on its embedding and its seed, not on its batch (up to float
    round-off).

    Args:
        network: The raw network F.
        schedule: Noise levels for sampling; ``Karras(sigma_min=0.01)`` by default.
        sampler: Method and steps; ``Multistep(8)`` by default.
        guidance: w ≥ 0 of classifier-free guidance; above 0 each step evaluates the network twice
            per query.
        sigma_data: Standard deviation of the target rows' coordinates; 1/√d, that of unit vectors,
            by default.
        noises: Number of different noises that sets begin with; a new one for each seed by default.
            With one, row i has the same part in every set, and all seeds give the same answer.

    Raises:
        InputError: If ``guidance`` < 0, ``sigma_data`` ≤ 0 or ``noises`` < 1.
    """

    def __init__(
        self,
        network: SetNetwork,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        guidance: float = 0.1,
        sigma_data: float | None = None,
        noises: int | None = None,
    ) -> None:
        super().__init__()
        if guidance < 0:
            raise InputError(
                expected="a guidance of at least 0", found=f"{guidance}", remedy="Use 0 for none."
            )
        if noises is not None:
            check_least({"noises": (noises, 1)})
        self.dim, self.set_size = network.dim, network.set_size
        self.denoiser = Denoiser(network, 1.0)
        self.set_sigma_data(network.dim**-0.5 if sigma_data is None else sigma_data)
        self._schedule = Karras(sigma_min=0.01) if schedule is None else schedule
        self.sampler = Multistep() if sampler is None else sampler
        self.guidance, self.noises = guidance, noises

    @property
    def schedule(self) -> Schedule:
        """Noise levels of the sampler, in absolute units."""
        return self._schedule.scaled(self.denoiser.sigma_data)

    def set_sigma_data(self, sigma_data: float) -> None:
        """Set sigma_data, above 0; a relative schedule follows it."""
        if not sigma_data > 0:
            raise InputError(
                expected="a sigma_data above 0", found=f"{sigma_data}", remedy="Omit it for 1/√d."
            )
        self.denoiser.sigma_data = sigma_data

    def resize(self, set_size: int) -> None:
        """Generate L = ``set_size`` rows from now on; see ``SetNetwork.resize``."""
        self.network.resize(set_size)
        self.set_size = set_size

    @property
    def network(self) -> SetNetwork:
        """The raw network F."""
        return self.denoiser.network

    def evaluations(self) -> int:
        """Return how often the network runs on a query's rows when it generates them."""
        calls: list[Tensor] = []

        def count(noisy: Tensor, sigma: Tensor) -> Tensor:
            calls.append(sigma)
            return noisy

        self.sampler(count, lambda: torch.zeros(1, 1, 1), self.schedule.steps(self.sampler.steps))
        return len(calls) * (2 if self.guidance > 0 else 1)

    def forward(self, query: Tensor, seeds: Sequence[int]) -> Tensor:
        """Generate unit rows (B, L, d) for unit query embeddings (B, d); dropout is always off.

        Raises:
            InputError: If ``query`` is not (B, d), or there is not one seed per query.
        """
        if query.ndim != 2 or query.shape[1] != self.dim:
            raise InputError(
                expected=f"queries of shape (B, {self.dim})",
                found=f"{tuple(query.shape)}",
                remedy="Encode them with the encoder that the generator was trained with.",
            )
        if len(seeds) != len(query):
            raise InputError(
                expected=f"one seed for each of {len(query)} queries",
                found=f"{len(seeds)} seeds",
                remedy="Pass as many seeds as queries.",
            )
        was_training = self.training
        if was_training:
            self.eval()
        with torch.inference_mode():
            rows = self.rows(query, seeds)
        if was_training:
            self.train()
        return rows.clone()  # a tensor that autograd may use later

    def rows(self, query: Tensor, seeds: Sequence[int]) -> Tensor:
        """Generate as ``forward`` does, but with gradients, and with dropout in training mode."""
        if self.noises is not None:
            seeds = [seed % self.noises for seed in seeds]
        noise = seeded_noise(seeds, (self.set_size, self.dim), query.device)
        sigmas = self.schedule.steps(self.sampler.steps)
        return normalize(self.sampler(self.denoise_fn(query), noise, sigmas))

    def denoise_fn(self, query: Tensor) -> DenoiseFn:
        """Return D for these queries (B, d), guided if ``guidance`` is above 0."""
        if self.guidance == 0:
            return self.denoiser.bind(query)
        dropped = torch.arange(2 * len(query), device=query.device) >= len(query)
        return guided(self.denoiser.bind(torch.cat([query, query]), dropped), self.guidance)

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``; the folder is created if it is missing."""
        folder = Path(folder)
        config = {
            "format_version": FORMAT_VERSION,
            "network": describe(self.network),
            "sigma_data": self.denoiser.sigma_data,
            "schedule": describe(self.schedule),
            "sampler": describe(self.sampler),
            "guidance": self.guidance,
        }
        if self.noises is not None:
            config["noises"] = self.noises
        write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
        weights = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> "DirectionGenerator":
        """Read what ``save`` wrote, in eval mode.

        Raises:
            InputError: If a file is missing, damaged or of another format version.
        """
        folder = Path(folder)
        missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            raise InputError(
                expected=f"a diffusion retriever's folder with {CONFIG} and {WEIGHTS}",
                found=f"no {missing[0]} in {folder}",
                remedy="Name a folder that step 3 exported, or run that step first "
                "(r4t fit --config configs/toy/3_distill.yaml --run RUN).",
            )
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if (version := config.pop("format_version")) != FORMAT_VERSION:
                raise InputError(
                    expected=f"a diffusion retriever of format {FORMAT_VERSION}",
                    found=f"format {version} in {folder}",
                    remedy="Export it again.",
                )
            bases = {"network": SetNetwork, "schedule": Schedule, "sampler": Sampler}
            parts = {name: build(base, config.pop(name)) for name, base in bases.items()}
            generator = cls(**parts, **config)
            generator.network.load_state_dict(load_file(folder / WEIGHTS))
        except (KeyError, TypeError, json.JSONDecodeError, SafetensorError, RuntimeError) as error:
            raise InputError(
                expected=f"a diffusion retriever in {folder}",
                found=f"damaged or mismatched files ({type(error).__name__}: "
                f"{str(error).splitlines()[0]})",
                remedy="Export it again.",
            ) from error
        return generator.to(device).eval()
