"""How a diffusion retriever answers users: what it keeps of its draws, the anchor, the pool."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from r4t.choice.choice import Choice
from r4t.choice.consensus import Consensus
from r4t.choice.likely import Likely
from r4t.choice.memory import MEMORY_FILE, SetMemory
from r4t.data.queries import Query
from r4t.geometry import RankFusion, anchored, check_anchor, take_turns
from r4t.reward import Reward
from r4t.search import Merge, Searcher
from r4t.sets import SetBatch
from r4t.support.files import write_text
from r4t.support.named import build
from r4t.support.seeds import query_seed

CHOICE_FILE = "choice.json"  # beside a saved diffusion retriever
BANK_FILE = "bank.safetensors"  # beside it, if the choice compares queries
Generate = Callable[[Tensor, Sequence[int]], Tensor]  # queries (B, d) and B seeds → rows (B, L, d)


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
        likely: Takes members and pool by probability, which directions that learned the likelihood of
            sets need; by default each direction gives its nearest item. A choice precedes it.
        memory: What ``likely`` recalls; a training that can keeps it by itself.

    Raises:
        InputError: If ``anchor`` is outside [0, 1).
    """

    choice: Choice | None = None
    anchor: float = 0.0
    fused: bool = False
    likely: Likely | None = None
    memory: SetMemory | None = None

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
        rows, texts = self.rows(generate, queries, vectors, [draw]), [q.text for q in queries]
        if self.choice is None:
            return self.retrieve(searcher, vectors, rows[:, 0], size, texts, pool_size)
        return self.choice.retrieve(
            searcher,
            vectors,
            rows,
            size,
            query_texts=texts,
            pool_size=pool_size,
            merge=self.merge,
        )

    def retrieve(
        self,
        searcher: Searcher,
        vectors: Tensor,
        directions: Tensor,
        size: int,
        texts: list[str],
        pool_size: int | None = None,
    ) -> SetBatch:
        """Answer B queries with anchored directions (B, R, d) of one set, without a choice."""
        if self.likely is not None:
            return self.likely.retrieve(
                searcher,
                vectors,
                directions,
                size,
                query_texts=texts,
                pool_size=pool_size,
                memory=self.memory,
            )
        return searcher.retrieve(
            vectors,
            directions[:, :size],
            query_texts=texts,
            pool_size=pool_size,
            merge=self.merge,
        )

    def facts(self) -> dict[str, Any]:
        """Return what ``save`` writes; refuse what ``Choice.facts`` refuses."""
        chosen = {"weights": {}} if self.choice is None else self.choice.facts()
        fused = {"fused": True} if self.fused else {}
        likely = {} if self.likely is None else {"likely": asdict(self.likely)}
        return {**chosen, "anchor": self.anchor, **fused, **likely}

    def save(self, folder: Path, bank: Tensor | None = None) -> None:
        """Write ``choice.json`` into a model's folder, and the bank if the choice reads it.

        ``bank`` (M, d) is that of the run; a choice that was loaded keeps its own.
        """
        write_text(folder / CHOICE_FILE, json.dumps(self.facts(), indent=2) + "\n")
        (folder / MEMORY_FILE).unlink(missing_ok=True)
        if self.memory is not None:
            self.memory.save(folder)
        (folder / BANK_FILE).unlink(missing_ok=True)
        if self.choice is not None and "bank" in self.choice.needs:
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
        anchor, name, fused = facts.pop("anchor"), facts.pop("keep", ""), facts.pop("fused", False)
        likely = facts.pop("likely", None)
        weights = facts.pop("weights", {})
        if weights and name != Consensus.__name__:
            facts["by"] = Reward(weights)
        chooses = weights or name == Consensus.__name__
        choice = build(Choice, {"name": name, **facts}) if chooses else None
        if choice is not None and (folder / BANK_FILE).is_file():
            choice.bank = load_file(folder / BANK_FILE)["bank"]
        likely = None if likely is None else Likely(**likely)
        memory = SetMemory.load(folder) if (folder / MEMORY_FILE).is_file() else None
        return cls(choice, anchor, fused, likely, memory)
