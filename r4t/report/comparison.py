"""A run and a few queries → what several methods answer to each, scored as in the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r4t.catalog import BY_DEFAULT
from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.evaluation.measuring import Plan, Reasons, Scores, evaluate
from r4t.evaluation.scores import COMPOSITE, scores_by_block
from r4t.methods.chosen import unused_choices
from r4t.methods.context import MethodContext
from r4t.methods.lineup import Lineup, line_up
from r4t.methods.registry import find
from r4t.objective import Objective
from r4t.report.answers import Answer, NamedScores, checked_columns, make_answers, short_columns
from r4t.report.evaluation import Evaluation
from r4t.retriever import POOL
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Searcher
from r4t.sets import SetBatch

COMPARED = ("zero-shot", "folm", "diffusion", "mmr", "no-fan-out")  # paper, figures 3 and 6


@dataclass(frozen=True)
class Comparison:
    """Answers of several methods to the same queries."""

    title: str
    answers: Sequence[Answer]  # of all methods, query by query, in the order to be shown
    about: Mapping[str, str] = field(default_factory=dict)  # method → what it is, in a few words
    # Score → its lowest and highest possible value, if that is not 0 … 1.
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(
        default_factory=dict
    )  # that answers depend on: encoder, seed …
    notes: Sequence[str] = ()  # what is missing, and why

    @property
    def methods(self) -> list[str]:
        """Names of the methods, each once."""
        return list(dict.fromkeys(answer.method for answer in self.answers))

    def by_query(self) -> list[list[Answer]]:
        """Return the answers to each query."""
        answers: dict[tuple[str, str], list[Answer]] = {}
        for answer in self.answers:
            answers.setdefault((answer.query_id, answer.query), []).append(answer)
        return list(answers.values())


def compare_answers(
    folder: str | Path,
    queries: Sequence[Query | str],
    *,
    methods: Sequence[str] = COMPARED,
    size: int = 10,
    seed: int = 0,
    fields: Sequence[str] | None = None,
    index: str = "torch",
    distinct_by: str = BY_DEFAULT,
) -> Comparison:
    """Ask several methods of a run the same queries, and score their answers.

    Args:
        folder: Run folder.
        queries: Queries, or texts that stand for the run's query of that text, each answered once.
        methods: Keys or names of methods ("folm", "R4T-FOLM", "mmr").
        size: Items k that a method returns.
        seed: Draw of methods that sample; the tables show draw 0.
        fields: Metadata columns to show; by default the first three whose values are short.
        index: ``torch`` or ``faiss``.
        distinct_by: Which items count once, as of ``Catalog.variants``.

    Raises:
        InputError: If the encoder knows no word of a query, a name is unknown, the run has none of
            the methods, or ``size`` does not fit the catalog or a model.
    """
    evaluation = Evaluation(run=str(folder), index=index)
    run, reward = evaluation.open(), evaluation.reward()
    searcher = run.searcher(index)
    searcher.catalog.variants(distinct_by)  # refuses an unknown column
    columns = short_columns(searcher.catalog) if fields is None else fields
    collector = _Collector(checked_columns(searcher.catalog, columns))
    distinct = list({(query.id, query.text): query for query in run.as_queries(queries)}.values())
    searcher.encode_queries([query.text for query in distinct])  # refuses before models are loaded
    sizes = _sizes(searcher, size)
    context = MethodContext(run, searcher, *sizes, distinct, reward=reward)
    lineup = line_up(context, methods)
    _check_any(lineup, run)
    audited, left_out = evaluation.audited(reward)
    collector.audited = audited
    left_out |= evaluate(
        lineup.methods,
        distinct,
        searcher,
        Scores(*scores_by_block(reward, audited), set(audited)),
        plan=Plan(latency_batches=(), draw=seed, distinct_by=distinct_by),
        on_sets=collector,
    ).settings["left_out"]
    by_query = zip(*(collector.answers[method.name] for method in lineup.methods))
    answers = [_without(answer, left_out) for row in by_query for answer in row]
    return Comparison(
        title=_title(distinct),
        answers=answers,
        about={entry.title(context.best_of): entry.about for entry in find(methods)},
        scales=_scales(reward, {**reward.objectives, **audited}, size),
        facts=_facts(context, reward, seed, distinct_by),
        notes=[*_about_methods(lineup, run), *_unscored(answers, collector.refused | left_out)],
    )


def _sizes(searcher: Searcher, size: int) -> tuple[int, int]:
    """Return set size and pool size."""
    check_least({"size": (size, 1)})
    return searcher.check_pool(size), min(max(size, POOL), len(searcher.catalog))


def _title(queries: Sequence[Query]) -> str:
    subject = f"“{queries[0].text}”" if len(queries) == 1 else f"{len(queries)} queries"
    return f"Sets for {subject}, method by method"


def _check_any(lineup: Lineup, run: Run) -> None:
    if not lineup.methods:
        absent = "; ".join(f"{name}: {reason}" for name, reason in lineup.absent.items())
        raise InputError(
            expected=f"at least one method that the run in {run.folder} has",
            found=f"none ({absent})" if absent else "none",
            remedy="Name others, such as mmr.",
        )


def _about_methods(lineup: Lineup, run: Run) -> list[str]:
    missing = [f"{name} is missing: {reason}." for name, reason in lineup.absent.items()]
    return missing + unused_choices(run, lineup.methods)


def _facts(context: MethodContext, reward: Reward, seed: int, distinct_by: str) -> dict[str, str]:
    return {
        "run": context.run.folder.resolve().name,
        "catalog": f"{len(context.searcher.catalog):,} items",
        "encoder": context.searcher.encoder_name,
        "set": f"{context.set_size} items of a pool of {context.pool_size}",
        "composite": " + ".join(f"{weight:g} {name}" for name, weight in reward.weights.items()),
        "distinct by": distinct_by,
        "seed": str(seed),
    }


@dataclass
class _Collector:
    """Keeps the answers of each method, and why audited objectives did not score them."""

    metadata: Mapping[str, Sequence[Any]]
    audited: Mapping[str, Objective] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        method: str,
        queries: list[Query],
        sets: SetBatch,
        scores: NamedScores,
        reasons: Reasons,
    ) -> None:
        answers = make_answers(method, queries, sets, scores, self.metadata, reasons)
        self.answers.setdefault(method, []).extend(answers)
        for name, objective in self.audited.items():
            if name not in self.refused and not objective.accepts(sets):
                try:
                    objective(sets)
                    self.refused[name] = "it does not apply to these sets."
                except InputError as error:
                    self.refused[name] = str(error)


def _without(answer: Answer, left_out: Mapping[str, str]) -> Answer:
    """Drop scores that were left out after some queries had them."""
    scores = {n: v for n, v in answer.scores.items() if n.partition("/")[2] not in left_out}
    return replace(answer, scores=scores)


def _scales(
    reward: Reward, objectives: Mapping[str, Objective], size: int
) -> dict[str, tuple[float, float]]:
    scales = {f"directions/{COMPOSITE}": reward.bounds, "items/vendi": (0.0, float(size))}
    for name, objective in objectives.items():
        scales |= {f"directions/{name}": objective.bounds, f"items/{name}": objective.bounds}
    return scales


def _unscored(answers: Sequence[Answer], reasons: Mapping[str, str]) -> list[str]:
    """Name each installed objective that scored no answer, and say why."""
    scores = [item for answer in answers for item in answer.scores.items()]
    scored = {name.partition("/")[2] for name, value in scores if value is not None}
    return [
        f"Not scored: {name}, because: {reason}"
        for name, reason in sorted(reasons.items())
        if name not in scored
    ]
