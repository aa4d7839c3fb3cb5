"""A run → which objective ranks sets as the truth does, and which one list for all would satisfy.

It tells before tuning what a reward will do.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation import measures
from r4t.evaluation.agreement import mean_interval, of_means, over_methods, within
from r4t.evaluation.ground_truth import GroundTruth
from r4t.evaluation.measuring import Scores, returned, values_of
from r4t.evaluation.results import ITEMS, as_tensor, numbered
from r4t.evaluation.scores import COMPOSITE, Composite
from r4t.fanout.exchange import exchanged
from r4t.methods.context import MethodContext
from r4t.methods.language import LanguageMethod
from r4t.methods.lineup import MethodOptions
from r4t.methods.method import Method
from r4t.metrics import Score
from r4t.objective import Objective
from r4t.report.agreement_table import DRAWS, Agreement, Row
from r4t.report.evaluation import Evaluation
from r4t.report.headroom import CURRENT
from r4t.reward import Reward, query_free_share
from r4t.search import Searcher
from r4t.sets import ANSWERS, SetBatch
from r4t.support.progress import progress
from r4t.support.seeds import query_seed

if TYPE_CHECKING:
    from rich.console import Console

LISTS = 48  # queries that exchange their lists, at most
FACETS, RECALL = "true-facet recall", "recall of the references in the pool"
Truth = Callable[[list[Query], SetBatch], Tensor]  # B queries and their sets → (B,), NaN for none
Table = dict[str, Tensor]  # method → (n, draws)


@torch.no_grad()
def measure_agreement(
    evaluation: Evaluation, options: MethodOptions, console: "Console"
) -> Agreement:
    """Compare every objective that costs nothing with the best truth that there is.

    Run, split, index, weights and objectives are those of ``evaluation``. Sets are scored as in
    training: member i is the top-1 item of direction i, or the i-th item of a re-ranking.

    Raises:
        InputError: If nothing is known about the queries, or there is no query or method.
    """
    run = evaluation.open()
    searcher = run.searcher(evaluation.index)
    reward = Reward(evaluation.weights, evaluation.objectives)
    queries = evaluation.test_queries(run, searcher, console)
    training: list[Query] | None = None if evaluation.split in ("test", "val") else []
    context = options.context(run, searcher, queries, reward, training)
    lineup = replace(options, curves=[], dpp_curves=[]).line_up(context)
    methods = [method for method in lineup.methods if method.name not in lineup.untimed]
    if not methods or not queries:
        raise InputError(
            expected="at least one query and one method that answers it",
            found=f"{len(queries)} queries and {len(methods)} methods",
            remedy="Correct the methods or the split.",
        )
    name, truth = known_truth(context, reward)
    audited, left_out = evaluation.audited(reward)
    scores = _Scores(reward, audited)
    draws = {method.name: _draws(method, lineup.unrepeated) for method in methods}
    size = evaluation.batch_size
    batches = [queries[start : start + size] for start in range(0, len(queries), size)]
    known, scored = _measure(methods, draws, batches, searcher, truth, scores)
    listing = _listing(methods, draws)
    some = queries[:: math.ceil(len(queries) / LISTS)]
    free = _query_free(_given_all(listing, some, searcher, options.pool_size), scores)
    drawn = [method for method, number in draws.items() if number > 1]
    clusters = numbered(GroundTruth(searcher, queries, context.truth).clusters(queries))
    rows = {
        n: _row(table, known, drawn, free.get(n, math.nan), clusters)
        for n, table in scored.items()
        if n not in scores.left_out  # perhaps after some batches
    }
    rows = {n: row for n, row in rows.items() if row.methods}
    reads = {n for n, each in scores.objectives.items() if each.needs & ANSWERS}
    return Agreement(
        truth=name,
        queries=len(queries),
        methods=[method.name for method in methods],
        drawn=drawn,
        lists=listing.name,
        rows=rows,
        excluded=sorted(reads & rows.keys()) if context.truth is None else [],
        left_out=left_out | scores.left_out,
    )


def known_truth(context: MethodContext, reward: Reward) -> tuple[str, Truth]:
    """Return the best truth about the context's queries: facets, references or a judge.

    Facets are the latent ones of a benchmark, or gold facets of the references.

    Raises:
        InputError: If there is none of them.
    """
    searcher, facets = context.searcher, context.truth
    if facets is not None:

        def facet_recall(queries: list[Query], sets: SetBatch) -> Tensor:
            fits = facets.fits([query.id for query in queries])
            return measures.facet_recall(returned(sets, searcher).items, fits, facets.slots)

        return FACETS, facet_recall
    if any(query.facets for query in context.queries):
        return FACETS, lambda _, sets: measures.gold_facet_recall(returned(sets, searcher))
    if any(query.references for query in context.queries):
        return RECALL, lambda _, sets: measures.pool_recall(sets)
    judges = [(name, each) for name, each in reward.objectives.items() if each.costly]
    if judges:
        name, judge = judges[0]
        return f"'{name}'", lambda _, sets: as_tensor(values_of(judge, returned(sets, searcher)))
    raise InputError(
        expected="something known about the queries, to compare objectives with",
        found=f"neither latent facets nor references in {context.run.folder}, and no judge",
        remedy="Name a judge in weights (0 is enough), or use queries with references.",
    )


class _Scores(Scores):
    """The objectives that cost nothing, and the composite unless it costs something."""

    def __init__(self, reward: Reward, audited: Mapping[str, Objective]) -> None:
        cheap = {name: each for name, each in reward.objectives.items() if not each.costly}
        self.objectives = {**cheap, **audited}
        whole: dict[str, Score] = {} if reward.costly else {COMPOSITE: Composite(reward)}
        super().__init__({}, {**self.objectives, **whole}, optional=set(audited))

    def of(self, sets: SetBatch) -> dict[str, Tensor]:
        """Return name → (B,) scores, NaN where the sets lack what an objective reads."""
        values, _ = self.measure(ITEMS, sets)
        return {name.removeprefix(ITEMS): as_tensor(each) for name, each in values.items()}


def _draws(method: Method, single: Collection[str]) -> int:
    """How often to ask a method; once if it answers by several draws itself."""
    if method.name in single:
        return 1
    return DRAWS if method.draws is None else min(DRAWS, method.draws)


def _answers(
    method: Method, queries: Sequence[Query], searcher: Searcher, draw: int = 0
) -> SetBatch:
    """Return a method's sets with all that is known about their queries."""
    texts = [query.text for query in queries]
    sets = method(queries, searcher.encode_queries(texts), draw=draw)
    shared = {"catalog": searcher.catalog, "popularity": searcher.popularity, "bank": searcher.bank}
    return sets.extended(query_texts=texts, **searcher.reference_fields(queries), **shared)


def _measure(
    methods: Sequence[Method],
    draws: Mapping[str, int],
    batches: Sequence[list[Query]],
    searcher: Searcher,
    truth: Truth,
    scores: _Scores,
) -> tuple[Table, dict[str, Table]]:
    """Return the truth of every method's sets, and objective → scores of them."""
    known: dict[str, list[Tensor]] = {}
    scored: dict[str, dict[str, list[Tensor]]] = {}
    for batch in progress("agreement", batches):
        for method in methods:
            number = draws[method.name]
            every = [_answers(method, batch, searcher, draw) for draw in range(number)]
            truths = [truth(batch, sets).double() for sets in every]
            known.setdefault(method.name, []).append(torch.stack(truths, 1))
            columns = [scores.of(sets) for sets in every]
            for name in columns[-1]:
                table = scored.setdefault(name, {}).setdefault(method.name, [])
                table.append(torch.stack([column[name] for column in columns], 1))
    return _joined(known), {name: _joined(table) for name, table in scored.items()}


def _joined(parts: Mapping[str, list[Tensor]]) -> Table:
    return {method: torch.cat(each) for method, each in parts.items()}


def _listing(methods: Sequence[Method], draws: Mapping[str, int]) -> Method:
    """Return the method whose lists to exchange: what tuning starts from, or one that samples."""
    for key in CURRENT:
        for method in methods:
            if method.key == key:
                return method
    return max(methods, key=lambda method: draws[method.name] > 1)


def _given_all(
    method: Method, queries: list[Query], searcher: Searcher, pool_size: int
) -> Iterator[SetBatch]:
    """Yield, for each query, its sets with the lists of all queries.

    A language model's completions are read anew for each query, so that words to add are added to
    that query. Sets of other methods are exchanged as they are.
    """
    if isinstance(method, LanguageMethod):
        model, temperature = method.writer.model, method.writer.temperature
        seeds = [query_seed(query.id, 0) for query in queries]
        fanouts = model.sample([query.text for query in queries], seeds, 1, temperature)
        readable = [text for text, each in zip(fanouts.texts, fanouts.subqueries) if each]
        for query in queries if readable else ():
            yield exchanged([query], readable, model.form, searcher, pool_size)
        return
    sets = _answers(method, queries, searcher)
    for row in range(len(queries)):
        own = sets.select(torch.full((len(queries),), row))
        fields = {name: getattr(own, name) for name in ("query", "query_texts", *ANSWERS)}
        yield sets.extended(**fields)


def _query_free(given: Iterable[SetBatch], scores: _Scores) -> dict[str, float]:
    """Return objective → the share of its variance within a query that is the same for all."""
    rows: dict[str, list[Tensor]] = {}
    for sets in given:
        for name, values in scores.of(sets).items():
            rows.setdefault(name, []).append(values)
    return {name: query_free_share(torch.stack(each)) for name, each in rows.items()}


def _row(scores: Table, truth: Table, drawn: Sequence[str], free: float, clusters: Tensor) -> Row:
    groups = within({name: scores[name] for name in drawn}, truth)
    by_method = {name: mean_interval(values, clusters) for name, values in groups.items()}
    means = torch.stack(list(groups.values())).nanmean(0) if groups else None
    across = of_means(scores, truth)
    return Row(
        in_group=None if means is None else mean_interval(means, clusters),
        fan=mean_interval(over_methods(scores, truth), clusters),
        across=None if math.isnan(across) else across,
        query_free=None if math.isnan(free) else free,
        methods=sum(not values.isnan().all() for values in scores.values()),
        by_method={name: each for name, each in by_method.items() if each is not None},
    )
