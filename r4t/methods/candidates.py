"""Methods as teachers: queries → candidate sets of all of them, in the same terms, for synthesis."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.methods.bounds import ReferenceSets
from r4t.methods.context import MethodContext, TooFewSets, Unavailable
from r4t.methods.language import LanguageMethod
from r4t.methods.method import Method
from r4t.methods.registry import MethodEntry, find
from r4t.methods.training_sets import FOLDS, fold
from r4t.search import Searcher
from r4t.sets import SetBatch, join_sets


@dataclass
class Teachers:
    """Methods whose sets compete to be imitated: G candidates for each query.

    All candidates have directions, so that one reward scores them in the same terms and each can be
    a row to imitate. A method that ranks items (MMR) searched with none: its directions are its
    items, because the direction that retrieves an item is the item's own embedding. So its
    groundedness is 1, and its alignment that of the items.

    Args:
        searcher: The frozen retriever.
        methods: At least one, in the order of the candidates.
        samples: Fan-outs per query of a language model.
        draws: Sets per query of any other method that has as many.
        pool_size: Number P of items in the pool of each candidate; None for no pool.

    Attributes:
        keys: Key of the method of each of the G candidates.
    """

    searcher: Searcher
    methods: Sequence[Method]
    samples: int
    draws: int = 1
    pool_size: int | None = None

    def __post_init__(self) -> None:
        self.keys = [method.key for method in self.methods for _ in range(self._count(method))]

    @property
    def set_size(self) -> int | None:
        """Number k of sub-queries that the language models write; None without a language model."""
        sizes = {size for method in self.methods if (size := written(method)) is not None}
        if len(sizes) > 1:
            raise InputError(
                expected="teachers that write equally many sub-queries",
                found=f"{' and '.join(map(str, sorted(sizes)))}",
                remedy="Leave one of them out.",
            )
        return sizes.pop() if sizes else None

    def __call__(self, queries: Sequence[Query]) -> tuple[SetBatch, list[list[str]]]:
        """Answer B queries.

        Returns:
            B·G sets, grouped by query, with references if there are any, a pool on request, and
            texts only if all teachers write sub-queries: a reward that reads texts must not compare
            sets with and without. And B·G lists of sub-queries, empty where none were written.
        """
        vectors = self.searcher.encode_queries([query.text for query in queries])
        answers = [self._answers(method, queries, vectors) for method in self.methods]
        sets = _by_query([_completed(sets) for sets in answers], len(queries))
        repeated = [query for query in queries for _ in self.keys]
        scored = sets.extended(
            query_texts=[query.text for query in repeated],
            **self.searcher.reference_fields(repeated),
            pool=None if self.pool_size is None else sets.pool,
            texts=None if any(answer.texts is None for answer in answers) else sets.texts,
        )
        return scored, [] if sets.texts is None else sets.texts

    def _count(self, method: Method) -> int:
        if isinstance(method, LanguageMethod):
            return self.samples
        return self.draws if method.draws is None else max(1, min(self.draws, method.draws))

    def _answers(self, method: Method, queries: Sequence[Query], vectors: Tensor) -> SetBatch:
        if isinstance(method, LanguageMethod):
            return method.samples(queries, vectors, self.samples, self.pool_size)
        draws = range(self._count(method))
        return _by_query([method(queries, vectors, draw=draw) for draw in draws], len(queries))


@dataclass
class CrossFitted:
    """A method that remembers training sets, but never one of the query that it answers.

    Queries are dealt into parts by their text; what answers a part was built from the others.

    Args:
        parts: The same method for each of the ``FOLDS`` parts.
    """

    parts: Sequence[Method]

    def __post_init__(self) -> None:
        first = self.parts[0]
        self.key, self.name, self.draws = first.key, first.name, first.draws

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        parts = torch.tensor([fold(query) for query in queries])
        rows = [(parts == number).nonzero().flatten() for number in range(FOLDS)]
        answers = [
            method([queries[row] for row in mine.tolist()], vectors[mine], draw=draw)
            for method, mine in zip(self.parts, rows, strict=True)
            if len(mine)
        ]
        return join_sets(answers).select(torch.cat(rows).argsort())


def build_teachers(
    names: Sequence[str], context: MethodContext, samples: int, draws: int, pool_size: int | None
) -> Teachers:
    """Build teachers by key or name; all of them have the set size of a language model among them.

    Args:
        names: Keys or names of methods; a repeated one counts once.
        context: Its queries are those to be answered, whose references no teacher remembers, and
            its set size is that without a language model.
        samples: As of ``Teachers``, like the others.
        draws: See ``Teachers``.
        pool_size: See ``Teachers``.

    Raises:
        InputError: If there is no name, a name is unknown, the run lacks what a teacher needs, or
            two language models write unequally many sub-queries.
    """
    if not names:
        raise InputError(
            expected="at least one teacher, the key of a method",
            found="none",
            remedy="Name some in teachers, such as [folm, mmr].",
        )
    chosen = find(names, context.best_of)

    rows = context.set_size  # of a target set, which may hold more references than sub-queries

    def build(context: MethodContext) -> Teachers:
        methods = [_build(entry, context, rows) for entry in chosen]
        return Teachers(context.searcher, methods, samples, draws, pool_size)

    teachers = build(context)
    size = teachers.set_size
    if size in (None, context.set_size) or len(chosen) == 1:
        return teachers
    return build(replace(context, set_size=size, pool_size=max(size, context.pool_size)))


def _build(entry: MethodEntry, context: MethodContext, rows: int) -> Method:
    if entry.key == "references" and any(query.references for query in context.queries):
        sizes = {"set_size": rows, "pool_size": max(rows, context.pool_size)}
        return ReferenceSets(searcher=context.searcher, **sizes, key=entry.key, name=entry.name)
    try:
        try:
            return entry.build(context)
        except TooFewSets:
            parts = [[q for q in context.queries if fold(q) == part] for part in range(FOLDS)]
            return CrossFitted([entry.build(replace(context, queries=part)) for part in parts])
    except Unavailable as error:
        raise InputError(
            expected="teachers that this run has",
            found=f"'{entry.key}', but {error.reason}",
            remedy=error.remedy.replace("another method", "another teacher"),
        ) from None


def written(method: Method) -> int | None:
    """Return how many sub-queries the language model behind a method writes; None without one."""
    model = getattr(method, "method", method)  # that of BestOf
    return model.writer.model.form.set_size if isinstance(model, LanguageMethod) else None


def _completed(sets: SetBatch) -> SetBatch:
    """Return the sets with directions, their items if there were none, and with lists of texts."""
    directions = sets.item_embeddings if sets.directions is None else sets.directions
    texts: list[list[str]] = [[] for _ in range(len(sets))] if sets.texts is None else sets.texts
    return sets.extended(directions=directions, texts=texts)


def _by_query(batches: Sequence[SetBatch], queries: int) -> SetBatch:
    """Join batches of B·G_i sets, each grouped by query, into B·ΣG_i sets grouped by query."""
    places = torch.arange(sum(map(len, batches))).split([len(batch) for batch in batches])
    order = torch.cat([place.view(queries, -1) for place in places], dim=1)
    return join_sets(batches).select(order.flatten())
