"""A run → its table: baselines and models on test queries, compared, timed, with every set kept."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from tqdm import tqdm

from r4t.catalog import BY_DEFAULT
from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.evaluation.ground_truth import GroundTruth
from r4t.evaluation.measuring import OnSets, Plan, Scores, evaluate
from r4t.evaluation.results import Results
from r4t.evaluation.scores import scores_by_block
from r4t.methods.chosen import unused_choices
from r4t.methods.context import EQUATION_1, MethodContext
from r4t.methods.lineup import Lineup, MethodOptions
from r4t.objective import Objective, load_objective, objective_class
from r4t.plugins import OBJECTIVES, installed
from r4t.report.answers import WriteAnswers, answer_writer, short_columns
from r4t.report.stale_teacher import tuned_since
from r4t.reward import Reward
from r4t.run import RUN_FILE, Run
from r4t.search import Searcher
from r4t.sets import ANSWERS
from r4t.support.fingerprints import to_plain
from r4t.support.progress import progress

SETS_FILE = "sets.jsonl"
COSTLY = "it costs money: name it in weights (0 is enough) to measure it"


@dataclass
class Evaluation:
    """What to measure, and how.

    Args:
        run: Run folder; a folder with ``catalog`` and ``queries`` alone becomes a run.
        split: ``test``, ``val``, ``train`` or ``all``; methods that remember training references
            answer only ``test`` and ``val``.
        weights: Of the composite (paper, eq. 1); Best-of-N chooses by it. Objectives that read
            references are measured in the second block and refused here.
        objectives: Objects for names in ``weights`` that need constructor arguments; at weight 0
            they are only measured.
        audit: Whether to measure every other installed objective too, built without arguments.
            Those that need arguments, do not apply to the catalog, or cost money are left out and
            named.
        across_runs: Runs N of the paper's Vendi across runs; 0 for none.
        subtopic_field: Metadata column whose values are subtopics of the references.
        least_facets: Measure only queries with at least this many gold facets; 0 for all queries.
        batch_size: Queries per call.
        latency_batches: Batch sizes to time; empty for no timing.
        latency_calls: Timed calls per batch size.
        index: ``torch`` or ``faiss``.
        queries: Number of queries, the first ones; all by default.
        distinct_by: Which items are variants of one product and count once among the k returned, as
            of ``Catalog.variants``: a metadata column, ``auto`` (the title but for color, size and
            season) or ``none``.
        out: Folder of the tables; ``RUN/results`` by default, where they replace older ones.

    Raises:
        InputError: If a number is too small.
    """

    run: str = "runs/toy"
    split: str = "test"
    weights: dict[str, float] = field(default_factory=lambda: dict(EQUATION_1))
    objectives: dict[str, Objective] | None = None
    audit: bool = True
    across_runs: int = 5
    subtopic_field: str | None = None
    batch_size: int = 64
    latency_batches: list[int] = field(default_factory=lambda: [1, 64])
    latency_calls: int = 3
    index: str = "torch"
    queries: int | None = None
    out: str | None = None
    distinct_by: str = BY_DEFAULT
    least_facets: int = 0

    def __post_init__(self) -> None:
        least = {"queries": (1 if self.queries is None else self.queries, 1)}
        check_least(least | {"least_facets": (self.least_facets, 0)})
        self.plan(Lineup([]))  # checks the other numbers

    @property
    def folder(self) -> Path:
        """Where the tables go: ``out``, or ``RUN/results`` (``RUN/results-SPLIT`` unless test)."""
        if self.out is not None:
            return Path(self.out)
        name = "results" if self.split == "test" else f"results-{self.split}"
        return Path(self.run) / name

    def open(self) -> Run:
        """Open the run, or begin it in a folder with a catalog and queries."""
        folder = Path(self.run)
        if not (folder / RUN_FILE).is_file() and (folder / "catalog").is_dir():
            return Run.begin(folder)
        return Run.open(folder)

    def reward(self) -> Reward:
        """Build the composite.

        Raises:
            InputError: If a name is unknown, or an objective reads references.
        """
        reward = Reward(self.weights, self.objectives)
        if reward.deciding_needs & ANSWERS:
            weighted = reward.weighted_objectives
            readers = [name for name in weighted if weighted[name].needs & ANSWERS]
            raise InputError(
                expected="a composite that chooses without the references, which are the answers",
                found=f"{readers} among its weights",
                remedy="Leave them out: they are measured in the second block.",
            )
        return reward

    def test_queries(self, run: Run, searcher: Searcher, console: Console) -> list[Query]:
        """Return the queries of the split that have a word the encoder knows, and enough facets.

        Raises:
            InputError: If no query has as many facets as ``least_facets``.
        """
        queries, unknown = searcher.searchable(run.read_queries(self.split))
        if unknown:
            console.print(
                f"Skipped {len(unknown)} of {len(unknown) + len(queries)} {self.split} queries for "
                f"every method: the encoder knows none of their words "
                f"({', '.join(query.text for query in unknown[:3])} …)"
            )
        return self._with_facets(queries, console)[: self.queries]

    def _with_facets(self, queries: list[Query], console: Console) -> list[Query]:
        """Return the queries with at least ``least_facets`` gold facets, and print how many have fewer."""
        enough = [query for query in queries if len(query.facets) >= self.least_facets]
        if queries and not enough:
            raise InputError(
                expected=f"queries with at least {self.least_facets} gold facets (least_facets)",
                found=f"none among {len(queries)} {self.split} queries of {self.run}",
                remedy="Leave least_facets out, or make the queries from sets with facets.",
            )
        if len(enough) < len(queries):
            console.print(
                f"Skipped {len(queries) - len(enough)} of {len(queries)} {self.split} queries for every "
                f"method: they have fewer than {self.least_facets} gold facets"
            )
        return enough

    def measure(self, options: MethodOptions, console: Console) -> Results:
        """Run every method on every query; write each set to ``sets.jsonl``.

        Raises:
            InputError: If the run has no such split, or the settings do not fit it.
        """
        run = self.open()
        searcher = run.searcher(self.index)
        reward = self.reward()
        queries = self.test_queries(run, searcher, console)
        searcher.catalog.variants(self.distinct_by)  # refuses before models are loaded
        training: list[Query] | None = None if self.split in ("test", "val") else []
        context = options.context(run, searcher, queries, reward, training)
        lineup = options.line_up(context)
        audited, left_out = self.audited(reward)
        columns = short_columns(searcher.catalog)
        bar = progress("evaluate", total=len(lineup.methods) * len(queries))
        with bar, answer_writer(self.folder / SETS_FILE, columns) as writer:
            results = evaluate(
                lineup.methods,
                queries,
                searcher,
                Scores(*scores_by_block(reward, audited), set(audited)),
                GroundTruth(searcher, queries, context.truth, self.subtopic_field),
                self.plan(lineup),
                _observer(writer, lineup, bar),
            )
            results.settings.update(self._settings(context, lineup, options))
            results.settings["left_out"] = left_out | results.settings["left_out"]
            results.save(self.folder)  # before tables and plots, which may fail
        return results

    def plan(self, lineup: Lineup) -> Plan:
        """Return how much to measure of the methods."""
        latency = (self.latency_batches, self.latency_calls)
        skipped = (lineup.untimed, lineup.unrepeated)
        return Plan(
            self.batch_size, self.across_runs, *latency, *skipped, distinct_by=self.distinct_by
        )

    def audited(self, reward: Reward) -> tuple[dict[str, Objective], dict[str, str]]:
        """Return the other installed objectives that cost nothing, and why the rest are left out."""
        audited: dict[str, Objective] = {}
        left_out: dict[str, str] = {}
        for name in installed(OBJECTIVES) if self.audit else ():
            if name in reward.objectives:
                continue
            try:
                if objective_class(name).costly:
                    left_out[name] = COSTLY
                    continue
                objective = load_objective(name)
                objective.check()
                audited[name] = objective
            except InputError as error:
                left_out[name] = str(error)
        return audited, left_out

    def _settings(
        self, context: MethodContext, lineup: Lineup, options: MethodOptions
    ) -> dict[str, Any]:
        """Return what the numbers depend on; `r4t report` averages runs that agree in it."""
        run = context.run
        objectives = {} if self.objectives is None else self.objectives
        settings = ["split", "weights", "audit", "across_runs", "subtopic_field", "index"]
        settings += ["distinct_by"]
        of_methods = ("methods", "best_of", "temperature", "choice", "consensus", "subqueries")
        return {
            **{name: getattr(self, name) for name in settings},
            **{name: getattr(options, name) for name in of_methods},
            **({} if context.judge is None else {"judge": to_plain(context.judge)}),
            **({"least_facets": self.least_facets} if self.least_facets else {}),
            "run": str(run.folder),
            "objectives": {name: to_plain(objective) for name, objective in objectives.items()},
            "queries_limit": self.queries,
            "catalog": run.fingerprint,
            "encoder": context.searcher.encoder_name,
            "curves": lineup.curves,
            "absent": lineup.absent,
            "lineage": tuned_since(run, [method.name for method in lineup.methods])
            + unused_choices(run, lineup.methods),
        }


def _observer(writer: WriteAnswers, lineup: Lineup, bar: tqdm) -> OnSets:
    """Advance the progress, and write the sets of all methods but the points of curves."""
    points = {name for curve in lineup.curves.values() for name, _ in curve}

    def observe(method: str, queries: list[Query], *answers: Any) -> None:
        if method not in points:
            writer(method, queries, *answers)
        bar.update(len(queries))

    return observe
