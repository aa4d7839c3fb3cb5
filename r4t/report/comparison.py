"""A run and a few queries → what several methods answer to each, scored as in the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from r4t.data.queries import Query
from r4t.errors import InputError, nearest
from r4t.evaluation.latency import TimedSearcher
from r4t.evaluation.measuring import Reasons, evaluate
from r4t.evaluation.results import Values
from r4t.evaluation.scores import COMPOSITE, scores_by_block
from r4t.methods.nearest import Method
from r4t.methods.registry import Methods
from r4t.objective import Objective
from r4t.report.answers import Answer, checked_columns, make_answers, short_columns
from r4t.report.evaluation import Evaluation
from r4t.reward import Reward
from r4t.run import Run
from r4t.sets import SetBatch

POOL = 150  # distinct items a query, as in the tables
UNASKED = ("Zero-shot", "R4T-FOLM", "R4T-Diffusion", "MMR", "No fan-out")  # paper, figures 3 and 6
ABOUT = {
    "Zero-shot": "sub-queries of the language model before tuning",
    "R4T-FOLM": "sub-queries of the tuned language model",
    "R4T-Diffusion": "directions of the diffusion retriever",
    "R4T-Student": "directions of its few-step student",
    "MMR": "the query's nearest items, re-ranked for difference",
    "DPP": "the query's nearest items, picked as a determinantal point process",
    "k-means facets": "the query's nearest items, by clusters in turn",
    "No fan-out": "the query's nearest items",
    "Nearest sets": "directions from the reference sets of similar training queries",
    "Ridge map": "one direction, mapped linearly from the query",
    "Random": "any items",
}


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
    methods: Sequence[str] = UNASKED,
    size: int = 10,
    seed: int = 0,
    fields: Sequence[str] | None = None,
    index: str = "torch",
) -> Comparison:
    """Ask several methods of a run the same queries, and score what they answer.

    Args:
        folder: Of the run.
        queries: Queries, or texts; a text that the run has a query of stands for that query. Each is
            asked once. Where they have references, these score and mark the items.
        methods: Names as in the tables; short forms are understood ("folm", "mmr").
        size: Items k a method returns.
        seed: Number of the draw of methods that sample; 0 gives that of the tables for the run's own
            queries. Methods that do not sample answer alike at every seed.
        fields: Metadata columns to show; by default the first three whose values are short.
        index: ``torch`` or ``faiss``.

    Raises:
        InputError: The encoder knows no word of a query, a name is unknown, the run has none of
            the methods, or ``size`` fits neither the catalog nor the models.
    """
    evaluation = Evaluation(run=str(folder), index=index)
    run, reward = evaluation.open(), evaluation.reward()
    asked = _asked(run, queries)
    searcher = TimedSearcher(run.searcher(index))
    catalog = searcher.catalog
    metadata = checked_columns(catalog, short_columns(catalog) if fields is None else fields)
    searcher.encode_queries([query.text for query in asked])  # refuses before models are loaded
    if not 1 <= size <= len(catalog):
        raise InputError(
            f"A set holds from 1 to {len(catalog)} items, all of the catalog — found size {size}; "
            "ask for 10, say."
        )
    settings = Methods(size, min(max(size, POOL), len(catalog)), curves=[])
    training = evaluation.training(run)
    lined_up, notes = _line_up(settings, run, searcher, asked, training, reward, methods, seed)
    audited, left_out = evaluation.audited(reward)
    directions, items = scores_by_block(reward, audited)
    found: dict[str, list[Answer]] = {method.name: [] for method in lined_up}
    refused: dict[str, str] = {}

    def keep(
        method: str,
        answered: list[Query],
        sets: SetBatch,
        scores: dict[str, Values],
        reasons: Reasons,
    ) -> None:
        found[method] += make_answers(
            method, answered, sets, scores, metadata=metadata, reasons=reasons
        )
        for name, objective in audited.items():
            if not objective.accepts(sets):
                refused.setdefault(name, _reason(objective, sets))

    results = evaluate(
        lined_up,
        asked,
        searcher,
        directions,
        items,
        optional=set(audited),
        latency_batches=(),
        on_sets=keep,
    )
    left_out |= results.settings["left_out"]
    answers = [_without(answer, left_out) for row in zip(*found.values()) for answer in row]
    return Comparison(
        title=_title(asked),
        answers=answers,
        about={name: ABOUT.get(name, "") for name in found},
        scales=_scales(reward, {**reward.objectives, **audited}, size),
        facts={
            "run": run.folder.resolve().name,
            "catalog": f"{len(catalog):,} items",
            "encoder": "none" if searcher.encoder is None else searcher.encoder.describe(),
            "set": f"{size} items of a pool of {settings.pool_size}",
            "composite": " + ".join(f"{w:g} {name}" for name, w in reward.weights.items()),
            "seed": str(seed),
        },
        notes=[*notes, *_unscored(answers, refused | left_out)],
    )


def _asked(run: Run, queries: Sequence[Query | str]) -> list[Query]:
    """Queries, each once; a text is the run's query of that text, where there is one.

    So a query that is typed has the id, and with it the draws, that it has in the tables.
    """
    known: dict[str, Query] = {}
    if any(isinstance(query, str) for query in queries):
        for split in ("test", "val", "train"):
            if (run.queries / f"{split}.jsonl").is_file():
                for query in run.read_queries(split):
                    known.setdefault(query.text, query)
    found: dict[tuple[str, str], Query] = {}
    for asked in queries:
        query = known.get(asked, Query(asked, asked, "")) if isinstance(asked, str) else asked
        found.setdefault((query.id, query.text), query)
    return list(found.values())


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


def _line_up(
    settings: Methods,
    run: Run,
    searcher: TimedSearcher,
    queries: Sequence[Query],
    training: Sequence[Query],
    reward: Reward,
    wanted: Sequence[str],
    seed: int,
) -> tuple[list[Method], list[str]]:
    """The wanted methods in their order, and a sentence on each that the run does not have."""
    builders, absent = settings.builders(run, searcher, queries, reward, training=training)
    names = full_names(wanted, [*builders, *absent])
    if not any(name in builders for name in names):
        raise InputError(
            f"A comparison needs at least one method that the run has — found none of "
            f"{', '.join(names)} in {run.folder} ({absent[names[0]]}); name others, such as MMR."
            if names
            else "A comparison needs at least one method, found none; name some, such as MMR."
        )
    methods = [builders[name]() for name in names if name in builders]
    drawn = [getattr(method, "with_draw", lambda _, same=method: same)(seed) for method in methods]
    return drawn, [f"{name} is missing: {absent[name]}." for name in names if name in absent]


def full_names(wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """Full names of methods that may be given in short, each once.

    Raises:
        InputError: There is no such method.

    Examples:
        >>> full_names(["folm", "no-fan-out", "FOLM"], ["R4T-FOLM", "No fan-out"])
        ['R4T-FOLM', 'No fan-out']
    """
    short = [name.removeprefix("R4T-").casefold() for name in known]
    full = {_letters(name): whole for name, whole in zip(short, known)}
    full |= {_letters(name): name for name in known}
    for name in wanted:
        if _letters(name) not in full:
            raise InputError(
                f"Methods to compare are {', '.join(known)} — found '{name}'; name some of them, "
                f"with commas between.{nearest(name.casefold(), short)}"
            )
    return list(dict.fromkeys(full[_letters(name)] for name in wanted))


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
