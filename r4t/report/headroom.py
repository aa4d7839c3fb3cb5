"""A run and an objective → how much tuning could gain at most, term by term, before any is done.

Every method is scored as a fan-out. Those that only pick items search with the items themselves, as
a fan-out that copies titles would: their groundedness is 1 by construction. So the composite alone
would say "copy titles", and every row is given term by term.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from r4t.choice import KNOWN
from r4t.data.queries import Query
from r4t.evaluation.latency import TimedSearcher
from r4t.evaluation.measuring import values_of
from r4t.evaluation.scores import COMPOSITE, Composite
from r4t.methods.bounds import GreedyBound, as_directions
from r4t.methods.nearest import Method
from r4t.methods.registry import Methods
from r4t.objective import Objective
from r4t.report.evaluation import Evaluation, run_truth
from r4t.report.table import Block, markdown
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.sets import SetBatch, pad_rows
from r4t.support.files import write_text
from r4t.support.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

JSON_FILE, MARKDOWN_FILE = "headroom.json", "headroom.md"
# The first of these that the run has is what tuning starts from, else the query k times.
QUERY_ITSELF = "the query itself"
COLUMNS = ("random", "current", "oracle", "greedy bound", "bound alone")
CURRENT = ("R4T-FOLM", "Zero-shot")
ORACLES = ("References (oracle)", "Oracle")
GROUNDEDNESS = "groundedness"  # the one term that copying titles fulfills


@dataclass(frozen=True)
class Headroom:
    """Means over queries, as a fan-out.

    Attributes:
        current: Name of what tuning starts from.
        queries: Number of queries measured.
        weights: Of the composite.
        rows: Objective (and "composite") → who → mean; None where it does not apply. Who is
            "random", "current", "oracle", "greedy bound" (for the composite) and "bound alone"
            (greedy for this very objective).
    """

    current: str
    queries: int
    weights: dict[str, float]
    rows: dict[str, dict[str, float | None]]

    @property
    def best(self) -> str:
        """What reaches the highest composite: the greedy bound or, without one, a known set."""
        row = self.rows[COMPOSITE]
        if row["greedy bound"] is not None:
            return "greedy bound"
        known = {name: _or_lowest(row[name]) for name in ("oracle", "random")}
        return max(known, key=lambda name: known[name])

    def gain(self, name: str) -> float | None:
        """Gain of an objective, or of the composite, from the current sets to the best ones."""
        best, current = self.rows[name][self.best], self.rows[name]["current"]
        return None if best is None or current is None else best - current

    def sentence(self) -> str:
        """Say what tuning can gain at most, and how much of it is groundedness."""
        whole = self.gain(COMPOSITE)
        if whole is None:
            return "Neither a greedy bound nor an oracle of this composite can be had."
        row = self.rows[COMPOSITE]
        # Sets that are there show what can be gained; only the bound says that no more can.
        most = "most" if self.best == "greedy bound" else "least"
        text = (
            f"RL can gain at {most} {whole:.3f} of the composite over {self.current} "
            f"({row['current']:.3f} → {row[self.best]:.3f}, {self.best})"
        )
        weight = self.weights.get(GROUNDEDNESS)
        grounded = self.gain(GROUNDEDNESS) if weight else None
        if grounded is None or not weight:
            return text + "."
        return (
            f"{text}, of which {weight * grounded:.3f} is groundedness, which copying item titles "
            f"would give without any better set."
        )


@torch.no_grad()
def measure_headroom(
    evaluation: Evaluation,
    methods: Methods,
    console: "Console",
) -> Headroom:
    """Score random sets, the current retriever, an oracle and the greedy bounds as fan-outs.

    Args:
        evaluation: Which run, split and weights; objectives may read references here.
        methods: At what sizes.
        console: Where queries that are left out are named.
    """
    run = evaluation.open()
    searcher = TimedSearcher(run.searcher(evaluation.index))
    reward = Reward(evaluation.weights, evaluation.objectives)
    queries = evaluation.asked(run, searcher, console)
    truth = run_truth(run, searcher)
    builders, _ = methods.builders(run, searcher, queries, reward, truth=truth)
    builders[QUERY_ITSELF] = lambda: QueryItself(searcher, methods.set_size, methods.pool_size)
    current = next((name for name in CURRENT if name in builders), QUERY_ITSELF)
    chosen = {"random": "Random", "current": current, "greedy bound": "Greedy bound"}
    chosen["oracle"] = next((name for name in ORACLES if name in builders), "")
    who = {column: builders[name]() for column, name in chosen.items() if name in builders}
    sizes = (methods.set_size, methods.pool_size)
    alone = {
        name: GreedyBound(searcher, objective, *sizes, name=f"bound of {name}")
        for name, objective in reward.objectives.items()
        if objective.needs <= KNOWN | {"query_texts"} and not objective.costly
    }
    values: dict[tuple[str, str], list[float | None]] = {}
    starts = range(0, len(queries), evaluation.batch_size)
    parts = [queries[start : start + evaluation.batch_size] for start in starts]
    for part in progress("headroom", parts):
        asked = _Asked(part, searcher)
        for column, method in who.items():
            for term, scores in _scored(reward, asked.fan_out(method)).items():
                values.setdefault((term, column), []).extend(scores)
        for term, bound in alone.items():
            found = values_of(reward.objectives[term], asked.fan_out(bound))
            values.setdefault((term, "bound alone"), []).extend(found)
    rows = {
        term: {column: _mean(values.get((term, column), [])) for column in COLUMNS}
        for term in [*reward.objectives, COMPOSITE]
    }
    return Headroom(current, len(queries), dict(reward.weights), rows)


@dataclass
class QueryItself:
    """A fan-out that has collapsed: the query k times. What there is before any model."""

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    name: str = QUERY_ITSELF

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        directions = z.unsqueeze(1).expand(-1, self.set_size, -1)
        texts = [[query.text] * self.set_size for query in queries]
        return self.searcher.retrieve(z, directions, texts=texts, pool_size=self.pool_size)


class _Asked:
    """Some queries, and what is known of them."""

    def __init__(self, queries: list[Query], searcher: Searcher) -> None:
        self._queries = queries
        texts = [query.text for query in queries]
        self._z = searcher.encode_queries(texts)
        self._known: dict[str, Any] = {"query_texts": texts}
        if any(query.references for query in queries):
            rows = [searcher.catalog.rows(query.references) for query in queries]
            self._known["references"] = pad_rows(rows)

    def fan_out(self, method: Method) -> SetBatch:
        """Return the method's sets; where it has no directions, its items are the directions."""
        sets = method(self._queries, self._z).extended(**self._known)
        return as_directions(sets) if sets.directions is None else sets


def _scored(reward: Reward, sets: SetBatch) -> dict[str, list[float | None]]:
    """Each objective and the composite, one value a query."""
    scores: dict[str, Objective | Composite] = {**reward.objectives, COMPOSITE: Composite(reward)}
    return {name: values_of(score, sets) for name, score in scores.items()}


def _or_lowest(value: float | None) -> float:
    return -math.inf if value is None else value


def blocks(found: Headroom) -> list[Block]:
    """Lay it out as one table: a line for each term, and what is to be gained."""
    header = ["term", "weight", *COLUMNS, "gain", "weighted gain"]
    rows = []
    for name, row in found.rows.items():
        weight = 1.0 if name == COMPOSITE else found.weights[name]
        gain = found.gain(name)
        cells = [_number(row[column]) for column in COLUMNS]
        gained = None if gain is None else weight * gain
        rows.append([name, f"{weight:g}", *cells, _number(gain), _number(gained)])
    title = f"Headroom, mean of {found.queries} queries; current: {found.current}"
    return [Block(title, header, rows)]


def notes(found: Headroom) -> list[str]:
    """Sentences below the table."""
    return [
        found.sentence(),
        "All are scored as fan-outs. Random sets and the oracle search with the items themselves, so "
        "their groundedness is 1; before any model the current fan-out is the query k times. The "
        "greedy bound adds directions one by one (items near the query, and blends of item and "
        "query), each the best for the composite; 'bound alone' does so for one objective. Greedy "
        "choices can be beaten, a little: read 'at most' as an estimate.",
    ]


def write_headroom(folder: str | Path, found: Headroom) -> None:
    """Write `headroom.json` and `headroom.md`."""
    write_text(Path(folder) / JSON_FILE, json.dumps(asdict(found), indent=2) + "\n")
    write_text(Path(folder) / MARKDOWN_FILE, markdown(blocks(found), notes(found)))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
