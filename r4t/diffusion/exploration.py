"""Directions → items tried around them with exact log-probabilities: how a retriever explores."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from r4t.diffusion.sampler import seeded_noise
from r4t.errors import InputError, check_least
from r4t.geometry import normalize

ROOM = 1 << 18  # chances held at a time


class Softmax(NamedTuple):
    """A softmax over items: what its log-probabilities and their gradient need of all of them."""

    means: Tensor  # (B, k, d) directions that it lies around
    log_sums: Tensor  # (B, k) log Σ_c exp(cos(mean, c) / τ)
    expected: Tensor  # (B, k, d) Σ_c p(c)·c: τ times the gradient of ``log_sums``


@dataclass(frozen=True)
class Tries:
    """What was tried in place of B · k directions, G times each."""

    actions: Tensor  # (B, G, k) places among the candidates; or (B, G, k, d) noisy directions
    directions: Tensor  # (B, G, k, d) unit vectors to search with
    items: Tensor | None = None  # (B, G, k) catalog rows, if they are known without a search
    candidates: Tensor | None = None  # (B, k, M) catalog rows that could be drawn; None for all
    policy: Softmax | None = None  # that items were drawn from
    entropy: Tensor | None = None  # (B, k) of the policy in nats; None if it never changes

    def flat(self, rows: Sequence[int] | slice = slice(None)) -> tuple[Tensor, Tensor | None]:
        """Return directions (n, k, d) and, if known, items (n, k) of n of the B·G sets."""
        items = None if self.items is None else self.items.flatten(0, 1)[rows]
        return self.directions.flatten(0, 1)[rows], items


class Exploration(ABC):
    """A distribution around the directions that a retriever generates, its *means*."""

    @abstractmethod
    def tries(self, means: Tensor, items: Tensor, seeds: Sequence[int], group: int) -> Tries:
        """Try G = ``group`` sets for each query.

        Args:
            means: (B, k, d) unit directions.
            items: (N, d) embeddings of the catalog.
            seeds: One for each query, on which its tries depend alone.
            group: Number G.
        """

    @abstractmethod
    def log_probs(self, means: Tensor, items: Tensor, tries: Tries) -> Tensor:
        """Return the log-probability (B, G, k) of what was tried, up to a constant."""

    @abstractmethod
    def divergence(self, means: Tensor, others: Tensor, items: Tensor, tries: Tries) -> Tensor:
        """Return KL(around ``means`` ‖ around ``others``) (B, k), in nats."""


@dataclass(frozen=True)
class ItemSampling(Exploration):
    """Draws an item in place of each direction: ``p(c) = softmax over c of cos(direction, c) / τ``.

    Everything tried is an item of the catalog, and the log-probability compares the item with all
    that could have been drawn. So the gradient moves a direction toward an item and away from the
    others, not along random noise as with ``GaussianNoise`` (docs/diffusion.md).

    Args:
        temperature: τ above 0. High, it tries far items; near 0, only the nearest.
        nearest: Draw from this many nearest items, at least 2; from the whole catalog by default.
            Use about 1,000 for catalogs of more than 50,000 items.

    Raises:
        InputError: If a number is out of range.
    """

    temperature: float = 0.03
    nearest: int | None = None

    def __post_init__(self) -> None:
        _check_above_zero("temperature", self.temperature, "0.03")
        if self.nearest is not None:
            check_least({"nearest": (self.nearest, 2)})

    def tries(self, means: Tensor, items: Tensor, seeds: Sequence[int], group: int) -> Tries:
        """See ``Exploration``."""
        size, candidates = means.shape[1], None
        if self.nearest is not None and self.nearest < len(items):
            candidates = (means @ items.T).topk(self.nearest).indices
        noise = seeded_noise(seeds, (size, group), means.device)()
        uniform = torch.special.ndtr(noise.double())
        policy, places = self._softmax(means, items, candidates, uniform)
        rows = places if candidates is None else candidates.gather(2, places)
        rows = rows.transpose(1, 2)
        directions = F.embedding(rows, items)
        # −Σ p log p, with log p = cosine / τ − log Z
        entropy = policy.log_sums - (means * policy.expected).sum(-1) / self.temperature
        return Tries(places.transpose(1, 2), directions, rows, candidates, policy, entropy)

    def log_probs(self, means: Tensor, items: Tensor, tries: Tries) -> Tensor:
        """See ``Exploration``. Only its first derivatives are right.

        The gradient of ``log p(c)`` is ``(c − E[c]) / τ``, so nothing of all items has to be kept for
        it, and nothing computed again if the means are still those of the tries.
        """
        policy = tries.policy
        if policy is None or not torch.equal(policy.means, means):
            none = means.new_empty(*means.shape[:2], 0)
            policy, _ = self._softmax(means, items, tries.candidates, none)
        cosines = torch.einsum("bkd,bgkd->bgk", means, tries.directions)
        moved = ((means - policy.means) * policy.expected).sum(-1)  # 0, with the gradient
        return (cosines - moved.unsqueeze(1)) / self.temperature - policy.log_sums.unsqueeze(1)

    def divergence(self, means: Tensor, others: Tensor, items: Tensor, tries: Tries) -> Tensor:
        """See ``Exploration``; among the candidates of the tries."""
        chosen = items if tries.candidates is None else items[tries.candidates]
        one, other = (self._logits(each, chosen).log_softmax(-1) for each in (means, others))
        return (one.exp() * (one - other)).sum(-1)

    @torch.no_grad()
    def _softmax(
        self, means: Tensor, items: Tensor, candidates: Tensor | None, uniform: Tensor
    ) -> tuple[Softmax, Tensor]:
        """Return the policy around the means, and what it draws at ``uniform`` (B, k, G) in [0, 1].

        A few means at a time, so that what is held fits the processor's cache.
        """
        shape, all_means, all_draws = means.shape[:2], means.flatten(0, 1), uniform.flatten(0, 1)
        width = len(items) if candidates is None else candidates.shape[-1]
        count = max(ROOM // width, 1)
        sums, expected, places = [], [], []
        for start in range(0, len(all_means), count):
            part = slice(start, start + count)
            chosen = items if candidates is None else items[candidates.flatten(0, 1)[part]]
            logits = self._logits(all_means[part], chosen)
            chances = logits.softmax(-1)
            # Any item tells the sum, log Σ = logit − log p; the likeliest does so best.
            sums.append(logits.amax(-1) - chances.amax(-1).log())
            expected.append((chances.unsqueeze(-2) @ chosen).squeeze(-2))
            ends = chances.cumsum(-1, dtype=torch.float64)  # (n, M)
            drawn = torch.searchsorted(ends, all_draws[part] * ends[:, -1:])
            places.append(drawn.clamp(max=width - 1))
        policy = means.detach(), torch.cat(sums).view(shape), torch.cat(expected).view_as(means)
        return Softmax(*policy), torch.cat(places).view_as(uniform)

    def _logits(self, means: Tensor, chosen: Tensor) -> Tensor:
        """Return cosines over τ (…, M) of means (…, d) with items (M, d) or (…, M, d)."""
        scaled = means / self.temperature
        if chosen.ndim == 2:
            return scaled @ chosen.T
        return (chosen @ scaled.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class GaussianNoise(Exploration):
    """Adds normal noise to each direction, and searches with the sum, scaled to length 1.

    Args:
        sigma: Standard deviation of each of the d coordinates, above 0. At d = 128, 0.05 turns a
            direction by about 30 degrees.

    Raises:
        InputError: If ``sigma`` is not above 0.
    """

    sigma: float = 0.05

    def __post_init__(self) -> None:
        _check_above_zero("sigma", self.sigma, "0.05")

    def tries(self, means: Tensor, items: Tensor, seeds: Sequence[int], group: int) -> Tries:
        """See ``Exploration``."""
        _, size, width = means.shape
        noise = seeded_noise(seeds, (group * size, width), means.device)()
        noisy = means.unsqueeze(1) + self.sigma * noise.unflatten(1, (group, size))
        return Tries(noisy, normalize(noisy))

    def log_probs(self, means: Tensor, items: Tensor, tries: Tries) -> Tensor:
        """See ``Exploration``."""
        return -(tries.actions - means.unsqueeze(1)).square().sum(-1) / (2 * self.sigma**2)

    def divergence(self, means: Tensor, others: Tensor, items: Tensor, tries: Tries) -> Tensor:
        """See ``Exploration``."""
        return (means - others).square().sum(-1) / (2 * self.sigma**2)


def _check_above_zero(name: str, value: float, usual: str) -> None:
    if not value > 0:
        raise InputError(
            expected=f"a {name} above 0, as without noise there is nothing to compare",
            found=f"{value}",
            remedy=f"Use {usual}.",
        )
