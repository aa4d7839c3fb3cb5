"""Fan-outs → methods to compare: one draw, the best of N; each draw written once for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.retriever import FanOut, LanguageFanOut
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.sets import SetBatch, pad_rows
from r4t.support.seeds import query_seed

ORACLE = "(oracle)"


@dataclass
class FanOutMethod:
    """The sets of one fan-out a query.

    Attributes:
        name: In the tables.
        fan_out: Writes the directions.
        pool_size: Distinct items P retrieved a query.
        draw: Which of a query's random draws to take.
        repeats: Whether Vendi across runs is measured of it.
    """

    name: str
    fan_out: FanOut
    pool_size: int = 150
    draw: int = 0
    repeats: bool = True

    def with_draw(self, draw: int) -> "FanOutMethod":
        """Return the same method with another of its random draws."""
        return replace(self, draw=draw)

    def uncached(self) -> "FanOutMethod":
        """Return the same method without memory of its draws, to be timed."""
        return replace(self, fan_out=uncached(self.fan_out))

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        return _drawn(self.fan_out, queries, z, [self.draw], self.pool_size)


@dataclass
class BestOf:
    """The best of N fan-outs a query, chosen by a reward (paper, §7: N = 5, the training reward).

    Attributes:
        name: In the tables; an oracle's says so.
        fan_out: Writes the directions.
        reward: Chooses; unless this is an oracle it must not read references, which are the
            answers. A set that it could not score is never chosen over one that it could.
        samples: N.
        pool_size: Distinct items P retrieved a query.
        oracle: Whether the reward may read the references.
        draw: Which N of a query's random draws to take: draw · N to draw · N + N − 1.

    Raises:
        InputError: The reward reads references and this is no oracle; or, when called, this is an
            oracle and a query has no references.
    """

    name: str
    fan_out: FanOut
    reward: Reward
    samples: int = 5
    pool_size: int = 150
    oracle: bool = False
    draw: int = 0
    repeats: ClassVar[bool] = False  # Vendi across runs is of single draws

    def __post_init__(self) -> None:
        if "references" in self.reward.deciding_needs and not self.oracle:
            raise InputError(
                f"Best-of-{self.samples} must choose without the references, which are the answers "
                f"— found the objectives {sorted(self.reward.weights)}; choose by others, or mark it "
                "as an oracle (oracle=True)."
            )
        if self.oracle and ORACLE not in self.name:
            self.name = f"{self.name} {ORACLE}"

    def with_draw(self, draw: int) -> "BestOf":
        """Return the same method with another N of its random draws."""
        return replace(self, draw=draw)

    def uncached(self) -> "BestOf":
        """Return the same method without memory of its draws, to be timed."""
        return replace(self, fan_out=uncached(self.fan_out))

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        draws = range(self.draw * self.samples, (self.draw + 1) * self.samples)
        sets = _drawn(self.fan_out, queries, z, draws, self.pool_size)
        known = self._with_references(sets, queries) if self.oracle else sets
        scores = self.reward.score(known)
        scores = scores.nan_to_num(nan=-torch.inf).view(len(queries), self.samples)
        return sets.select(torch.arange(len(queries)) * self.samples + scores.argmax(1))

    def _with_references(self, sets: SetBatch, queries: Sequence[Query]) -> SetBatch:
        bare = [query for query in queries if not query.references]
        if bare or sets.catalog is None:
            what = (
                f"none for {bare[0].text!r} (id {bare[0].id!r})" if bare else "no catalog of them"
            )
            raise InputError(
                f"{self.name} chooses by references — found {what} — leave it out for such queries."
            )
        rows = pad_rows([sets.catalog.rows(query.references) for query in queries])
        return sets.extended(references=rows.repeat_interleave(self.samples, 0))


class Drafts:
    """A language model that writes each draw of a query once, however many methods ask for it.

    A single draw, the best of N, its oracle and rank fusion all begin with the same draws.

    Args:
        model: A fan-out model, whose draws depend on text, seed and temperature alone.
        most: Draws kept; the oldest are forgotten.
    """

    def __init__(self, model: Any, most: int = 10_000) -> None:
        self.model, self.most = model, most
        self._kept: dict[tuple[str, int, float], list[str]] = {}

    def subqueries(
        self, texts: Sequence[str], seeds: Sequence[int], temperature: float
    ) -> list[list[str]]:
        """Return the sub-queries of B draws."""
        keys = [(text, seed, temperature) for text, seed in zip(texts, seeds, strict=True)]
        fresh = [key for key in dict.fromkeys(keys) if key not in self._kept]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        if fresh:
            asked, sown = [key[0] for key in fresh], [key[1] for key in fresh]
            written = self.model.sample(asked, sown, 1, temperature).subqueries
            found |= dict(zip(fresh, written, strict=True))
        self._kept |= found
        for key in list(self._kept)[: max(0, len(self._kept) - self.most)]:
            del self._kept[key]
        return [found[key] for key in keys]


class RememberingFanOut(LanguageFanOut):
    """A language fan-out that takes its sub-queries from drafts.

    Args:
        searcher: The frozen retriever.
        drafts: Shared with the other methods of the same model.
        temperature: Of sampling.
    """

    def __init__(self, searcher: Searcher, drafts: Drafts, temperature: float = 0.9) -> None:
        super().__init__(searcher, drafts.model, temperature)
        self.drafts = drafts

    def subqueries(self, texts: Sequence[str], seeds: Sequence[int]) -> list[list[str]]:
        """Take the sub-queries of B queries from the drafts."""
        return self.drafts.subqueries(texts, seeds, self.temperature)

    def uncached(self) -> LanguageFanOut:
        """Return the same fan-out, which writes anew each time."""
        return LanguageFanOut(self.searcher, self.model, self.temperature)


def uncached(fan_out: FanOut) -> FanOut:
    """Return the same fan-out without memory of its draws; itself if it has none."""
    bare: FanOut = getattr(fan_out, "uncached", lambda: fan_out)()
    return bare


def _drawn(
    fan_out: FanOut, queries: Sequence[Query], z: Tensor, draws: Sequence[int], pool_size: int
) -> SetBatch:
    """The fan-outs of B queries, one for each of their draws: B · draws sets, grouped by query."""
    texts = [query.text for query in queries for _ in draws]
    seeds = [query_seed(query.id, draw) for query in queries for draw in draws]
    return fan_out(texts, z.repeat_interleave(len(draws), 0), seeds, pool_size=pool_size)
