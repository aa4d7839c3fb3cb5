"""Fan-outs → methods to compare: one draw, the best of N, rank fusion; sub-queries from a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import distinct_first
from r4t.retriever import FanOut
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.seeds import query_seed
from r4t.sets import SetBatch, pad_rows

ORACLE = "(oracle)"


@dataclass
class FanOutMethod:
    """The sets of one fan-out a query.

    Attributes:
        name: In the tables.
        fan_out: Writes the directions.
        pool_size: Distinct items P retrieved a query.
        draw: Which of a query's random draws to take.
    """

    name: str
    fan_out: FanOut
    pool_size: int = 150
    draw: int = 0

    def with_draw(self, draw: int) -> "FanOutMethod":
        """Return the same method with another of its random draws."""
        return replace(self, draw=draw)

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


@dataclass
class Rrf:
    """Reciprocal-rank fusion (Cormack, Clarke & Büttcher 2009) of a fan-out's rankings.

    Each direction ranks the catalog; an item's score is ``Σ 1/(constant + rank)`` over the
    directions that rank it among their first ``depth``. The pool holds the items of highest score,
    where a plain fan-out takes the directions in turn; set and directions stay the fan-out's own,
    so that directions can be judged (of the items a user gets, the first of the pool count).

    Attributes:
        name: In the tables.
        fan_out: Writes the directions.
        searcher: Ranks the catalog.
        pool_size: Distinct items P retrieved a query.
        depth: Items ranked by each direction; the pool size by default. Where too few items are
            ranked, the fan-out's own pool follows.
        constant: 60 in the source; a smaller one favors first places.
        draw: Which of a query's random draws to take.
    """

    name: str
    fan_out: FanOut
    searcher: Searcher
    pool_size: int = 150
    depth: int | None = None
    constant: float = 60.0
    draw: int = 0

    def with_draw(self, draw: int) -> "Rrf":
        """Return the same method with another of its random draws."""
        return replace(self, draw=draw)

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        sets = _drawn(self.fan_out, queries, z, [self.draw], self.pool_size)
        assert sets.directions is not None  # every FanOut writes directions
        assert sets.pool is not None  # asked for
        batch, members, width = sets.directions.shape
        depth = self.pool_size if self.depth is None else self.depth
        _, found = self.searcher.index.search(sets.directions.reshape(-1, width), depth)
        found = found.view(batch, members, depth).masked_fill(~sets.mask.unsqueeze(-1), -1)
        fused = torch.cat([fused_ranking(found, self.constant), sets.pool], dim=1)
        return sets.extended(pool=distinct_first(fused, self.pool_size))


def fused_ranking(rankings: Tensor, constant: float = 60.0) -> Tensor:
    """Fuse several rankings by ``Σ 1/(constant + rank)``, ranks from 1.

    Args:
        rankings: (B, k, D) ids ≥ 0, best first; −1 where there is none.
        constant: Above −1.

    Returns:
        (B, k·D) distinct ids, the highest sum first, −1 padded; ties in the order in which the
        rankings, taken in turn, name them.

    Example:
        Id 7 is second twice, 2/62; the others are named once: 1/61, 1/61.

        >>> fused_ranking(torch.tensor([[[3, 7], [5, 7]]])).tolist()
        [[7, 3, 5, -1]]
    """
    batch, members, depth = rankings.shape
    ids = rankings.transpose(1, 2).reshape(batch, -1)  # in turn
    share = 1 / (constant + torch.arange(1, depth + 1, dtype=torch.float64))
    shares = share.repeat_interleave(members).expand(batch, -1)
    values, order = ids.sort(dim=1, stable=True)  # equal ids together, in turn
    begins = torch.ones_like(values, dtype=torch.bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    group = begins.cumsum(1) - 1
    totals = torch.zeros_like(shares).scatter_add(1, group, shares.gather(1, order))
    own = torch.zeros_like(shares).scatter(1, order, totals.gather(1, group))  # back in turn
    ranked = own.masked_fill(ids < 0, -1).argsort(dim=1, descending=True, stable=True)
    return distinct_first(ids.gather(1, ranked), members * depth)


class GivenSubqueries:
    """A fan-out by sub-queries written elsewhere: by hand, by a large model, by another program.

    Args:
        searcher: The frozen retriever.
        subqueries: Sub-queries by text of the query: one or more fan-outs, of which the seed
            takes one. Of a fan-out only the first k count.
        set_size: Number k of sub-queries asked for.
        origin: Where they come from, for messages.
    """

    def __init__(
        self,
        searcher: Searcher,
        subqueries: Mapping[str, Sequence[list[str]]],
        set_size: int = 10,
        origin: str = "the given sub-queries",
    ) -> None:
        self.searcher, self.subqueries = searcher, subqueries
        self.set_size, self.origin = set_size, origin

    @classmethod
    def read(
        cls,
        path: str | Path,
        searcher: Searcher,
        set_size: int = 10,
        queries: Sequence[Query] = (),
    ) -> "GivenSubqueries":
        """Read a JSONL file with a fan-out a line.

        A line is ``{"query": text, "subqueries": [text, …]}``, or has an ``"id"`` in place of the
        text; several lines of one query are several fan-outs of it.

        Args:
            path: The file (UTF-8).
            searcher: The frozen retriever.
            set_size: Number k of sub-queries asked for.
            queries: Whose texts the ids stand for; ids of other queries are passed over.

        Raises:
            InputError: There is no such file, or a line is not such an object.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(
                f"Given sub-queries are read from a JSONL file — found none at {path} — name the "
                "file."
            )
        texts = {query.id: query.text for query in queries}
        found: dict[str, list[list[str]]] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
            if line.strip():
                text, written = _parse(line, f"line {number} of {path}", texts)
                if text is not None:
                    found.setdefault(text, []).append(written)
        return cls(searcher, found, set_size, str(path))

    def __call__(
        self,
        texts: Sequence[str],
        vectors: Tensor,
        seeds: Sequence[int],
        *,
        references: Tensor | None = None,
        pool_size: int | None = None,
    ) -> SetBatch:
        """Return the sets of B queries.

        Raises:
            InputError: A query has no sub-queries.
        """
        missing = [text for text in dict.fromkeys(texts) if not self.subqueries.get(text)]
        if missing:
            raise InputError(
                f"Sub-queries must be given for every query — found none for {len(missing)} of "
                f"{len(set(texts))}, such as {missing[0]!r}, in {self.origin} — add a line for each."
            )
        choices = [self.subqueries[text] for text in texts]
        written = [choice[seed % len(choice)] for choice, seed in zip(choices, seeds, strict=True)]
        return self.searcher.fan_out_texts(
            vectors,
            written,
            self.set_size,
            query_texts=list(texts),
            references=references,
            pool_size=pool_size,
        )


def _parse(line: str, place: str, texts: Mapping[str, str]) -> tuple[str | None, list[str]]:
    """Text of the query (None for an id of another query) and its sub-queries."""
    try:
        row = json.loads(line)
        written = row["subqueries"]
        text = row["query"] if "query" in row else texts.get(row["id"])
        good = isinstance(written, list) and all(isinstance(q, str) and q.strip() for q in written)
        good = good and bool(written) and (text is None or isinstance(text, str))
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise InputError(
            'Given sub-queries are JSON objects with "id" or "query" and a list "subqueries" of '
            f"texts — found {line[:80]!r} at {place} — correct the line."
        )
    return text, written


def _drawn(
    fan_out: FanOut, queries: Sequence[Query], z: Tensor, draws: Sequence[int], pool_size: int
) -> SetBatch:
    """The fan-outs of B queries, one for each of their draws: B · draws sets, grouped by query."""
    texts = [query.text for query in queries for _ in draws]
    seeds = [query_seed(query.id, draw) for query in queries for draw in draws]
    return fan_out(texts, z.repeat_interleave(len(draws), 0), seeds, pool_size=pool_size)
