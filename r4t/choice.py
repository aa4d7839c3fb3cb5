"""Surplus rows or sets → the directions that make the best set by an objective."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.geometry import RankFusion, anchored, check_anchor, take_turns
from r4t.reward import Reward
from r4t.search import Merge, Searcher
from r4t.sets import ANSWERS, SetBatch
from r4t.support.files import write_text
from r4t.support.named import build
from r4t.support.seeds import query_seed

CHOICE_FILE = "choice.json"  # beside a saved diffusion retriever
Generate = Callable[[Tensor, Sequence[int]], Tensor]  # queries (B, d) and B seeds → rows (B, L, d)
BANK_FILE = "bank.safetensors"  # beside it, if the choice compares queries
# Fields of a set that has no pool yet.
KNOWN = frozenset({"directions", "catalog", "popularity", "bank"})


class Choice(ABC):
    """Keeps k directions of M generated sets.

    Args:
        by: Scores sets; it may read ``fields`` only and must be cheap.
        draws: Sets M generated per query, at least 1.
        fields: Fields that a set has when directions are chosen.

    Attributes:
        bank: (M, d) query vectors that a saved model brings along, so that its choice does not depend
            on the queries of a run; those of the searcher by default.

    Raises:
        InputError: If ``by`` reads other fields or is costly, or ``draws`` is below 1.
    """

    pools_rows: bool  # whether k may exceed the L rows of a set
    bank: Tensor | None = None

    def __init__(self, by: Reward, draws: int, fields: frozenset[str] = KNOWN) -> None:
        check_least({"draws": (draws, 1)})
        names = sorted(by.weighted_objectives)
        if by.costly:
            raise InputError(
                expected="objectives that are cheap enough to try dozens of sets per query",
                found=f"{names}, one of which costs money or minutes per set",
                remedy="Choose by others.",
            )
        if not by.deciding_needs <= fields:
            raise InputError(
                expected=f"objectives that read only {sorted(fields)}, as a set has nothing else when "
                "its directions are chosen",
                found=f"{names}, which need {sorted(by.deciding_needs)}",
                remedy="Choose by others.",
            )
        self.by, self.draws = by, draws

    @abstractmethod
    def places(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """Return where the k = ``size`` directions to keep are: (B, k), among the M·L rows of a query.

        Queries are (B, d), rows (B, M, L, d). k is at most L, or M·L for a choice that pools rows.
        """

    def score(self, sets: SetBatch) -> Tensor:
        """Score (B,) sets with the bank of the saved model, if there is one."""
        return self.by.score(sets if self.bank is None else sets.extended(bank=self.bank))

    def __call__(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """Choose directions (B, k, d); arguments as of ``places``."""
        places = self.places(searcher, queries, rows, size)
        return rows.flatten(1, 2).take_along_dim(places.unsqueeze(-1), 1)

    def facts(self) -> dict[str, Any]:
        """Return class and arguments as plain values to save; refuse objects, which have no name."""
        if self.by.given:
            raise InputError(
                expected="installed objectives without arguments, which a saved model can name",
                found=f"objects for {sorted(self.by.given)} in the choice",
                remedy="Remove them from choice.by.",
            )
        return {"keep": type(self).__name__, "weights": self.by.weights, "draws": self.draws}


class BestRows(Choice):
    """The k of all M·L rows that make the best set, see ``best_members``.

    Args:
        by: Scores sets; it must read neither pool, references nor texts.
        draws: Sets M generated per query, at least 1.
    """

    pools_rows = True

    def __init__(self, by: Reward, draws: int = 1) -> None:
        super().__init__(by, draws)

    def places(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """See ``Choice``."""
        pooled = rows.flatten(1, 2)  # (B, M · L, d)
        if pooled.shape[1] == size:
            return torch.arange(size, device=rows.device).expand(len(rows), size)
        return best_members(searcher.retrieve(queries, pooled), self.score, size)


class BestSet(Choice):
    """The best of M sets, each of its first k rows: rows have no order.

    Args:
        by: Scores sets; it must read neither references nor texts.
        draws: Sets M generated per query, at least 1.
        pool_size: Distinct items to retrieve per set if ``by`` needs a pool; none by default.
    """

    pools_rows = False

    def __init__(self, by: Reward, draws: int = 8, pool_size: int | None = None) -> None:
        super().__init__(by, draws, KNOWN if pool_size is None else KNOWN | {"pool"})
        self.pool_size = pool_size

    def places(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """See ``Choice``."""
        first = torch.arange(size, device=rows.device)
        if rows.shape[1] == 1:
            return first.expand(len(rows), size)
        sets = rows[:, :, :size]  # (B, M, k, d)
        owners = queries.repeat_interleave(sets.shape[1], 0)
        tried = searcher.retrieve(owners, sets.flatten(0, 1), pool_size=self.pool_size)
        scores = self.score(tried).view(sets.shape[:2])
        best = scores.nan_to_num(-torch.inf).argmax(1)
        return best.unsqueeze(1) * rows.shape[2] + first

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        return {**super().facts(), "pool_size": self.pool_size}


@dataclass(frozen=True)
class QueryTime:
    """How a diffusion retriever answers a query; saved beside the model.

    Args:
        choice: Keeps the best of several generated sets or of their rows, by installed objectives;
            the first rows of one set by default.
        anchor: Share in [0, 1) of the query in each direction, see ``anchored``; it helps recall if
            rows are sub-queries.
        fused: Whether the pool after the k members, which are the set, is ordered by reciprocal ranks
            over all directions (``RankFusion``). By default directions take turns, so k of them
            split the pool among themselves.

    Raises:
        InputError: If ``anchor`` is outside [0, 1).
    """

    choice: Choice | None = None
    anchor: float = 0.0
    fused: bool = False

    def __post_init__(self) -> None:
        check_anchor(self.anchor)

    @property
    def draws(self) -> int:
        """Sets M that are generated per query."""
        return 1 if self.choice is None else self.choice.draws

    @property
    def merge(self) -> Merge:
        """How the pool is made from the directions' rankings."""
        return RankFusion(members_first=True) if self.fused else take_turns

    def most(self, rows: int) -> int:
        """How many directions there are to choose from, if a set has L = ``rows``."""
        pooled = self.choice is not None and self.choice.pools_rows
        return rows * (self.draws if pooled else 1)

    def rows(
        self, generate: Generate, queries: Sequence[Query], vectors: Tensor, draws: Sequence[int]
    ) -> Tensor:
        """Generate anchored rows for B queries (B, d): (B, M · len(draws), L, d), M for each draw.

        They depend on the query's id, its vector and the draw alone.
        """
        seeds = [
            query_seed(str(query_seed(query.id, draw)), number)
            for query in queries
            for draw in draws
            for number in range(self.draws)
        ]
        repeated = vectors.repeat_interleave(len(seeds) // len(queries), 0)
        rows = anchored(repeated, generate(repeated, seeds), self.anchor)
        return rows.unflatten(0, (len(queries), -1))

    def answer(
        self,
        generate: Generate,
        searcher: Searcher,
        queries: Sequence[Query],
        vectors: Tensor,
        size: int,
        pool_size: int | None = None,
        draw: int = 0,
    ) -> SetBatch:
        """Generate for B queries, choose k = ``size`` directions and retrieve.

        Whoever deploys or judges a retriever calls this. Without a choice, the first k rows are
        used: rows have no order.
        """
        rows = self.rows(generate, queries, vectors, [draw])
        if self.choice is None:
            directions = rows[:, 0, :size]
        else:
            directions = self.choice(searcher, vectors, rows, size)
        texts = [query.text for query in queries]
        return searcher.retrieve(
            vectors, directions, query_texts=texts, pool_size=pool_size, merge=self.merge
        )

    def facts(self) -> dict[str, Any]:
        """Return what ``save`` writes; refuse what ``Choice.facts`` refuses."""
        chosen = {"weights": {}} if self.choice is None else self.choice.facts()
        fused = {"fused": True} if self.fused else {}
        return {**chosen, "anchor": self.anchor, **fused}

    def save(self, folder: Path, bank: Tensor | None = None) -> None:
        """Write ``choice.json`` into a model's folder, and the bank if the choice reads it.

        ``bank`` (M, d) is that of the run; a choice that was loaded keeps its own.
        """
        write_text(folder / CHOICE_FILE, json.dumps(self.facts(), indent=2) + "\n")
        (folder / BANK_FILE).unlink(missing_ok=True)
        if self.choice is not None and "bank" in self.choice.by.deciding_needs:
            bank = bank if self.choice.bank is None else self.choice.bank
            if bank is not None:
                save_file({"bank": bank.contiguous()}, folder / BANK_FILE)

    @classmethod
    def load(cls, folder: Path) -> "QueryTime":
        """Read what ``save`` wrote, or return the defaults if there is no file.

        Raises:
            InputError: If the kind of choice is unknown or an objective is not installed.
        """
        path = folder / CHOICE_FILE
        if not path.is_file():
            return cls()
        facts = json.loads(path.read_text(encoding="utf-8"))
        weights, anchor, name = facts.pop("weights"), facts.pop("anchor"), facts.pop("keep", "")
        fused = facts.pop("fused", False)
        choice = build(Choice, {"name": name, "by": Reward(weights), **facts}) if weights else None
        if choice is not None and (folder / BANK_FILE).is_file():
            choice.bank = load_file(folder / BANK_FILE)["bank"]
        return cls(choice, anchor, fused)


def best_members(
    sets: SetBatch, score: Callable[[SetBatch], Tensor], size: int, rounds: int = 3
) -> Tensor:
    """Return the ``size`` of M members that a set misses most, by elimination in a few rounds.

    The lower the score without a member, the more it is needed. Each round drops an equal number of
    the least needed. Members with the same item make each other seem needless, so the most needed of
    them stays until the others are gone; missing members go first. If no item repeats, the result is
    optimal for a mean of members (groundedness, alignment). One member per round gives slightly
    better sets in more than twice the time.

    Args:
        sets: B sets of M members with directions.
        score: Scores (B',) of B' sets; higher is better. It must not need the pool.
        size: Number of members to keep, at most M.
        rounds: At least 1.

    Returns:
        (B, size) positions among the members.
    """
    batch, members = sets.items.shape
    device = sets.items.device
    rest = torch.arange(members, device=device).expand(batch, members)
    for left in range(rounds, 0, -1):
        count = rest.shape[1]
        target = size + (count - size) * (left - 1) // left
        if target == count:
            continue
        is_other = ~torch.eye(count, dtype=torch.bool, device=device)
        places = torch.arange(count, device=device).expand(count, count)
        others = places[is_other].view(count, count - 1)
        owner = torch.arange(batch, device=device).repeat_interleave(count)
        alone = score(at_members(sets, owner, rest[:, others].reshape(-1, count - 1)))
        missing = ~sets.mask.gather(1, rest)
        alone = alone.view(batch, count).masked_fill(missing, torch.inf)
        needed = alone.argsort(dim=1, stable=True)  # most needed first
        waits = _waits(sets.items.gather(1, rest).gather(1, needed)) & ~missing.gather(1, needed)
        order = needed.gather(1, waits.int().argsort(dim=1, descending=True, stable=True))
        rest = rest.gather(1, order[:, :target])
    return rest


def _waits(items: Tensor) -> Tensor:
    """Return which of the items (B, M), most needed first, are the first of several equal items."""
    same = items.unsqueeze(2) == items.unsqueeze(1)
    return same.triu(1).any(-1) & ~same.tril(-1).any(-1)


def at_members(sets: SetBatch, owner: Tensor, members: Tensor) -> SetBatch:
    """Return n sets: set i has the members at ``members[i]`` (n, m) of set ``owner[i]`` (n,)."""
    rows = owner.unsqueeze(1)
    return replace(
        sets,
        query=sets.query[owner],
        items=sets.items[rows, members],
        item_embeddings=sets.item_embeddings[rows, members],
        mask=sets.mask[rows, members],
        directions=None if sets.directions is None else sets.directions[rows, members],
        **dict.fromkeys(("texts", "pool", *ANSWERS, "query_texts")),
    )
