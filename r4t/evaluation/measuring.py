"""Methods and test queries → the value of every measure for every query, and seconds by part.

There are two kinds of number, kept apart by name. *Directions* judge the fan-out as the training
reward sees it: member i is the top-1 item of direction i, duplicates included; methods that only
pick items have none. *Items* judge what a user gets, alike for every method: the first k distinct
items of the pool, one of each group of variants, and the pool itself.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from r4t.catalog import BY_DEFAULT
from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.evaluation import measures
from r4t.evaluation.ground_truth import GroundTruth
from r4t.evaluation.latency import FRESH, measure_latency
from r4t.evaluation.results import DIRECTIONS, ITEMS, Results, Values, listed
from r4t.geometry import distinct_first
from r4t.methods.method import Method
from r4t.metrics import Score
from r4t.search import Searcher
from r4t.sets import SetBatch

Reasons = dict[str, list[str]]  # measure → one for each set, "" for none
OnSets = Callable[[str, list[Query], SetBatch, dict[str, Values], Reasons], None]
ACROSS_RUNS = DIRECTIONS + "vendi across runs"
EXPOSURE = ITEMS + "exposure"


class Scores:
    """Scores of both blocks, and why some were left out.

    Args:
        directions: Name → score of the fan-out, for methods with directions. A score with a method
            ``from_components`` is offered the earlier scores by name, (B,) each, so that nothing is
            scored twice; if it returns None, it is called like any other.
        items: Name → score of the k distinct items returned, and of their pool.
        optional: Names of scores that are left out for every method if they raise an ``InputError``
            (their metadata column is not in the catalog). Any other error ends the evaluation.

    Attributes:
        left_out: Name → why it was left out.
    """

    def __init__(
        self,
        directions: Mapping[str, Score],
        items: Mapping[str, Score] | None = None,
        optional: Collection[str] = (),
    ) -> None:
        self._blocks = {DIRECTIONS: dict(directions), ITEMS: {} if items is None else dict(items)}
        self._optional = optional
        self.left_out: dict[str, str] = {}

    def measure(self, block: str, sets: SetBatch) -> tuple[dict[str, Values], Reasons]:
        """Return the values and reasons of a block, ``DIRECTIONS`` or ``ITEMS``.

        Items are scored on ``returned`` sets. The values of directions are None for sets without.
        """
        applies = block == ITEMS or sets.directions is not None
        values: dict[str, Values] = {}
        reasons: Reasons = {}
        components: dict[str, Tensor] = {}
        for name, score in self._blocks[block].items():
            if name in self.left_out:
                continue
            try:
                scores, texts = _scored(score, sets, components) if applies else _none(sets)
            except InputError as error:
                if name not in self._optional:
                    raise
                self.left_out[name] = str(error)
                continue
            values[block + name], components[name] = listed(scores), scores
            if any(texts):
                reasons[block + name] = texts
        return values, reasons

    def without_left_out(self, values: dict[str, Values]) -> dict[str, Values]:
        """Drop what was left out after it had been measured on some queries."""
        dropped = {block + name for block in self._blocks for name in self.left_out}
        return {measure: numbers for measure, numbers in values.items() if measure not in dropped}

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return what objectives want stored beside their scores, such as a judge's model."""
        scores = self._blocks[DIRECTIONS] | self._blocks[ITEMS]
        facts: dict[str, Any] = {n: getattr(score, "facts", dict)() for n, score in scores.items()}
        return {name: value for name, value in facts.items() if value and name not in self.left_out}


@dataclass
class Plan:
    """How much to measure.

    Args:
        batch_size: Queries per call.
        across_runs: Runs N for Vendi across runs; 0 for none (paper, §7: 5).
        latency_batches: Batch sizes to time; none for no timing.
        latency_calls: Timed calls per method and batch size, after one that is not timed.
        untimed: Names of methods not to time.
        unrepeated: Names of methods whose Vendi across runs is not measured; nor is it for methods
            with fewer than N draws.
        draw: Which answers of each method are measured.
        distinct_by: Which items are variants and count once among the k returned, as of
            ``Catalog.variants``.

    Raises:
        InputError: If a number is out of range.
    """

    batch_size: int = 64
    across_runs: int = 0
    latency_batches: Sequence[int] = (1, 64)
    latency_calls: int = 5
    untimed: Collection[str] = ()
    unrepeated: Collection[str] = ()
    draw: int = 0
    distinct_by: str = BY_DEFAULT

    def __post_init__(self) -> None:
        check_least({"batch_size": (self.batch_size, 1), "across_runs": (self.across_runs, 0)})
        least = min(self.latency_batches, default=1)
        check_least({"latency_batches": (least, 1), "latency_calls": (self.latency_calls, 1)})
        if self.across_runs == 1:
            raise InputError(
                expected="two or more runs of a method, which Vendi across runs compares",
                found="across_runs 1, which would score every method 1",
                remedy="Use 5, as the paper does, or 0 for none.",
            )


@torch.no_grad()
def evaluate(
    methods: Sequence[Method],
    queries: Sequence[Query],
    searcher: Searcher,
    scores: Scores,
    ground_truth: GroundTruth | None = None,
    plan: Plan | None = None,
    on_sets: OnSets | None = None,
) -> Results:
    """Measure every method on every query.

    Only numbers and the rows of the items returned are kept; sets are dropped once they are scored.

    Args:
        methods: Built on ``searcher``, all with the same set size and pool size.
        queries: Test queries.
        searcher: Encodes them, and times the methods.
        scores: Objectives and other scores, by block.
        ground_truth: References, facets and subtopics; by default, the queries' references.
        plan: How much to measure.
        on_sets: Called with a method's name, B queries, the method's sets and, by measure, their
            values and the reasons of scores that give some (a judge).

    Raises:
        InputError: If there is no method or query, two methods have the same name, or their sets or
            pools differ in size.
    """
    plan = Plan() if plan is None else plan
    names = _names(methods, queries)
    truth = GroundTruth(searcher, queries) if ground_truth is None else ground_truth
    kept = _Kept(names)
    sizes: dict[str, tuple[int, int]] = {}
    variants = searcher.catalog.variants(plan.distinct_by)
    for batch, vectors in _batches(searcher, queries, plan.batch_size):
        fields = truth.fields(batch)
        judge: Callable[[SetBatch], dict[str, Values]] | None = None
        for method in methods:
            sets = method(batch, vectors, draw=plan.draw).extended(**fields)
            sets = sets.one_per_variant(variants)
            sizes[method.name] = _sizes(method.name, sets, sizes)
            items = returned(sets, searcher)
            judge = truth.judge(batch, items) if judge is None else judge
            measured, reasons = scores.measure(DIRECTIONS, sets)
            if plan.across_runs:
                measured[ACROSS_RUNS] = _across_runs(method, batch, vectors, sets, plan)
            of_items, reasons_of_items = scores.measure(ITEMS, items)
            measured |= of_items | judge(items)
            kept.add(method.name, measured, items.items)
            if on_sets is not None:
                on_sets(method.name, batch, sets, measured, reasons | reasons_of_items)
    settings: dict[str, Any] = dict(zip(("set_size", "pool_size"), sizes[names[0]]))
    settings |= {"catalog_items": len(searcher.catalog), "facts": scores.facts()}
    return Results(
        settings | {"left_out": truth.left_out | scores.left_out},
        queries=[query.id for query in queries],
        values={name: scores.without_left_out(kept.columns(name)) for name in names},
        latency=_latency(methods, searcher, queries, plan),
        texts=[query.text for query in queries],
        clusters=truth.clusters(queries),
    )


class _Kept:
    """What is kept of each method's answers: values by measure, and the items returned."""

    def __init__(self, names: Sequence[str]) -> None:
        self._values: dict[str, dict[str, Values]] = {name: {} for name in names}
        self._rows: dict[str, list[Tensor]] = {name: [] for name in names}

    def add(self, name: str, measured: Mapping[str, Values], rows: Tensor) -> None:
        """Keep values of B more queries, and the catalog rows (B, k) returned for them."""
        for measure, numbers in measured.items():
            self._values[name].setdefault(measure, []).extend(numbers)
        self._rows[name].append(rows)

    def columns(self, name: str) -> dict[str, Values]:
        """Return all values of a method, with those that depend on what all queries get."""
        exposures = listed(measures.exposure(torch.cat(self._rows[name])))
        known = any(value is not None for value in exposures)
        return self._values[name] | ({EXPOSURE: exposures} if known else {})


def _batches(
    searcher: Searcher, queries: Sequence[Query], size: int
) -> Iterator[tuple[list[Query], Tensor]]:
    for start in range(0, len(queries), size):
        batch = list(queries[start : start + size])
        yield batch, searcher.encode_queries([query.text for query in batch])


def _names(methods: Sequence[Method], queries: Sequence[Query]) -> list[str]:
    names = [method.name for method in methods]
    if not queries or not methods or len(set(names)) < len(names):
        raise InputError(
            expected="methods with different names and at least one query",
            found=f"methods {names} and {len(queries)} queries",
            remedy="Correct the methods or the split.",
        )
    return names


def _latency(
    methods: Sequence[Method], searcher: Searcher, queries: Sequence[Query], plan: Plan
) -> dict[str, dict[str, dict[str, float]]]:
    """Return method → batch size → seconds by part."""
    fresh = count(FRESH)
    return {
        method.name: {
            str(size): measure_latency(method, searcher, queries, size, plan.latency_calls, fresh)
            for size in plan.latency_batches
        }
        for method in methods
        if method.name not in plan.untimed
    }


def returned(sets: SetBatch, searcher: Searcher) -> SetBatch:
    """Return what a user gets: the first k distinct items of the pool as members, without directions.

    Fields that do not describe members (query, pool, references, …) stay. Without a pool, the
    distinct members are returned.
    """
    rows = distinct_first(sets.items if sets.pool is None else sets.pool, sets.set_size)
    return sets.extended(
        items=rows,
        item_embeddings=searcher.embeddings(rows),
        mask=rows >= 0,
        directions=None,
        texts=None,
    )


def _sizes(name: str, sets: SetBatch, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Return set size and pool size, which must be those of the other methods."""
    size = (sets.set_size, 0 if sets.pool is None else sets.pool.shape[1])
    other, expected = next(iter(sizes.items()), (name, size))
    if size != expected:
        raise InputError(
            expected=f"set size and pool size {expected} of every method, as of {other!r}",
            found=f"{size} for {name!r}",
            remedy="Give all methods the same sizes.",
        )
    return size


def _across_runs(
    method: Method, queries: list[Query], vectors: Tensor, sets: SetBatch, plan: Plan
) -> Values:
    """Return Vendi across the first N draws; None for a method that has fewer or no directions."""
    runs = plan.across_runs
    enough = method.draws is None or method.draws >= runs
    if sets.directions is None or not enough or method.name in plan.unrepeated:
        return [None] * len(sets)
    drawn = [sets, *(method(queries, vectors, draw=draw) for draw in range(1, runs))]
    return listed(measures.vendi_across_runs(drawn))


def values_of(score: Score, sets: SetBatch) -> Values:
    """Return B values; None if the sets, or the references of a query, lack what the score needs."""
    return listed(_scored(score, sets, {})[0])


def _scored(
    score: Score, sets: SetBatch, components: Mapping[str, Tensor]
) -> tuple[Tensor, list[str]]:
    """Return scores (B,) and reasons for them; ``components`` holds the scores before this one.

    Scores are NaN if the sets lack what the score needs, and for queries without the references
    or facets that it needs.
    """
    composed = getattr(score, "from_components", lambda _: None)(components)
    if composed is not None:
        return composed, []
    values, reasons = _none(sets)
    if not getattr(score, "accepts", lambda _: True)(sets):
        return values, reasons
    answerable = torch.ones(len(sets), dtype=torch.bool)
    needs = getattr(score, "needs", ())
    if "references" in needs and sets.references is not None:
        answerable &= (sets.references >= 0).any(-1).cpu()
    if "facets" in needs and sets.facets is not None:
        answerable &= sets.facets.flatten(1).any(1).cpu()
    rows = answerable.nonzero().flatten()
    if len(rows):
        chosen = sets if len(rows) == len(sets) else sets.select(rows)
        values[rows] = score(chosen).double().cpu()
        for row, reason in zip(rows.tolist(), getattr(score, "reasons", list)()):
            reasons[row] = reason
    return values, reasons


def _none(sets: SetBatch) -> tuple[Tensor, list[str]]:
    """Return no score (B,), which is NaN, and no reason."""
    return torch.full((len(sets),), torch.nan, dtype=torch.float64), [""] * len(sets)
