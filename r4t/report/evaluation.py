"""A run → its table: baselines and models on test queries, compared, timed, with every set kept."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from r4t.data.facet_truth import FacetTruth, load_truth
from r4t.data.queries import RECOMPOSED, Query
from r4t.errors import InputError, check_least
from r4t.evaluation.latency import TimedSearcher
from r4t.evaluation.measuring import OnSets, Reasons, evaluate
from r4t.evaluation.results import Results, Values
from r4t.evaluation.scores import scores_by_block
from r4t.methods.registry import ENDS, Lineup, Methods
from r4t.objective import Objective
from r4t.plugins import installed, load_objective, objective_class
from r4t.report.answers import AnswerWriter, short_columns
from r4t.report.stale_teacher import tuned_since
from r4t.reward import Reward
from r4t.run import RUN_FILE, Run
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.fingerprints import to_plain
from r4t.support.progress import progress

EQUATION_1 = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}
SETS_FILE = "sets.jsonl"


@dataclass
class Evaluation:
    """What to measure, and how.

    Args:
        run: Run folder; a folder with ``catalog`` and ``queries`` alone becomes a run.
        split: ``test``, ``val``, ``train`` or ``all``; methods that remember training references
            only answer ``test`` and ``val``.
        weights: Of the composite (paper, eq. 1); Best-of-N chooses by it. Objectives that need
            references belong to the second block and are refused here.
        objectives: Objects for names in ``weights`` that need constructor arguments; with weight 0
            they are audited only.
        audit: Whether every other installed objective is scored as well, built without arguments;
            those that cannot be, that do not apply to the catalog, or that cost money are left out
            and named.
        across_runs: Runs N of the paper's Vendi across runs; 0 for none.
        subtopic_field: Metadata column whose values are subtopics of the references.
        batch_size: Queries a call.
        latency_batches: Batch sizes to time; empty for no timing.
        latency_calls: Timed calls a batch size.
        index: ``torch`` or ``faiss``.
        queries: How many queries, the first ones; all by default.
        out: Folder of the tables; ``RUN/results`` by default, where they replace older ones.

    Raises:
        InputError: A number is too small.
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

    def __post_init__(self) -> None:
        least = {
            "batch_size": (self.batch_size, 1),
            "across_runs": (self.across_runs, 0),
            "latency_calls": (self.latency_calls, 1),
            "latency_batches": (min(self.latency_batches, default=1), 1),
            "queries": (1 if self.queries is None else self.queries, 1),
        }
        check_least(least)

    @property
    def folder(self) -> Path:
        """Where the tables go: ``out``, or ``RUN/results``, ``RUN/results-SPLIT`` for others."""
        if self.out is not None:
            return Path(self.out)
        name = "results" if self.split == "test" else f"results-{self.split}"
        return Path(self.run) / name

    def open(self) -> Run:
        """Open the run, or begin it where there are a catalog and queries."""
        folder = Path(self.run)
        if not (folder / RUN_FILE).is_file() and (folder / "catalog").is_dir():
            return Run.begin(folder)
        return Run.open(folder)

    def reward(self) -> Reward:
        """Build the composite.

        Raises:
            InputError: A name is unknown, or an objective reads references.
        """
        reward = Reward(self.weights, self.objectives)
        if "references" in reward.deciding_needs:
            deciding = reward.weighted_objectives
            named = [name for name in deciding if "references" in deciding[name].needs]
            raise InputError(
                f"The composite must choose without the references, which are the answers — found "
                f"{named} among its weights; leave them out: they are measured in the second block."
            )
        return reward

    def asked(self, run: Run, searcher: TimedSearcher, console: Console) -> list[Query]:
        """Read the queries of the split, without those of which the encoder knows no word."""
        queries, unknown = searcher.searchable(run.read_queries(self.split))
        if unknown:
            console.print(
                f"{len(unknown)} of {len(unknown) + len(queries)} {self.split} queries are left "
                f"out for every method: the encoder knows none of their words "
                f"({', '.join(query.text for query in unknown[:3])} …)"
            )
        return queries[: self.queries]

    def training(self, run: Run) -> list[Query]:
        """Read the training queries that methods may remember: none where they are asked.

        Recomposed sets are left out: memory would be of sets that nobody made.
        """
        there = (run.queries / "train.jsonl").is_file() and self.split in ("test", "val")
        known = run.read_queries("train") if there else []
        return [query for query in known if query.kind != RECOMPOSED]

    def measure(self, methods: Methods, console: Console) -> Results:
        """Run every method on every query; write each set to ``sets.jsonl``.

        Raises:
            InputError: The run has no such split, or the settings do not fit it.
        """
        run = self.open()
        searcher = TimedSearcher(run.searcher(self.index))
        reward = self.reward()
        queries = self.asked(run, searcher, console)
        truth = run_truth(run, searcher)
        lineup = methods.build(
            run, searcher, queries, reward, training=self.training(run), truth=truth
        )
        audited, left_out = self.audited(reward)
        directions, items = scores_by_block(reward, audited)
        columns = short_columns(searcher.catalog)
        bar = progress("evaluate", total=len(lineup.methods) * len(queries))
        with bar, AnswerWriter(self.folder / SETS_FILE, columns) as writer:
            results = evaluate(
                lineup.methods,
                queries,
                searcher,
                directions,
                items,
                optional=set(audited),
                truth=truth,
                subtopic_field=self.subtopic_field,
                across_runs=self.across_runs,
                batch_size=self.batch_size,
                latency_batches=self.latency_batches,
                latency_calls=self.latency_calls,
                untimed=ENDS,
                settings=self._settings(run, searcher, lineup, methods),
                on_progress=lambda method, count: bar.update(count),
                on_sets=_for_readers(writer, lineup),
            )
            results.settings["left_out"] = left_out | results.settings["left_out"]
            results.save(self.folder)  # before anything is made of it
        return results

    def audited(self, reward: Reward) -> tuple[dict[str, Objective], dict[str, str]]:
        """The other installed objectives that can be had for nothing, and why not the rest."""
        found: dict[str, Objective] = {}
        left_out: dict[str, str] = {}
        for name in installed() if self.audit else ():
            if name in reward.objectives:
                continue
            try:
                objective = objective_class(name)
                if objective.costly:
                    left_out[name] = "it costs money: name it in weights (0 is enough) to have it"
                    continue
                built = load_objective(name)
                built.check()
                found[name] = built
            except InputError as error:
                left_out[name] = str(error)
        return found, left_out

    def _settings(
        self, run: Run, searcher: TimedSearcher, lineup: Lineup, methods: Methods
    ) -> dict[str, Any]:
        """What the numbers depend on; `r4t report` averages runs that agree in it."""
        objectives = self.objectives if self.objectives is not None else {}
        return {
            "run": str(run.folder),
            "split": self.split,
            "weights": self.weights,
            "objectives": {name: to_plain(given) for name, given in objectives.items()},
            "audit": self.audit,
            "across_runs": self.across_runs,
            "subtopic_field": self.subtopic_field,
            "index": self.index,
            "queries_limit": self.queries,
            "methods": methods.methods,
            "best_of": methods.best_of,
            "temperature": methods.temperature,
            "subqueries": methods.subqueries,
            "catalog": run.fingerprint,
            "encoder": "none" if searcher.encoder is None else searcher.encoder.describe(),
            "curves": lineup.curves,
            "absent": lineup.absent,
            "lineage": tuned_since(run, [method.name for method in lineup.methods]),
        }


def run_truth(run: Run, searcher: Searcher) -> FacetTruth | None:
    """Return the latent truth that lies beside the catalog of a generated benchmark."""
    folder = run.catalog / "truth"
    return FacetTruth(load_truth(folder), searcher.catalog.ids) if folder.is_dir() else None


def _for_readers(writer: AnswerWriter, lineup: Lineup) -> OnSets:
    """Write the sets of all methods but the points of curves."""
    points = {name for curve in lineup.curves.values() for name, _ in curve}

    def write(
        method: str,
        queries: list[Query],
        sets: SetBatch,
        scores: dict[str, Values],
        reasons: Reasons,
    ) -> None:
        if method not in points:
            writer(method, queries, sets, scores, reasons)

    return write
