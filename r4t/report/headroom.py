"""A run and an objective → how much tuning could gain at most, term by term, before it starts.

Every method is scored as a fan-out. Methods that only pick items search with the items themselves,
like a fan-out that copies titles, so their groundedness is 1 by construction. The composite alone
would favor copying titles, so the terms are reported one by one.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from r4t.choice import KNOWN
from r4t.data.queries import Query
from r4t.evaluation.measuring import values_of
from r4t.evaluation.scores import COMPOSITE, Composite
from r4t.methods.bounds import GreedyBound
from r4t.methods.context import MethodContext, Unavailable
from r4t.methods.lineup import MethodOptions
from r4t.methods.method import Method
from r4t.methods.registry import find
from r4t.objective import Objective
from r4t.report.evaluation import Evaluation
from r4t.report.table import Block, markdown
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.files import write_text
from r4t.support.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

JSON_FILE, MARKDOWN_FILE = "headroom.json", "headroom.md"
COLUMNS = ("random", "current", "oracle", "greedy bound", "bound alone")
CURRENT = ("folm", "zero-shot")  # tuning starts from the first that the run has
ORACLES = ("references", "oracle")
GROUNDEDNESS = "groundedness"  # the one term that copying titles fulfills


@dataclass(frozen=True)
class Headroom:
    """Means over queries, as fan-outs."""

    current: str  # name of the method that tuning starts from
    queries: int  # how many were measured
    weights: dict[str, float]  # of the composite
    # Objective (and "composite") → one of COLUMNS → mean; None where it does not apply. The greedy
    # bound is for the composite, "bound alone" for this very objective.
    rows: dict[str, dict[str, float | None]]

    @property
    def best(self) -> str:
        """The column with the highest composite: the greedy bound or, without one, a known set."""
        row = self.rows[COMPOSITE]
        if row["greedy bound"] is not None:
            return "greedy bound"
        return max(
            ("oracle", "random"), key=lambda name: -math.inf if (x := row[name]) is None else x
        )

    def gain(self, name: str) -> float | None:
        """Gain of an objective, or of the composite, from the current sets to the best ones."""
        best, current = self.rows[name][self.best], self.rows[name]["current"]
        return None if best is None or current is None else best - current

    def sentence(self) -> str:
        """Say what tuning can gain at most, and how much of it is groundedness."""
        whole = self.gain(COMPOSITE)
        if whole is None:
            return "This composite has neither a greedy bound nor an oracle."
        row = self.rows[COMPOSITE]
        # Existing sets show what can be gained; only the bound says that no more can.
        most = "most" if self.best == "greedy bound" else "least"
        text = (
            f"RL can gain at {most} {whole:.3f} of the composite over {self.current} "
            f"({row['current']:.3f} → {row[self.best]:.3f}, {self.best})"
        )
        weight = self.weights.get(GROUNDEDNESS, 0.0)
        grounded = self.gain(GROUNDEDNESS) if weight else None
        if grounded is None:
            return text + "."
        return (
            f"{text}. Of that, {weight * grounded:.3f} is groundedness, which copying item titles "
            f"would gain without a better set."
        )


@torch.no_grad()
def measure_headroom(
    evaluation: Evaluation, options: MethodOptions, console: "Console"
) -> Headroom:
    """Score random sets, the current retriever, an oracle and the greedy bounds as fan-outs.

    Run, split, index and weights are those of ``evaluation``; objectives may read references here.
    """
    run = evaluation.open()
    searcher = run.searcher(evaluation.index)
    reward = Reward(evaluation.weights, evaluation.objectives)
    queries = evaluation.test_queries(run, searcher, console)
    context = options.context(run, searcher, queries, reward)
    sizes = (options.set_size, options.pool_size)
    current = _first(context, *CURRENT) or QueryItself(searcher, *sizes)
    methods: dict[str, Method | None] = {
        "random": _first(context, "random"),
        "current": current,
        "oracle": _first(context, *ORACLES),
        "greedy bound": _first(context, "greedy-bound"),
    }
    bounds = {
        name: GreedyBound(searcher, objective, *sizes)
        for name, objective in reward.objectives.items()
        if objective.needs <= KNOWN | {"query_texts"} and not objective.costly
    }
    terms: dict[str, Objective | Composite] = {**reward.objectives, COMPOSITE: Composite(reward)}
    values: dict[tuple[str, str], list[float | None]] = {}
    starts = range(0, len(queries), evaluation.batch_size)
    batches = [queries[start : start + evaluation.batch_size] for start in starts]
    for batch in progress("headroom", batches):
        for column, method in methods.items():
            if method is not None:
                sets = _as_fanout(method, batch, searcher)
                for term, score in terms.items():
                    values.setdefault((term, column), []).extend(values_of(score, sets))
        for term, bound in bounds.items():
            scores = values_of(terms[term], _as_fanout(bound, batch, searcher))
            values.setdefault((term, "bound alone"), []).extend(scores)
    rows = {
        term: {column: _mean(values.get((term, column), [])) for column in COLUMNS}
        for term in terms
    }
    return Headroom(current.name, len(queries), dict(reward.weights), rows)


def _first(context: MethodContext, *keys: str) -> Method | None:
    """Build the first method of some keys that the run has."""
    for entry in find(keys):
        try:
            return entry.build(context)
        except Unavailable:
            continue
    return None


@dataclass
class QueryItself:
    """A collapsed fan-out: the query k times. Tuning starts from it if there is no model yet."""

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    key: str = "query-itself"
    name: str = "the query itself"
    draws: int | None = 1

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        directions = vectors.unsqueeze(1).expand(-1, self.set_size, -1)
        texts = [[query.text] * self.set_size for query in queries]
        return self.searcher.retrieve(vectors, directions, texts=texts, pool_size=self.pool_size)


def _as_fanout(method: Method, queries: list[Query], searcher: Searcher) -> SetBatch:
    """Return a method's sets; if it has no directions, its items are the directions."""
    texts = [query.text for query in queries]
    sets = method(queries, searcher.encode_queries(texts))
    sets = sets.extended(query_texts=texts, **searcher.reference_fields(queries))
    if sets.directions is None:
        sets = sets.extended(directions=sets.item_embeddings)
    return sets


def blocks(headroom: Headroom) -> list[Block]:
    """Return a table with a line for each term and its gain."""
    header = ["term", "weight", *COLUMNS, "gain", "weighted gain"]
    rows = []
    for name, row in headroom.rows.items():
        weight = 1.0 if name == COMPOSITE else headroom.weights[name]
        gain = headroom.gain(name)
        cells = [_number(row[column]) for column in COLUMNS]
        gained = None if gain is None else weight * gain
        rows.append([name, f"{weight:g}", *cells, _number(gain), _number(gained)])
    title = f"Headroom, mean of {headroom.queries} queries; current: {headroom.current}"
    return [Block(title, header, rows)]


def notes(headroom: Headroom) -> list[str]:
    """Return the sentences below the table."""
    return [
        headroom.sentence(),
        "All are scored as fan-outs. Random sets and the oracle search with the items themselves, so "
        "their groundedness is 1. Before there is a model, the current fan-out is the query k times. "
        "The greedy bound adds directions one by one (items near the query, and blends of item and "
        "query), each the best for the composite; 'bound alone' does so for one objective. Greedy "
        "choices are not quite the best: read 'at most' as an estimate.",
    ]


def write_headroom(folder: str | Path, headroom: Headroom) -> None:
    """Write `headroom.json` and `headroom.md`."""
    write_text(Path(folder) / JSON_FILE, json.dumps(asdict(headroom), indent=2) + "\n")
    write_text(Path(folder) / MARKDOWN_FILE, markdown(blocks(headroom), notes(headroom)))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None
