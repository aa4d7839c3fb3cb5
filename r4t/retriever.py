"""A run and a query → a set of items: the public query-time interface.

from r4t.retriever import Retriever
retriever = Retriever.load("runs/toy")
print(retriever("bohemian festival style"))
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from r4t.choice import Choice, QueryTime
from r4t.errors import InputError, nearest
from r4t.run import Run, command_for
from r4t.search import Searcher, anchored, check_anchor
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed

MODELS = {
    "diffusion": "distill/model",
    "student": "accelerate/model",
    "folm": "tune/model",
    "zero-shot": "warm_start/model",
}


class FanOut(Protocol):
    """Queries to sets, by whatever writes the directions."""

    def __call__(
        self,
        texts: Sequence[str],
        vectors: Tensor,
        seeds: Sequence[int],
        *,
        references: Tensor | None = None,
        pool_size: int | None = None,
    ) -> SetBatch:
        """Return the sets of B queries; each depends on its own seed, not on the batch."""


class DiffusionFanOut:
    """All directions at once, from the diffusion retriever.

    It may generate more directions than it uses: all L rows of several draws, of which a choice
    keeps k by an objective (without one, the first k of one draw: rows have no order).

    Args:
        searcher: The frozen retriever.
        generator: Generates L directions a query and draw.
        set_size: Directions k used.
        choice: Generates several sets and keeps the best rows or the best set.
        anchor: Share of the query in each direction, from 0 to below 1; see ``anchored``.

    Raises:
        InputError: There are fewer directions than ``set_size``, or ``anchor`` is out of range.
    """

    def __init__(
        self,
        searcher: Searcher,
        generator: Any,
        set_size: int = 10,
        choice: Choice | None = None,
        anchor: float = 0.0,
    ) -> None:
        check_anchor(anchor)
        most = _directions(generator, choice)
        if set_size > most:
            raise InputError(
                f"The diffusion retriever generates {most} directions, found a wish for {set_size}; "
                "ask for fewer, or distill with a larger set_size."
            )
        self.searcher = searcher
        self.generator = generator
        self.set_size = set_size
        self.choice = choice
        self.anchor = anchor

    def __call__(
        self,
        texts: Sequence[str],
        vectors: Tensor,
        seeds: Sequence[int],
        *,
        references: Tensor | None = None,
        pool_size: int | None = None,
    ) -> SetBatch:
        """Return the sets of B queries."""
        draws = 1 if self.choice is None else self.choice.draws
        drawn = [query_seed(str(seed), draw) for seed in seeds for draw in range(draws)]
        rows = self.generator(vectors.repeat_interleave(draws, 0), drawn)
        rows = anchored(vectors.repeat_interleave(draws, 0), rows, self.anchor)
        rows = rows.unflatten(0, (len(vectors), draws))  # (B, M, L, d)
        if self.choice is None:
            directions = rows[:, 0, : self.set_size]
        else:
            directions = self.choice(self.searcher, vectors, rows, self.set_size)
        return self.searcher.retrieve(
            vectors,
            directions,
            query_texts=list(texts),
            references=references,
            pool_size=pool_size,
        )

    @classmethod
    def load(cls, searcher: Searcher, folder: Path, set_size: int = 10) -> "DiffusionFanOut":
        """Load what step 3 or 4 exported: the generator, and how to choose among its directions."""
        from r4t.diffusion.generator import DirectionGenerator

        generator, query_time = DirectionGenerator.load(folder), QueryTime.load(folder)
        size = min(set_size, _directions(generator, query_time.choice))
        return cls(searcher, generator, size, query_time.choice, query_time.anchor)


def _directions(generator: Any, choice: Choice | None) -> int:
    """How many directions there are to choose from."""
    pooled = choice is not None and choice.pools_rows
    length: int = generator.set_size
    return length * choice.draws if choice is not None and pooled else length


class LanguageFanOut:
    """Sub-queries written by a fan-out language model.

    Args:
        searcher: The frozen retriever.
        model: Writes k sub-queries a query.
        temperature: Of sampling.
    """

    def __init__(self, searcher: Searcher, model: Any, temperature: float = 0.9) -> None:
        self.searcher = searcher
        self.model = model
        self.temperature = temperature

    def __call__(
        self,
        texts: Sequence[str],
        vectors: Tensor,
        seeds: Sequence[int],
        *,
        references: Tensor | None = None,
        pool_size: int | None = None,
    ) -> SetBatch:
        """Return the sets of B queries."""
        return self.searcher.retrieve_texts(
            vectors,
            self.subqueries(texts, seeds),
            self.model.form.set_size,
            query_texts=list(texts),
            references=references,
            pool_size=pool_size,
            anchor=self.model.form.anchor,
        )

    def subqueries(self, texts: Sequence[str], seeds: Sequence[int]) -> list[list[str]]:
        """Write the sub-queries of B queries."""
        written: list[list[str]] = self.model.sample(texts, seeds, 1, self.temperature).subqueries
        return written


@dataclass(frozen=True)
class RetrievedItem:
    """One item of a set.

    Attributes:
        id: Of the catalog.
        text: Of the catalog.
        score: Cosine with the direction that is nearest to it.
        query_score: Cosine with the query.
        subquery: Text of that direction; empty where directions have none.
        metadata: The catalog's columns.
    """

    id: str
    text: str
    score: float
    query_score: float
    subquery: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrievedSet:
    """The answer to a query: distinct items, those of the directions' first choice first."""

    query: str
    items: list[RetrievedItem]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Any:
        return iter(self.items)

    def __str__(self) -> str:
        return "\n".join(f"{item.score:6.3f}  {item.text}" for item in self.items)


class Retriever:
    """Answers broad queries with sets of distinct items.

    Args:
        searcher: The frozen retriever.
        fan_out: Writes the directions.
    """

    def __init__(self, searcher: Searcher, fan_out: FanOut) -> None:
        self.searcher = searcher
        self.fan_out = fan_out

    @classmethod
    def load(cls, run: str | Path, model: str = "diffusion", backend: str = "torch") -> "Retriever":
        """Load a run's model, catalog and index.

        Args:
            run: Run folder.
            model: ``diffusion`` (fast), ``student`` (its few-step student, faster), ``folm`` (the language
                model) or ``zero-shot`` (the language model before tuning).
            backend: Of the index: ``torch`` or ``faiss``.

        Raises:
            InputError: There is no such run or model, or the run has not come so far.
        """
        if model not in MODELS:
            raise InputError(
                f"A retriever's model must be one of {sorted(MODELS)}, found '{model}'."
                f"{nearest(model, MODELS)}"
            )
        opened = Run.open(run)
        searcher = opened.searcher(backend)
        folder = opened.folder / MODELS[model]
        if not folder.is_dir():
            there = [name for name, place in MODELS.items() if (opened.folder / place).is_dir()]
            others = f", or ask what is there: {', '.join(there)}" if there else ""
            raise InputError(
                f"Model '{model}' of a run lies in {folder} — found no such folder — run the steps "
                f"up to it, which ends with {command_for(MODELS[model], opened.folder)}{others}."
            )
        if model in ("diffusion", "student"):
            return cls(searcher, DiffusionFanOut.load(searcher, folder))
        from r4t.fanout.model import FanoutModel

        return cls(searcher, LanguageFanOut(searcher, FanoutModel.load(folder)))

    def __call__(self, query: str, size: int = 10, seed: int = 0) -> RetrievedSet:
        """Return ``size`` distinct items for ``query``.

        Args:
            query: Broad query.
            size: Number of items.
            seed: Other seeds give other sets.

        Raises:
            InputError: The query is empty or of unknown words, or ``size`` does not fit the catalog.
        """
        return self.many([query], size, seed)[0]

    @torch.no_grad()
    def many(self, queries: Sequence[str], size: int = 10, seed: int = 0) -> list[RetrievedSet]:
        """Return one set for each query, in one batch."""
        if size < 1:
            raise InputError(f"A set needs at least one item, found size {size}; ask for 10, say.")
        vectors = self.searcher.encode_queries(list(queries))
        sets = self.fan_out(queries, vectors, [seed] * len(queries), pool_size=size)
        return [self._set(query, sets, row) for row, query in enumerate(queries)]

    @cached_property
    def _metadata(self) -> dict[str, list[Any]]:
        catalog = self.searcher.catalog
        return {name: catalog.column(name) for name in catalog.columns}

    def _set(self, query: str, sets: SetBatch, row: int) -> RetrievedSet:
        assert sets.pool is not None  # asked for above
        assert sets.directions is not None  # every FanOut writes directions
        catalog = self.searcher.catalog
        rows = [item for item in sets.pool[row].tolist() if item >= 0]
        vectors = catalog.embeddings[rows]
        cosines = vectors @ sets.directions[row].T
        scores, found_by = cosines.masked_fill(~sets.mask[row], -torch.inf).max(1)
        query_scores = vectors @ sets.query[row]
        names = sets.texts[row] if sets.texts is not None else []
        items = [
            RetrievedItem(
                id=catalog.ids[item],
                text=catalog.texts[item],
                score=round(scores[place].item(), 4),
                query_score=round(query_scores[place].item(), 4),
                subquery=names[by] if (by := int(found_by[place])) < len(names) else "",
                metadata={name: column[item] for name, column in self._metadata.items()},
            )
            for place, item in enumerate(rows)
        ]
        return RetrievedSet(query, items)
