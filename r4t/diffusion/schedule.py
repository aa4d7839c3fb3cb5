"""Time t in [0, 1] ↔ noise level sigma, and the decreasing sigmas that a sampler walks down."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from r4t.errors import InputError, check_least

TANGENT_END = 1.5  # radians


class Schedule(ABC):
    """An invertible, increasing sigma(t) with sigma(1) = ``sigma_max`` · ``unit``.

    ``sigma_min`` and ``sigma_max`` are multiples of ``unit``; a unit of 1.0 makes them absolute.
    With ``unit`` None all sigmas are in units of sigma_data until ``scaled`` fills it in.

    Raises:
        InputError: If not 0 < ``sigma_min`` < ``sigma_max``, or ``unit`` ≤ 0.
    """

    sigma_min: float
    sigma_max: float
    unit: float | None

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise InputError(
                expected=f"0 < sigma_min < sigma_max in {type(self).__name__}",
                found=f"sigma_min={self.sigma_min} and sigma_max={self.sigma_max}",
                remedy="Change one of them.",
            )
        if self.unit is not None and self.unit <= 0:
            raise InputError(
                expected=f"a unit above 0 in {type(self).__name__}",
                found=f"{self.unit}",
                remedy="Give the sigma that the range is a multiple of, or omit it for sigma_data.",
            )

    @abstractmethod
    def _relative(self, t: Tensor) -> Tensor:
        """Return sigma(t) in units, unclipped."""

    @abstractmethod
    def _inverse(self, sigma: Tensor) -> Tensor:
        """Return the t at which ``_relative`` is ``sigma`` (in units, within the range)."""

    def scaled(self, sigma_data: float) -> Self:
        """Return the schedule with ``sigma_data`` as its unit if it has none, else itself."""
        return replace(self, unit=sigma_data) if self.unit is None else self  # type: ignore[type-var]

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise level at times ``t`` in [0, 1], never below ``sigma_min``."""
        unit = 1.0 if self.unit is None else self.unit
        return self._relative(t).clamp(self.sigma_min, self.sigma_max) * unit

    def t(self, sigma: Tensor) -> Tensor:
        """Return the time at which the noise level is ``sigma``, clipped to the range."""
        unit = 1.0 if self.unit is None else self.unit
        return self._inverse((sigma / unit).clamp(self.sigma_min, self.sigma_max))

    def steps(self, n: int) -> Tensor:
        """Return n + 1 decreasing sigmas, float32: n at equal distances in t from 1 to 0, then 0.

        Raises:
            InputError: If ``n`` < 1.

        Examples:
            >>> Exponential(sigma_min=1.0, sigma_max=100.0).steps(3).tolist()
            [100.0, 10.0, 1.0, 0.0]
        """
        check_least({"steps": (n, 1)})
        sigmas = self.sigma(torch.linspace(1, 0, n, dtype=torch.float64))
        return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


@dataclass(frozen=True)
class Tangent(Schedule):
    """tan on [0, 1.5] rescaled to [0, sigma_max] and clipped at sigma_min: the paper's schedule.

    Args:
        sigma_min: Lowest noise level, above 0; lower ones are clipped.
        sigma_max: Highest noise level, at t = 1.
        unit: Sigma that both count in; sigma_data by default.

    Examples:
        >>> [round(sigma, 4) for sigma in Tangent().sigma(torch.tensor([0.0, 1.0])).tolist()]
        [0.0001, 80.0]
    """

    sigma_min: float = 1e-4
    sigma_max: float = 80.0
    unit: float | None = None

    def _relative(self, t: Tensor) -> Tensor:
        return self.sigma_max * torch.tan(TANGENT_END * t) / math.tan(TANGENT_END)

    def _inverse(self, sigma: Tensor) -> Tensor:
        return torch.atan(sigma / self.sigma_max * math.tan(TANGENT_END)) / TANGENT_END


@dataclass(frozen=True)
class Exponential(Schedule):
    """sigma_min^(1−t) · sigma_max^t: a uniform t gives a log-uniform sigma.

    Args:
        sigma_min: Lowest noise level, above 0, at t = 0.
        sigma_max: Highest noise level, at t = 1.
        unit: Sigma that both count in; sigma_data by default.

    Examples:
        >>> Exponential(sigma_min=0.01, sigma_max=100.0).sigma(torch.tensor(0.5)).item()
        1.0
    """

    sigma_min: float = 1e-4
    sigma_max: float = 80.0
    unit: float | None = None

    def _relative(self, t: Tensor) -> Tensor:
        return torch.exp(torch.lerp(*self._ends(t), t))

    def _inverse(self, sigma: Tensor) -> Tensor:
        low, high = self._ends(sigma)
        return (sigma.log() - low) / (high - low)

    def _ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_tensor(self.sigma_min).log(), like.new_tensor(self.sigma_max).log()


@dataclass(frozen=True)
class Karras(Schedule):
    """Linear in sigma^(1/rho) (Karras et al. 2022, eq. 5): most steps at small sigma.

    Args:
        sigma_min: Lowest noise level, above 0, at t = 0.
        sigma_max: Highest noise level, at t = 1.
        rho: How strongly the steps cluster at small sigma, above 0; 1 spreads them evenly.
        unit: Sigma that both count in; sigma_data by default.

    Examples:
        >>> Karras(sigma_min=1.0, sigma_max=9.0, rho=2.0).sigma(torch.tensor(0.5)).item()
        4.0
    """

    sigma_min: float = 1e-4
    sigma_max: float = 80.0
    rho: float = 7.0
    unit: float | None = None

    def _relative(self, t: Tensor) -> Tensor:
        low, high = (end ** (1 / self.rho) for end in (self.sigma_min, self.sigma_max))
        return (low + t * (high - low)) ** self.rho

    def _inverse(self, sigma: Tensor) -> Tensor:
        low, high = (end ** (1 / self.rho) for end in (self.sigma_min, self.sigma_max))
        return (sigma ** (1 / self.rho) - low) / (high - low)


@dataclass(frozen=True)
class LogNormal(Schedule):
    """ln sigma is normal at a uniform t: EDM's training noise (Karras et al. 2022, tab. 1).

    Most draws are near sigma = e^``mean``, where it is decided which row becomes which member, and
    few where the noise hides everything or nothing.

    Args:
        mean: Mean of ln sigma.
        std: Standard deviation of ln sigma, above 0.
        sigma_min: Lowest noise level, above 0; lower ones are clipped.
        sigma_max: Highest noise level; higher ones are clipped.
        unit: Sigma that all of these count in; sigma_data by default.

    Examples:
        >>> LogNormal(mean=0.0).sigma(torch.tensor(0.5)).item()
        1.0
    """

    mean: float = 0.5
    std: float = 1.0
    sigma_min: float = 1e-4
    sigma_max: float = 80.0
    unit: float | None = None

    def _relative(self, t: Tensor) -> Tensor:
        return torch.exp(self.mean + self.std * torch.special.ndtri(t))

    def _inverse(self, sigma: Tensor) -> Tensor:
        return torch.special.ndtr((sigma.log() - self.mean) / self.std)


@dataclass(frozen=True)
class Levels(Schedule):
    """Chosen noise levels, at equal distances in t, and log-linear between them.

    As many steps as levels are exactly those levels.

    Args:
        levels: At least two, decreasing; the first is ``sigma_max``, the last ``sigma_min``.
        unit: Sigma that they count in; sigma_data by default.

    Raises:
        InputError: If there are fewer than two, or they do not decrease.

    Examples:
        >>> [round(sigma, 4) for sigma in Levels(levels=(80.0, 2.0, 0.5)).steps(3).tolist()]
        [80.0, 2.0, 0.5, 0.0]
    """

    levels: tuple[float, ...] = (80.0, 2.0, 1.0, 0.4)
    unit: float | None = None

    def __post_init__(self) -> None:
        if len(self.levels) < 2 or any(low >= high for high, low in pairwise(self.levels)):
            raise InputError(
                expected="at least two levels, each below the one before",
                found=f"{self.levels}",
                remedy="Change them; for a single step use a schedule such as Karras.",
            )
        object.__setattr__(self, "levels", tuple(self.levels))  # JSON has lists only
        super().__post_init__()

    @property
    def sigma_min(self) -> float:  # type: ignore[override]
        """The last level."""
        return self.levels[-1]

    @property
    def sigma_max(self) -> float:  # type: ignore[override]
        """The first level."""
        return self.levels[0]

    def _relative(self, t: Tensor) -> Tensor:
        logs = self._logs(t)
        place = t * (len(logs) - 1)
        below = place.floor().long().clamp(max=len(logs) - 2)
        return torch.lerp(logs[below], logs[below + 1], place - below).exp()

    def _inverse(self, sigma: Tensor) -> Tensor:
        logs, wanted = self._logs(sigma), sigma.log()
        below = (torch.searchsorted(logs, wanted, right=True) - 1).clamp(0, len(logs) - 2)
        part = (wanted - logs[below]) / (logs[below + 1] - logs[below])
        return (below + part) / (len(logs) - 1)

    def _logs(self, like: Tensor) -> Tensor:
        return like.new_tensor(self.levels[::-1]).log()  # increasing, as t is
