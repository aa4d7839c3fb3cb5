"""Methods and test queries → the value of every measure for every query, and seconds by part.

Two kinds of number come out, and their names keep them apart. *Directions* judge the fan-out as the
training reward sees it: member i is the top-1 item of direction i, duplicates included; methods that
only pick items have none. *Items* judge what a user gets, alike for every method: the first k
distinct items of the pool, and the pool itself.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.evaluation import measures
from r4t.evaluation.ground_truth import GroundTruth
from r4t.evaluation.latency import TimedSearcher, measure_latency
from r4t.evaluation.results import DIRECTIONS, ITEMS, Results, Values, listed
from r4t.geometry import distinct_first
from r4t.methods.nearest import Method
from r4t.search import Searcher
from r4t.sets import SetBatch

Score = Callable[[SetBatch], Tensor]  # an Objective, or any function to (B,) numbers
Reasons = dict[str, list[str]]  # measure → one a set, "" for none
OnSets = Callable[[str, list[Query], SetBatch, dict[str, Values], Reasons], None]
ACROSS_RUNS = DIRECTIONS + "vendi across runs"


@torch.no_grad()
def evaluate(
    methods: Sequence[Method],
    queries: Sequence[Query],
    searcher: TimedSearcher,
    directions: Mapping[str, Score],
    items: Mapping[str, Score] | None = None,
    *,
    optional: Collection[str] = (),
    truth: FacetTruth | None = None,
    subtopic_field: str | None = None,
    across_runs: int = 0,
    batch_size: int = 64,
    latency_batches: Sequence[int] = (1, 64),
    latency_calls: int = 5,
    untimed: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
    on_progress: Callable[[str, int], None] | None = None,
    on_sets: OnSets | None = None,
) -> Results:
    """Measure every method on every query.

    Only numbers are kept, one a query and measure; sets are gone once they are scored.

    Args:
        methods: Built on ``searcher``, all with the same set size and pool size.
        queries: Test queries.
        searcher: Encodes them, and times the methods.
        directions: Name → score of the fan-out, for methods with directions. A score with a method
            ``from_components`` is offered the scores before it by name, (B,) each, so that nothing
            is scored twice; where it returns None, it is called as any other.
        items: Name → score of the k distinct items returned, and of their pool.
        optional: Names among both that may be left out: where such a score raises an
            ``InputError`` (its metadata column is not in the catalog), it is dropped for every
            method and the reason kept in ``settings["left_out"]``. Any other score that raises
            ends the evaluation.
        truth: Latent facets, where the data has them.
        subtopic_field: Metadata column whose values are the subtopics of the reference items;
            "category" by default, where the catalog has it. The truth's slots go before it.
        across_runs: Runs N for "vendi across runs", of methods that offer ``with_draw``; 0 for
            none (paper, §7: 5). Methods whose ``repeats`` is False, or that say in ``draws`` that
            they have fewer than N, have no such value.
        batch_size: Queries per call.
        latency_batches: Batch sizes to time; none for no timing.
        latency_calls: Timed calls per method and batch size, after a first that is not timed.
        untimed: Names of methods that are not timed.
        settings: Kept with the results. Methods that ``settings["curves"]`` names are not timed.
        on_progress: Called with a method's name and the number of queries it has just answered.
        on_sets: Called with a method's name, B queries, the sets it answered, their values by
            measure, and by measure the reasons that a score gave for them (a judge's).

    Raises:
        InputError: There is no method or query, two methods have the same name, their sets or
            pools differ in size, the catalog has no column ``subtopic_field``, or a number is out
            of range.
    """
    _check_numbers(batch_size, across_runs, latency_batches, latency_calls)
    names = [method.name for method in methods]
    if not queries or not methods or len(set(names)) < len(names):
        raise InputError(
            f"An evaluation needs methods of different names and at least one query — found "
            f"methods {names} and {len(queries)} queries — correct the methods or the split."
        )
    scores = _Scores(directions, items if items is not None else {}, optional)
    known = GroundTruth(searcher, queries, truth, subtopic_field)
    values: dict[str, dict[str, Values]] = {name: {} for name in names}
    sizes: dict[str, tuple[int, int]] = {}
    for chosen, z in _batches(searcher, queries, batch_size):
        fields = known.fields(chosen)
        judge: Callable[[SetBatch], dict[str, Values]] | None = None
        for method in methods:
            sets = method(chosen, z).extended(**fields)
            sizes[method.name] = _sizes(method.name, sets, sizes)
            got = returned(sets, searcher)
            judge = known.judge(chosen, got) if judge is None else judge
            found, reasons = scores.of_directions(sets)
            if across_runs:
                found[ACROSS_RUNS] = _across_runs(method, chosen, z, sets, across_runs)
            of_items, more = scores.of_items(got)
            found |= of_items | judge(got)
            for measure, numbers in found.items():
                values[method.name].setdefault(measure, []).extend(numbers)
            if on_sets is not None:
                on_sets(method.name, chosen, sets, found, reasons | more)
            if on_progress is not None:
                on_progress(method.name, len(chosen))
    set_size, pool_size = sizes[names[0]]
    kept: dict[str, Any] = {"set_size": set_size, "pool_size": pool_size}
    kept |= {"catalog_items": len(searcher.catalog)}
    kept |= {"left_out": known.left_out | scores.left_out, "facts": scores.facts()}
    kept |= settings if settings is not None else {}
    measured = {name: scores.kept(found) for name, found in values.items()}
    ids, texts = [query.id for query in queries], [query.text for query in queries]
    results = Results(kept, ids, measured, texts=texts)
    for method in methods:
        if method.name in results.methods and method.name not in untimed:
            results.latency[method.name] = {
                str(batch): measure_latency(method, searcher, queries, batch, latency_calls)
                for batch in latency_batches
            }
    return results


def _check_numbers(
    batch_size: int, across_runs: int, latency_batches: Sequence[int], latency_calls: int
) -> None:
    """Refuse what would end the evaluation, or make its numbers void, after hours."""
    check_least(
        {
            "batch_size": (batch_size, 1),
            "across_runs": (across_runs, 0),
            "latency_batches": (min(latency_batches, default=1), 1),
            "latency_calls": (latency_calls, 1),
        }
    )
    if across_runs == 1:
        raise InputError(
            "Vendi across runs compares the runs of a method: it needs 2 or more — found "
            "across_runs 1, which would score every method 1 — set 5 as the paper has it, or 0 for "
            "none."
        )


def returned(sets: SetBatch, searcher: Searcher) -> SetBatch:
    """What a user gets: the first k distinct items of the pool as members, without directions.

    What does not speak of members (query, pool, references, …) is carried along. Without a pool,
    the distinct items among the members are returned.
    """
    rows = distinct_first(sets.items if sets.pool is None else sets.pool, sets.set_size)
    return sets.extended(
        items=rows,
        item_embeddings=searcher.embeddings(rows),
        mask=rows >= 0,
        directions=None,
        texts=None,
    )


def _batches(
    searcher: TimedSearcher, queries: Sequence[Query], size: int
) -> Iterator[tuple[list[Query], Tensor]]:
    for start in range(0, len(queries), size):
        chosen = list(queries[start : start + size])
        yield chosen, searcher.encode_queries([query.text for query in chosen])


def _sizes(name: str, sets: SetBatch, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Set size and pool size, the same for all methods."""
    found = (sets.set_size, 0 if sets.pool is None else sets.pool.shape[1])
    for other, size in sizes.items():
        if size != found:
            raise InputError(
                f"Methods are compared at the same set size and pool size — found {found} for "
                f"{name!r} and {size} for {other!r} — give both the same."
            )
    return found


def _across_runs(
    method: Method, queries: list[Query], z: Tensor, sets: SetBatch, runs: int
) -> Values:
    """Vendi across runs: the method's own draw and the next ones; None without so many."""
    with_draw: Callable[[int], Method] | None = getattr(method, "with_draw", None)
    draws: int | None = getattr(method, "draws", None)
    repeats = getattr(method, "repeats", True) and (draws is None or draws >= runs)
    if with_draw is None or sets.directions is None or not repeats:
        return [None] * len(sets)
    own = getattr(method, "draw", 0)
    others = [draw for draw in range(runs) if draw != own][: runs - 1]
    drawn = [sets, *(with_draw(draw)(queries, z) for draw in others)]
    return listed(measures.vendi_across_runs(drawn))


class _Scores:
    """The scores of both blocks, and which of them had to be left out, why."""

    def __init__(
        self,
        directions: Mapping[str, Score],
        items: Mapping[str, Score],
        optional: Collection[str],
    ) -> None:
        self._blocks = {DIRECTIONS: directions, ITEMS: items}
        self._optional = optional
        self.left_out: dict[str, str] = {}

    def of_directions(self, sets: SetBatch) -> tuple[dict[str, Values], Reasons]:
        """Values of the block "directions"; None of each for sets without directions."""
        return self._values(DIRECTIONS, sets, sets.directions is not None)

    def of_items(self, sets: SetBatch) -> tuple[dict[str, Values], Reasons]:
        """Values of the block "items", of ``returned`` sets."""
        return self._values(ITEMS, sets, True)

    def _values(
        self, block: str, sets: SetBatch, applies: bool
    ) -> tuple[dict[str, Values], Reasons]:
        found: dict[str, Values] = {}
        reasons: Reasons = {}
        raw: dict[str, Tensor] = {}
        for name, score in self._blocks[block].items():
            if name in self.left_out:
                continue
            try:
                scores, said = _scored(score, sets, raw) if applies else (None, [])
            except InputError as error:
                if name not in self._optional:
                    raise
                self.left_out[name] = str(error)
                continue
            found[block + name] = _listed(scores, sets)
            if scores is not None:
                raw[name] = scores
            if any(said):
                reasons[block + name] = said
        return found, reasons

    def kept(self, values: dict[str, Values]) -> dict[str, Values]:
        """Without what was left out after it had been measured on some queries."""
        gone = {block + name for block in self._blocks for name in self.left_out}
        return {measure: numbers for measure, numbers in values.items() if measure not in gone}

    def facts(self) -> dict[str, dict[str, Any]]:
        """What the objectives want stored beside their scores, such as a judge's model."""
        scores = {**self._blocks[DIRECTIONS], **self._blocks[ITEMS]}
        found: dict[str, dict[str, Any]] = {
            name: getattr(score, "facts", dict)() for name, score in scores.items()
        }
        return {name: facts for name, facts in found.items() if facts and name not in self.left_out}


def values_of(score: Score, sets: SetBatch) -> Values:
    """B values; None where the sets lack what the score needs, or a query has no references."""
    return _listed(_scored(score, sets, {})[0], sets)


def _listed(scores: Tensor | None, sets: SetBatch) -> Values:
    return [None] * len(sets) if scores is None else listed(scores)


def _scored(
    score: Score, sets: SetBatch, before: Mapping[str, Tensor]
) -> tuple[Tensor | None, list[str]]:
    """Scores (B,), NaN for queries without the references they need, and the reasons for them.

    None where the sets lack what the score needs. ``before`` holds the scores already found.
    """
    composed = getattr(score, "from_components", lambda _: None)(before)
    if composed is not None:
        return composed, []
    if not getattr(score, "accepts", lambda _: True)(sets):
        return None, []
    rows = torch.arange(len(sets))
    if "references" in getattr(score, "needs", ()) and sets.references is not None:
        rows = (sets.references >= 0).any(-1).nonzero().flatten().cpu()
    values = torch.full((len(sets),), torch.nan, dtype=torch.float64)
    reasons = [""] * len(sets)
    if len(rows):
        asked = sets if len(rows) == len(sets) else sets.select(rows)
        values[rows] = score(asked).double().cpu()
        for row, reason in zip(rows.tolist(), getattr(score, "reasons", list)()):
            reasons[row] = reason
    return values, reasons
