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

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation import measures
from r4t.evaluation.baselines import Method
from r4t.evaluation.known import Known
from r4t.evaluation.latency import TimedSearcher, measure_latency
from r4t.evaluation.results import DIRECTIONS, ITEMS, Results, Values, listed
from r4t.evaluation.truth import FacetTruth
from r4t.geometry import distinct_first
from r4t.search import Searcher
from r4t.sets import SetBatch

Score = Callable[[SetBatch], Tensor]  # an Objective, or any function to (B,) numbers
OnSets = Callable[[str, list[Query], SetBatch, dict[str, Values]], None]
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
        directions: Name → score of the fan-out, for methods with directions.
        items: Name → score of the k distinct items returned, and of their pool.
        optional: Names among both that may be left out: where such a score raises an
            ``InputError`` (its metadata column is not in the catalog), it is dropped for every
            method and the reason kept in ``settings["left_out"]``. Any other score that raises
            ends the evaluation.
        truth: Latent facets, where the data has them.
        subtopic_field: Metadata column whose values are the subtopics of the reference items;
            "category" by default, where the catalog has it. The truth's slots go before it.
        across_runs: Runs N for "vendi across runs", of methods that offer ``with_draw``; 0 for
            none (paper, §7: 5).
        batch_size: Queries per call.
        latency_batches: Batch sizes to time; none for no timing.
        latency_calls: Timed calls per method and batch size, after a first that is not timed.
        untimed: Names of methods that are not timed.
        settings: Kept with the results. Methods that ``settings["curves"]`` names are not timed.
        on_progress: Called with a method's name and the number of queries it has just answered.
        on_sets: Called with a method's name, B queries, the sets it answered, and their values by
            measure.

    Raises:
        InputError: There is no method or query, two methods have the same name, their sets or
            pools differ in size, or the catalog has no column ``subtopic_field``.
    """
    names = [method.name for method in methods]
    if not queries or not methods or len(set(names)) < len(names):
        raise InputError(
            f"An evaluation needs methods of different names and at least one query — found "
            f"methods {names} and {len(queries)} queries — correct the methods or the split."
        )
    scores = _Scores(directions, items if items is not None else {}, optional)
    known = Known(searcher, queries, truth, subtopic_field)
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
            found = scores.of_directions(sets)
            if across_runs:
                found[ACROSS_RUNS] = _across_runs(method, chosen, z, sets, across_runs)
            found |= scores.of_items(got) | judge(got)
            for measure, numbers in found.items():
                values[method.name].setdefault(measure, []).extend(numbers)
            if on_sets is not None:
                on_sets(method.name, chosen, sets, found)
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
    """Vendi across runs: the method's own draw and the next ones; None without draws."""
    with_draw: Callable[[int], Method] | None = getattr(method, "with_draw", None)
    if with_draw is None or sets.directions is None:
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

    def of_directions(self, sets: SetBatch) -> dict[str, Values]:
        """Values of the block "directions"; None of each for sets without directions."""
        return self._values(DIRECTIONS, sets, sets.directions is not None)

    def of_items(self, sets: SetBatch) -> dict[str, Values]:
        """Values of the block "items", of ``returned`` sets."""
        return self._values(ITEMS, sets, True)

    def _values(self, block: str, sets: SetBatch, applies: bool) -> dict[str, Values]:
        found: dict[str, Values] = {}
        for name, score in self._blocks[block].items():
            if name in self.left_out:
                continue
            try:
                found[block + name] = _scored(score, sets) if applies else [None] * len(sets)
            except InputError as error:
                if name not in self._optional:
                    raise
                self.left_out[name] = str(error)
        return found

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


def _scored(score: Score, sets: SetBatch) -> Values:
    """B values; None where the sets lack what the score needs, or a query has no references."""
    accepts: Callable[[SetBatch], bool] = getattr(score, "accepts", lambda _: True)
    if not accepts(sets):
        return [None] * len(sets)
    if "references" not in getattr(score, "needs", ()) or sets.references is None:
        return listed(score(sets))
    rows = (sets.references >= 0).any(-1).nonzero().flatten()
    values = torch.full((len(sets),), torch.nan, dtype=torch.float64)
    if len(rows):
        values[rows] = score(sets.select(rows)).double()
    return listed(values)
