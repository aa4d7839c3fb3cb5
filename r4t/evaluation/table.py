"""Methods and test queries → per-query values, and their table in the terminal and in Markdown."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation import measures
from r4t.evaluation.baselines import Method
from r4t.evaluation.latency import PARTS, TimedSearcher, measure_latency
from r4t.evaluation.results import Difference, Results
from r4t.evaluation.truth import FacetTruth
from r4t.sets import SetBatch, pad_rows

if TYPE_CHECKING:
    from rich.console import Console

DIRECTIONS, ITEMS = "directions/", "items/"

NOTE = (
    "The two kinds of numbers are kept apart: the first block judges the directions that were "
    "searched with, which methods that only pick items do not have; the second judges the items "
    "returned, as many for every method and out of pools of equal size. Compare methods with and "
    "without directions by the second block only."
)

Score = Callable[[SetBatch], Tensor]


def evaluate(
    methods: Sequence[Method],
    queries: Sequence[Query],
    searcher: TimedSearcher,
    objectives: Mapping[str, Score],
    *,
    truth: FacetTruth | None = None,
    batch_size: int = 64,
    latency_batches: Sequence[int] = (1, 64),
    latency_calls: int = 5,
    settings: Mapping[str, Any] | None = None,
    on_progress: Callable[[str, int], None] | None = None,
) -> Results:
    """Measure every method on every query.

    Args:
        methods: Built on ``searcher``, all with the same set size and pool size.
        queries: Test queries.
        searcher: Encodes them, and times the methods.
        objectives: Name → score of a SetBatch, for the block "directions".
        truth: Latent facets, where the data has them.
        batch_size: Queries per call.
        latency_batches: Batch sizes to time; none for no timing.
        latency_calls: Timed calls per method and batch size, after a first that is not timed.
        settings: Kept with the results.
        on_progress: Called with a method's name and the number of queries it has just answered.

    Raises:
        InputError: There is no method or query, two methods have the same name, or their sets or
            pools differ in size.
    """
    names = [method.name for method in methods]
    if not queries or not methods or len(set(names)) < len(names):
        raise InputError(
            f"An evaluation needs methods of different names and at least one query — found "
            f"methods {names} and {len(queries)} queries — correct the methods or the split."
        )
    values: dict[str, dict[str, list[float | None]]] = {name: {} for name in names}
    sizes: dict[str, tuple[int, int]] = {}
    for chosen, z in _batches(searcher, queries, batch_size):
        references = pad_rows([searcher.catalog.rows(query.references) for query in chosen])
        fits = None if truth is None else truth.fits([query.id for query in chosen])
        for method in methods:
            sets = method(chosen, z).extended(references=references)
            sizes[method.name] = _sizes(method.name, sets, sizes)
            found = _directions(sets, objectives) | _items(sets, truth, fits)
            for measure, scores in found.items():
                values[method.name].setdefault(measure, []).extend(scores)
            if on_progress is not None:
                on_progress(method.name, len(chosen))
    latency = {
        method.name: {
            str(batch): measure_latency(method, searcher, queries, batch, latency_calls)
            for batch in latency_batches
        }
        for method in methods
    }
    set_size, pool_size = sizes[names[0]]
    kept = {"set_size": set_size, "pool_size": pool_size, **(settings if settings else {})}
    return Results(kept, [query.id for query in queries], values, latency)


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


def _listed(scores: Tensor) -> list[float | None]:
    """Numbers rounded to six places; None for NaN, where a measure does not apply."""
    return [None if value != value else round(value, 6) for value in scores.double().tolist()]


def _directions(sets: SetBatch, objectives: Mapping[str, Score]) -> dict[str, list[float | None]]:
    if sets.directions is None:
        return {DIRECTIONS + name: [None] * len(sets) for name in objectives}
    return {DIRECTIONS + name: _listed(score(sets)) for name, score in objectives.items()}


def _items(
    sets: SetBatch, truth: FacetTruth | None, fits: Tensor | None
) -> dict[str, list[float | None]]:
    found = {
        "vendi": measures.item_vendi(sets),
        "cosine": measures.mean_cosine(sets),
        "distinct": measures.distinct_items(sets),
    }
    if sets.references is not None and sets.references.shape[1] > 0 and sets.pool is not None:
        found |= {"recall": measures.pool_recall(sets), "hit": measures.pool_hit(sets)}
    if truth is not None and fits is not None:
        found["facet recall"] = measures.facet_recall(sets.items, fits, truth.slots)
        found["fit precision"] = measures.fit_precision(sets.items, fits)
        if sets.pool is not None:
            found["pool facet recall"] = measures.facet_recall(sets.pool, fits, truth.slots)
            found["pool fit precision"] = measures.fit_precision(sets.pool, fits)
    return {ITEMS + name: _listed(scores) for name, scores in found.items()}


@dataclass(frozen=True)
class Block:
    """A titled part of the table, as text."""

    title: str
    header: list[str]
    rows: list[list[str]]


def blocks(results: Results, differences: Sequence[Difference] = ()) -> list[Block]:
    """Lay results out: directions, returned items, seconds, paired differences."""
    size, pool = results.settings["set_size"], results.settings["pool_size"]
    count = len(results.queries)
    titles = {
        DIRECTIONS: f"Directions, mean of {count} queries",
        ITEMS: f"Returned items: {size} items, pool of {pool}, mean of {count} queries",
    }
    found = []
    for prefix, title in titles.items():
        names = [name for name in results.measures if name.startswith(prefix)]
        rows = [
            [method, *(_number(results.mean(method, name)) for name in names)]
            for method in results.values
        ]
        found.append(Block(title, ["method", *(name.removeprefix(prefix) for name in names)], rows))
    found += _latency_block(results)
    if differences:
        rows = [
            [f"{d.first} − {d.second}", d.measure, f"{d.mean:+.3f}", _interval(d)]
            for d in differences
        ]
        header = ["paired difference", "measure", "mean", "95 % interval"]
        found.append(Block("Differences over the same queries", header, rows))
    return [block for block in found if block.rows and len(block.header) > 1]


def _latency_block(results: Results) -> list[Block]:
    batches = list(dict.fromkeys(b for timed in results.latency.values() for b in timed))
    parts = (*PARTS, "total")
    header = ["method", *(f"{part}, batch {batch}" for batch in batches for part in parts)]
    rows = [
        [method, *(_milliseconds(timed[batch][part]) for batch in batches for part in parts)]
        for method, timed in results.latency.items()
    ]
    return [Block("Milliseconds per query", header, rows)]


def _interval(difference: Difference) -> str:
    return f"{difference.low:+.3f} … {difference.high:+.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g}"


def markdown(found: Iterable[Block]) -> str:
    """The blocks as Markdown tables, and the note that keeps the two kinds apart."""
    parts = []
    for block in found:
        rule = ["---", *["---:"] * (len(block.header) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (block.header, rule, *block.rows)]
        parts.append("\n".join([f"**{block.title}**", "", *lines]))
    return "\n\n".join([*parts, NOTE]) + "\n"


def write_results(
    folder: str | Path, results: Results, differences: Sequence[Difference] = ()
) -> None:
    """Write `results.json`, with every value of every query, and `results.md`."""
    results.save(folder)
    text = markdown(blocks(results, differences))
    (Path(folder) / "results.md").write_text(text, encoding="utf-8")


def print_results(
    console: "Console", results: Results, differences: Sequence[Difference] = ()
) -> None:
    """Print the blocks as tables, and the note."""
    from rich.table import Table

    for block in blocks(results, differences):
        table = Table(title=block.title, title_justify="left")
        for number, name in enumerate(block.header):
            table.add_column(name, justify="right" if number else "left")
        for row in block.rows:
            table.add_row(*row)
        console.print(table)
    console.print(NOTE)
