"""Query embeddings (B, d) → unit directions (B, L, d): the part of stage 3 that is deployed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from r4t.diffusion.network import Relay, SetTransformer, build_network
from r4t.diffusion.precondition import DenoiseFn, Denoiser, guided
from r4t.diffusion.sampler import Euler, Heun, Multistep, ReverseSde, Sampler, seeded_noise
from r4t.diffusion.schedule import Exponential, Karras, Levels, LogNormal, Schedule, Tangent
from r4t.errors import InputError, nearest
from r4t.geometry import normalize

FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "Tangent": Tangent,
    "Exponential": Exponential,
    "Karras": Karras,
    "Levels": Levels,
    "LogNormal": LogNormal,
}
SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "Euler": Euler,
    "Heun": Heun,
    "Multistep": Multistep,
    "ReverseSde": ReverseSde,
}


class DirectionGenerator(nn.Module):
    """A trained denoiser with everything that sampling from it needs.

    A query's directions follow from its embedding and its own seed, not from the batch they are
    computed in (up to float round-off).

    Attributes:
        denoiser: The preconditioned network.
        sampler: Sampling method and steps.
        guidance: w of classifier-free guidance.
    """

    def __init__(
        self,
        network: SetTransformer | Relay,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        guidance: float = 0.1,
        sigma_data: float | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            network: The raw network F.
            schedule: Noise levels for sampling; ``Karras(sigma_min=0.01)`` by default.
            sampler: Method and steps; ``Multistep(8)`` by default.
            guidance: w ≥ 0; above 0 each step evaluates the network twice per query.
            sigma_data: Standard deviation of the target rows' coordinates; 1/√d by default, which
                is that of unit vectors.

        Raises:
            InputError: ``guidance`` < 0 or ``sigma_data`` ≤ 0.
        """
        super().__init__()
        if guidance < 0:
            raise InputError(f"Guidance must be at least 0, found {guidance}: use 0 for none.")
        if sigma_data is None:
            sigma_data = network.dim**-0.5
        check_sigma_data(sigma_data)
        self.denoiser = Denoiser(network, sigma_data)
        self._schedule = Karras(sigma_min=0.01) if schedule is None else schedule
        self.sampler = Multistep() if sampler is None else sampler
        self.guidance = guidance

    @property
    def schedule(self) -> Schedule:
        """Noise levels of the sampler, in absolute units."""
        return self._schedule.scaled(self.denoiser.sigma_data)

    def set_sigma_data(self, sigma_data: float) -> None:
        """Set the standard deviation of the target rows' coordinates; a relative schedule follows.

        Raises:
            InputError: It is not above 0.
        """
        check_sigma_data(sigma_data)
        self.denoiser.sigma_data = sigma_data

    @property
    def network(self) -> SetTransformer | Relay:
        """The raw network F."""
        return self.denoiser.network

    def evaluations(self) -> int:
        """Evaluations a query: forwards of the network on one query's rows (guided: two a step)."""
        calls = 0

        def counted(noisy: Tensor, sigma: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return noisy

        sigmas = self.schedule.steps(self.sampler.steps)
        self.sampler(counted, lambda: torch.zeros(1, 1, 1), sigmas)
        return calls * (2 if self.guidance > 0 else 1)

    @property
    def dim(self) -> int:
        """d, the width of queries and directions."""
        return self.network.dim

    @property
    def set_size(self) -> int:
        """L, the directions generated per query."""
        return self.network.set_size

    def forward(self, query: Tensor, seeds: Sequence[int]) -> Tensor:
        """Generate the directions of each query.

        Args:
            query: Unit query embeddings (B, d).
            seeds: One seed per query (B).

        Returns:
            (B, L, d) unit rows, dropout off whatever the mode.

        Raises:
            InputError: ``query`` is not (B, d), or there is not one seed per query.
        """
        if query.ndim != 2 or query.shape[1] != self.dim:
            raise InputError(
                f"This generator expects queries of shape (B, {self.dim}), found "
                f"{tuple(query.shape)}: encode them with the encoder it was trained with."
            )
        if len(seeds) != len(query):
            raise InputError(
                f"The generator expects one seed per query, found {len(seeds)} seeds for "
                f"{len(query)} queries: give as many."
            )
        was_training = self.training
        if was_training:
            self.eval()
        with torch.inference_mode():
            noise = seeded_noise(seeds, (self.set_size, self.dim), query.device)
            sigmas = self.schedule.steps(self.sampler.steps)
            rows = normalize(self.sampler(self.denoise_fn(query), noise, sigmas))
        if was_training:
            self.train()
        return rows.clone()  # a tensor that autograd may use later

    def denoise_fn(self, query: Tensor) -> DenoiseFn:
        """Return D for these queries (B, d), guided if ``guidance`` is above 0."""
        if self.guidance == 0:
            return self.denoiser.bind(query)
        dropped = torch.arange(2 * len(query), device=query.device) >= len(query)
        return guided(self.denoiser.bind(torch.cat([query, query]), dropped), self.guidance)

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``; the folder is made where missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "format_version": FORMAT_VERSION,
            "network": {"name": type(self.network).__name__, **self.network.config},
            "sigma_data": self.denoiser.sigma_data,
            "schedule": _named(self.schedule),
            "sampler": _named(self.sampler),
            "guidance": self.guidance,
        }
        weights = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> "DirectionGenerator":
        """Read what ``save`` wrote, in eval mode.

        Raises:
            InputError: A file is missing or damaged, or written by another format version.
        """
        folder = Path(folder)
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise InputError(
                    f"A diffusion retriever's folder holds {CONFIG} and {WEIGHTS}, found no {name} "
                    f"in {folder}: name a folder that step 3 has exported, or run that step first "
                    "(r4t fit --config configs/toy/3_distill.yaml --run RUN)."
                )
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            version = config["format_version"]
            if version != FORMAT_VERSION:
                raise InputError(
                    f"This program reads diffusion retrievers of format {FORMAT_VERSION}, found "
                    f"format {version} in {folder}: export it again."
                )
            generator = cls(
                network=build_network(config["network"]),
                schedule=_build(config["schedule"], SCHEDULES, "schedule"),
                sampler=_build(config["sampler"], SAMPLERS, "sampler"),
                guidance=config["guidance"],
                sigma_data=config["sigma_data"],
            )
            generator.network.load_state_dict(load_file(folder / WEIGHTS))
        except (KeyError, TypeError, json.JSONDecodeError, SafetensorError, RuntimeError) as error:
            raise InputError(
                f"A diffusion retriever was expected in {folder}, found damaged or unfitting files "
                f"({type(error).__name__}: {str(error).splitlines()[0]}): export it again."
            ) from error
        return generator.to(device).eval()


def check_sigma_data(sigma_data: float) -> None:
    """Refuse a sigma_data that is not above 0.

    Raises:
        InputError: So it is.
    """
    if not sigma_data > 0:
        raise InputError(f"sigma_data must be above 0, found {sigma_data}: leave it out for 1/√d.")


def _named(part: Any) -> dict[str, Any]:
    return {"name": type(part).__name__, **asdict(part)}


def _build(config: dict[str, Any], known: dict[str, Callable[..., Any]], what: str) -> Any:
    arguments = dict(config)
    name = arguments.pop("name")
    if name not in known:
        raise InputError(
            f"Unknown {what} {name!r}. Known: {', '.join(sorted(known))}.{nearest(name, known)}"
        )
    return known[name](**arguments)
