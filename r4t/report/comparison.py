"""A run and a few queries → what several methods answer to each, scored as in the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.evaluation.measuring import Plan, Reasons, Scores, evaluate
from r4t.evaluation.results import Values
from r4t.evaluation.scores import COMPOSITE, scores_by_block
from r4t.methods.context import MethodContext
from r4t.methods.lineup import Lineup, line_up
from r4t.methods.registry import find
from r4t.objective import Objective
from r4t.report.answers import Answer, checked_columns, make_answers, short_columns
from r4t.report.evaluation import Evaluation
from r4t.retriever import POOL
from r4t.reward import Reward
from r4t.sets import SetBatch

COMPARED = ("zero-shot", "folm", "diffusion", "mmr", "no-fan-out")  # paper, figures 3 and 6


@dataclass(frozen=True)
class Comparison:
    """Answers of several methods to the same queries.

    Attributes:
        title: Of the whole.
        answers: Of all methods to all queries, query by query, in the order to be shown.
        about: Method → what it is, in a few words.
        scales: Score → the lowest and highest value it can have, where that is not 0 … 1.
        facts: What the answers depend on, by name: run, encoder, seed, …
        notes: What is missing, and why.
    """

    title: str
    answers: Sequence[Answer]
    about: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def methods(self) -> list[str]:
        """Names of the methods, each once."""
        return list(dict.fromkeys(answer.method for answer in self.answers))

    def by_query(self) -> list[list[Answer]]:
        """Return the answers to each query."""
        found: dict[tuple[str, str], list[Answer]] = {}
        for answer in self.answers:
            found.setdefault((answer.query_id, answer.query), []).append(answer)
        return list(found.values())


def compare_answers(
    folder: str | Path,
    queries: Sequence[Query | str],
    *,
    methods: Sequence[str] = COMPARED,
    size: int = 10,
    seed: int = 0,
    fields: Sequence[str] | None = None,
    index: str = "torch",
) -> Comparison:
    """Ask several methods of a run the same queries, and score their answers.

    Args:
        folder: Of the run.
        queries: Queries, or texts that stand for the run's query of that text, each asked once.
            Their references are scored against and marked.
        methods: Keys or names of methods ("folm", "R4T-FOLM", "mmr").
        size: Items k a method returns.
        seed: Draw of methods that sample; 0 is the draw of the tables.
        fields: Metadata columns to show; by default the first three whose values are short.
        index: ``torch`` or ``faiss``.

    Raises:
        InputError: If the encoder knows no word of a query, a name is unknown, the run has none of
            the methods, or ``size`` fits neither the catalog nor the models.
    """
    evaluation = Evaluation(run=str(folder), index=index)
    run, reward = evaluation.open(), evaluation.reward()
    searcher = evaluation.searcher(run)
    columns = short_columns(searcher.catalog) if fields is None else fields
    metadata = checked_columns(searcher.catalog, columns)
    asked = list({(query.id, query.text): query for query in run.as_queries(queries)}.values())
    searcher.encode_queries([query.text for query in asked])  # refuses before models are loaded
    check_least({"size": (size, 1)})
    searcher.check_pool(size)
    pool_size = min(max(size, POOL), len(searcher.catalog))
    context = MethodContext(run, searcher, size, pool_size, asked, reward=reward)
    lineup = _line_up(context, methods)
    audited, left_out = evaluation.audited(reward)
    collector = _Collector(metadata, audited)
    results = evaluate(
        lineup.methods,
        asked,
        searcher,
        Scores(*scores_by_block(reward, audited), set(audited)),
        plan=Plan(latency_batches=(), draw=seed),
        on_sets=collector,
    )
    left_out |= results.settings["left_out"]
    by_query = zip(*(collector.answers[method.name] for method in lineup.methods))
    answers = [_without(answer, left_out) for row in by_query for answer in row]
    missing = [f"{name} is missing: {reason}." for name, reason in lineup.absent.items()]
    return Comparison(
        title=_title(asked),
        answers=answers,
        about={entry.title(context.best_of): entry.about for entry in find(methods)},
        scales=_scales(reward, {**reward.objectives, **audited}, size),
        facts={**_facts(context, reward), "seed": str(seed)},
        notes=[*missing, *_unscored(answers, collector.refused | left_out)],
    )


def _line_up(context: MethodContext, methods: Sequence[str]) -> Lineup:
    lineup = line_up(context, methods)
    if not lineup.methods:
        absent = "; ".join(f"{name}: {reason}" for name, reason in lineup.absent.items())
        raise InputError(
            expected=f"at least one method that the run in {context.run.folder} has",
            found=f"none ({absent})" if absent else "none",
            remedy="Name others, such as mmr.",
        )
    return lineup


def _facts(context: MethodContext, reward: Reward) -> dict[str, str]:
    """Return what the answers depend on, in words."""
    catalog, encoder = context.searcher.catalog, context.searcher.encoder
    return {
        "run": context.run.folder.resolve().name,
        "catalog": f"{len(catalog):,} items",
        "encoder": "none" if encoder is None else encoder.describe(),
        "set": f"{context.set_size} items of a pool of {context.pool_size}",
        "composite": " + ".join(f"{weight:g} {name}" for name, weight in reward.weights.items()),
    }


class _Collector:
    """Keeps the answers of each method, and why objectives did not score them."""

    def __init__(
        self, metadata: Mapping[str, Sequence[Any]], audited: Mapping[str, Objective]
    ) -> None:
        self.metadata, self.audited = metadata, audited
        self.answers: dict[str, list[Answer]] = {}
        self.refused: dict[str, str] = {}

    def __call__(
        self,
        method: str,
        queries: list[Query],
        sets: SetBatch,
        scores: dict[str, Values],
        reasons: Reasons,
    ) -> None:
        answers = make_answers(
            method, queries, sets, scores, metadata=self.metadata, reasons=reasons
        )
        self.answers.setdefault(method, []).extend(answers)
        for name, objective in self.audited.items():
            if name not in self.refused and not objective.accepts(sets):
                self.refused[name] = _reason(objective, sets)


def _title(queries: Sequence[Query]) -> str:
    asked = f"“{queries[0].text}”" if len(queries) == 1 else f"{len(queries)} queries"
    return f"Sets for {asked}, method by method"


def _without(answer: Answer, left_out: Mapping[str, str]) -> Answer:
    """Without the scores that had to be left out after some queries had them."""
    kept = {n: v for n, v in answer.scores.items() if n.partition("/")[2] not in left_out}
    return replace(answer, scores=kept)


def _scales(
    reward: Reward, objectives: Mapping[str, Objective], size: int
) -> dict[str, tuple[float, float]]:
    known = {f"directions/{COMPOSITE}": reward.bounds, "items/vendi": (0.0, float(size))}
    for name, objective in objectives.items():
        known |= {f"directions/{name}": objective.bounds, f"items/{name}": objective.bounds}
    return known


def _reason(objective: Objective, sets: SetBatch) -> str:
    """Why an objective does not score such sets, in its own words."""
    try:
        objective(sets)
    except InputError as error:
        return str(error)
    return "it does not apply to these sets."


def _unscored(answers: Sequence[Answer], reasons: Mapping[str, str]) -> list[str]:
    """A sentence on each installed objective that scored no answer."""
    scored = {
        name.partition("/")[2]
        for answer in answers
        for name, value in answer.scores.items()
        if value is not None
    }
    return [
        f"Not scored: {name}, because: {reason}"
        for name, reason in sorted(reasons.items())
        if name not in scored
    ]
