"""A run and a few queries → what several methods answer to each, scored as in the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from r4t.data.queries import Query
from r4t.errors import InputError, nearest
from r4t.evaluation.answers import Answer, checked_columns, make_answers, short_columns
from r4t.evaluation.baselines import Method, NoFanout
from r4t.evaluation.latency import TimedSearcher
from r4t.evaluation.learned import FanOutMethod
from r4t.evaluation.measuring import evaluate
from r4t.evaluation.rerank import Mmr
from r4t.objective import Objective
from r4t.plugins import installed, load_objective
from r4t.retriever import MODELS, DiffusionFanOut, FanOut, LanguageFanOut
from r4t.reward import Reward
from r4t.run import Run
from r4t.sets import SetBatch

POOL = 150  # distinct items a query, as in the tables
COMPOSITE = "composite"
EQUATION_1 = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}
OF_DIRECTIONS = {"directions", "texts"}  # who needs one of these judges the fan-out
ABOUT = {
    "Zero-shot": "sub-queries of the language model before tuning",
    "R4T-FOLM": "sub-queries of the tuned language model",
    "R4T-Diffusion": "directions of the diffusion retriever",
    "MMR": "the query's nearest items, re-ranked for difference",
    "No fan-out": "the query's nearest items",
}
LEARNED = {"Zero-shot": "zero-shot", "R4T-FOLM": "folm", "R4T-Diffusion": "diffusion"}


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
        found: dict[str, list[Answer]] = {}
        for answer in self.answers:
            found.setdefault(answer.query_id, []).append(answer)
        return list(found.values())


def score_names(answers: Sequence[Answer], block: str) -> list[str]:
    """Names of the scores of a block ("items/") that any of the answers has."""
    return list(
        dict.fromkeys(
            name
            for answer in answers
            for name, value in answer.scores.items()
            if name.startswith(block) and value is not None
        )
    )


def highest(answers: Sequence[Answer], name: str) -> float | None:
    """The highest value of a score, if the answers differ in it."""
    found = {value for answer in answers if (value := answer.scores.get(name)) is not None}
    return max(found) if len(found) > 1 else None


def alone(answers: Sequence[Answer]) -> set[str]:
    """Ids of the items that only one of several answers holds."""
    ids = [item.id for answer in answers for item in answer.items]
    return {item for item in ids if ids.count(item) == 1} if len(answers) > 1 else set()


def compare_answers(
    folder: str | Path,
    queries: Sequence[Query],
    *,
    methods: Sequence[str] = tuple(ABOUT),
    size: int | None = None,
    seed: int = 0,
    fields: Sequence[str] | None = None,
    index: str = "torch",
) -> Comparison:
    """Ask several methods of a run the same queries, and score what they answer.

    Args:
        folder: Of the run.
        queries: With distinct ids; where they have references, these score and mark the items.
        methods: Names; short forms are understood ("folm", "mmr").
        size: Items k a method returns; by default as many as the run's language models write
            sub-queries, 10 where it has none.
        seed: Other seeds give other draws; 0 gives those of the tables.
        fields: Metadata columns to show; by default the first three whose values are short.
        index: ``torch`` or ``faiss``.

    Raises:
        InputError: The encoder knows no word of a query, a name is unknown, the run has none of
            the methods, or ``size`` fits neither the catalog nor the models.
    """
    run = Run.open(folder)
    searcher = TimedSearcher(run.searcher(index))
    catalog = searcher.catalog
    metadata = checked_columns(catalog, short_columns(catalog) if fields is None else fields)
    searcher.encode_queries([query.text for query in queries])  # refuses before models are loaded
    lined_up, size, notes = line_up(run, searcher, chosen_names(methods), size, seed)
    reward = Reward(EQUATION_1)
    directions, items, left_out = audited(reward)
    found: dict[str, list[Answer]] = {}

    def keep(
        method: str, asked: list[Query], sets: SetBatch, scores: dict[str, list[float | None]]
    ) -> None:
        found.setdefault(method, []).extend(
            make_answers(method, asked, sets, scores, metadata=metadata)
        )

    results = evaluate(
        lined_up,
        queries,
        searcher,
        {**directions, COMPOSITE: reward.score},
        items,
        optional=(set(directions) | set(items)) - set(reward.objectives),
        latency_batches=(),
        on_sets=keep,
    )
    left_out |= results.settings["left_out"]
    scales = {f"directions/{COMPOSITE}": reward.bounds, "items/vendi": (0.0, float(size))}
    scales |= {f"directions/{name}": objective.bounds for name, objective in directions.items()}
    scales |= {f"items/{name}": objective.bounds for name, objective in items.items()}
    return Comparison(
        title=_title(queries),
        answers=[_without(answer, left_out) for row in zip(*found.values()) for answer in row],
        about={name: ABOUT.get(name, "") for name in found},
        scales=scales,
        facts={
            "run": run.folder.resolve().name,
            "catalog": f"{len(catalog):,} items",
            "encoder": "none" if searcher.encoder is None else searcher.encoder.describe(),
            "set": f"{size} items",
            "composite": " + ".join(f"{weight:g} {name}" for name, weight in EQUATION_1.items()),
            "seed": str(seed),
        },
        notes=[*notes, *(f"Not scored: {name}. {reason}" for name, reason in left_out.items())],
    )


def _title(queries: Sequence[Query]) -> str:
    asked = f"“{queries[0].text}”" if len(queries) == 1 else f"{len(queries)} queries"
    return f"Sets for {asked}, method by method"


def _without(answer: Answer, left_out: Mapping[str, str]) -> Answer:
    """Without the scores that had to be left out after some queries had them."""
    kept = {n: v for n, v in answer.scores.items() if n.partition("/")[2] not in left_out}
    return replace(answer, scores=kept)


def chosen_names(wanted: Sequence[str]) -> list[str]:
    """Full names of methods that may be given in short.

    Raises:
        InputError: There is no such method.

    Example:
        >>> chosen_names(["folm", "No fan-out"])
        ['R4T-FOLM', 'No fan-out']
    """
    known = {_letters(name.removeprefix("R4T-")): name for name in ABOUT}
    known |= {_letters(name): name for name in ABOUT}
    for name in wanted:
        if _letters(name) not in known:
            raise InputError(
                f"Methods to compare are {', '.join(ABOUT)} — found '{name}'; name some of them, "
                f"with commas between.{nearest(name, [*ABOUT, *LEARNED.values()])}"
            )
    return list(dict.fromkeys(known[_letters(name)] for name in wanted))


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def line_up(
    run: Run, searcher: TimedSearcher, names: Sequence[str], size: int | None, seed: int
) -> tuple[list[Method], int, list[str]]:
    """The named methods of a run, their common set size, and a sentence on each that is missing.

    Raises:
        InputError: The run has none of them, or a model does not fit ``size``.
    """
    fan_outs: dict[str, FanOut] = {}
    notes = []
    for name in names:
        if name not in LEARNED:
            continue
        folder = run.folder / MODELS[LEARNED[name]]
        if not folder.is_dir():
            notes.append(f"{name} is missing: the run has no {MODELS[LEARNED[name]]} yet.")
        elif name != "R4T-Diffusion":
            fan_outs[name], size = _language(searcher, folder, size)
    size = 10 if size is None else size
    pool = min(max(size, POOL), len(searcher.catalog))
    if "R4T-Diffusion" in names and (run.folder / MODELS["diffusion"]).is_dir():
        folder = run.folder / MODELS["diffusion"]
        fan_outs["R4T-Diffusion"] = DiffusionFanOut.load(searcher, folder, size)
    found: dict[str, Method] = {
        name: FanOutMethod(name, fan_out, pool, draw=seed) for name, fan_out in fan_outs.items()
    }
    if "MMR" in names:
        found["MMR"] = Mmr(searcher, size, pool)
    if "No fan-out" in names:
        found["No fan-out"] = NoFanout(searcher, size, pool)
    if not found:
        raise InputError(
            f"A comparison needs at least one method that the run has — found none of "
            f"{', '.join(names)} in {run.folder}; run their steps first, or add MMR and No fan-out."
        )
    return [found[name] for name in names if name in found], size, notes


def _language(searcher: TimedSearcher, folder: Path, size: int | None) -> tuple[FanOut, int]:
    from r4t.fanout.model import FanoutModel

    model = FanoutModel.load(folder)
    if size is not None and model.form.set_size != size:
        raise InputError(
            f"Methods are compared at one set size — {folder} writes {model.form.set_size} "
            f"sub-queries, found size {size}; ask for that number, or leave that model out."
        )
    return LanguageFanOut(searcher, model), model.form.set_size


def audited(
    reward: Reward,
) -> tuple[dict[str, Objective], dict[str, Objective], dict[str, str]]:
    """Objectives by what they judge: directions, items; and why others cannot be scored unasked.

    Directions are judged by the objectives of the reward and by those that need directions or
    texts, items by all others that are installed. What fails because of its own code is left out
    here, with the reason: nobody has named it.
    """
    directions, items = dict(reward.objectives), {}
    left_out = {}
    for name, point in installed().items():
        try:
            objective = reward.objectives.get(name) or load_objective(name)
        except Exception as error:
            told = (
                str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            )
            left_out[name] = f"{told} (from {point.value})"
            continue
        if objective.partial:
            left_out[name] = "It asks somebody else, which may cost something: name it to use it."
        elif objective.needs & OF_DIRECTIONS:
            directions.setdefault(name, objective)
        else:
            items[name] = objective
    return directions, items, left_out
