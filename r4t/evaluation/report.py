"""A run → its table: baselines and models on test queries, compared, timed, with example sets."""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation.baselines import Method, NoFanout
from r4t.evaluation.latency import TimedSearcher
from r4t.evaluation.learned import BestOf, FanOutMethod
from r4t.evaluation.memory import NearestSets
from r4t.evaluation.rerank import Mmr
from r4t.evaluation.results import Difference, Results, compare
from r4t.evaluation.truth import FacetTruth, load_truth
from r4t.retriever import MODELS, DiffusionFanOut, LanguageFanOut
from r4t.reward import Reward
from r4t.run import Run

COMPOSITE = "composite"
EQUATION_1 = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}


@dataclass
class Evaluation:
    """What to measure, and how.

    Args:
        run: Run folder.
        split: ``test`` or ``val``.
        weights: Of the composite (paper, eq. 1); Best-of-N chooses by it. Objectives that need
            references belong to the second block (recall) and are refused here.
        set_size: Items k a method returns.
        pool_size: Distinct items P for recall, hit and facet recall.
        best_of: N of Best-of-N.
        temperature: Of the language models.
        batch_size: Queries a call.
        latency_batches: Batch sizes to time; empty for no timing.
        latency_calls: Timed calls a batch size.
        index: ``torch`` or ``faiss``.
        queries: How many test queries, the first ones; all by default.
    """

    run: str = "runs/toy"
    split: str = "test"
    weights: dict[str, float] = field(default_factory=lambda: dict(EQUATION_1))
    set_size: int = 10
    pool_size: int = 150
    best_of: int = 5
    temperature: float = 0.9
    batch_size: int = 64
    latency_batches: list[int] = field(default_factory=lambda: [1, 64])
    latency_calls: int = 3
    index: str = "torch"
    queries: int | None = None

    def measure(self, console: Console) -> Results:
        """Run every method on every query.

        Raises:
            InputError: The run has no such split, or the settings do not fit it.
        """
        from r4t.evaluation.measuring import evaluate

        run = Run.open(self.run)
        searcher = TimedSearcher(run.searcher(self.index))
        queries, unknown = searcher.searchable(run.read_queries(self.split))
        if unknown:
            console.print(
                f"{len(unknown)} of {len(unknown) + len(queries)} {self.split} queries are left "
                f"out for every method: the encoder knows none of their words "
                f"({', '.join(query.text for query in unknown[:3])} …)"
            )
        queries = queries[: self.queries]
        reward = Reward(self.weights)
        methods = self._methods(run, searcher, reward, console)
        progress = _Progress(console, len(methods) * len(queries))
        with progress:
            return evaluate(
                methods,
                queries,
                searcher,
                {**reward.objectives, COMPOSITE: lambda sets: reward(sets)[0]},
                truth=_truth(run),
                batch_size=self.batch_size,
                latency_batches=self.latency_batches,
                latency_calls=self.latency_calls,
                settings={
                    "run": str(run.folder),
                    "split": self.split,
                    "weights": self.weights,
                    "catalog": run.fingerprint,
                    "encoder": "none" if searcher.encoder is None else searcher.encoder.describe(),
                    "unknown_queries": [query.id for query in unknown],
                },
                on_progress=progress.advance,
            )

    def _methods(
        self, run: Run, searcher: TimedSearcher, reward: Reward, console: Console
    ) -> list[Method]:
        sizes = (self.set_size, self.pool_size)
        methods: list[Method] = [NoFanout(searcher, *sizes), Mmr(searcher, *sizes)]
        training = _with_references(run)
        if training:
            methods.append(NearestSets(searcher, training, *sizes))
        zero_shot = self._language("zero-shot", run, searcher)
        folm = self._language("folm", run, searcher)
        if zero_shot is not None:
            name = f"Best-of-{self.best_of}"
            methods += [
                FanOutMethod("Zero-shot", zero_shot, self.pool_size),
                BestOf(name, zero_shot, reward, self.best_of, self.pool_size),
            ]
        if folm is not None:
            methods.append(FanOutMethod("R4T-FOLM", folm, self.pool_size))
        folder = run.folder / MODELS["diffusion"]
        if folder.is_dir():
            fan_out = DiffusionFanOut.load(searcher, folder, self.set_size)
            methods.append(FanOutMethod("R4T-Diffusion", fan_out, self.pool_size))
        absent = [name for name, folder in MODELS.items() if not (run.folder / folder).is_dir()]
        if absent:
            console.print(f"not in the table, because the run has no such model yet: {absent}")
        return methods

    def _language(self, name: str, run: Run, searcher: TimedSearcher) -> LanguageFanOut | None:
        folder = run.folder / MODELS[name]
        if not folder.is_dir():
            return None
        from r4t.fanout.model import FanoutModel

        model = FanoutModel.load(folder)
        if model.form.set_size != self.set_size:
            raise InputError(
                f"Methods are compared at one set size — {folder} writes {model.form.set_size} "
                f"sub-queries, found set_size {self.set_size}; set it to that number."
            )
        return LanguageFanOut(searcher, model, self.temperature)


def differences(results: Results) -> list[Difference]:
    """Return the paired differences that the claims rest on, as far as both methods are there."""
    measures = {
        "directions/composite": [
            ("R4T-FOLM", "Best-of-"),
            ("Best-of-", "Zero-shot"),
            ("R4T-Diffusion", "R4T-FOLM"),
        ],
        "items/vendi": [("R4T-FOLM", "Zero-shot"), ("R4T-Diffusion", "Zero-shot")],
        "items/distinct": [("R4T-FOLM", "Zero-shot"), ("R4T-Diffusion", "Zero-shot")],
        "items/facet recall": [("R4T-FOLM", "Zero-shot"), ("R4T-Diffusion", "Zero-shot")],
        "items/pool facet recall": [("R4T-FOLM", "Zero-shot"), ("R4T-Diffusion", "Zero-shot")],
        "items/recall": [
            (ours, other)
            for ours in ("R4T-FOLM", "R4T-Diffusion")
            for other in ("No fan-out", "MMR", "Nearest sets", "Zero-shot")
        ],
    }
    found = []
    for measure, pairs in measures.items():
        for first, second in pairs:
            names = [_full(name, results) for name in (first, second)]
            if measure in results.measures and None not in names:
                found.append(compare(results, names[0] or "", names[1] or "", measure))
    return found


def ratios(results: Results) -> list[str]:
    """Return sentences on how much of the tuned model the diffusion retriever keeps, and its speed."""
    if "R4T-FOLM" not in results.values or "R4T-Diffusion" not in results.values:
        return []
    measure = "directions/composite"
    folm, diffusion = (results.mean(name, measure) for name in ("R4T-FOLM", "R4T-Diffusion"))
    lines = []
    if folm and diffusion:
        lines.append(f"R4T-Diffusion reaches {diffusion / folm:.1%} of R4T-FOLM's composite")
        zero = results.mean("Zero-shot", measure) if "Zero-shot" in results.values else None
        if zero is not None and folm != zero:
            share = (diffusion - zero) / (folm - zero)
            lines.append(
                f"(Diffusion − Zero-shot) / (FOLM − Zero-shot) of the composite: {share:.2f}"
            )
    for batch, timed in results.latency.get("R4T-Diffusion", {}).items():
        ratio = results.latency["R4T-FOLM"][batch]["total"] / timed["total"]
        lines.append(
            f"at batch {batch} R4T-Diffusion answers {ratio:.1f} times as fast as R4T-FOLM"
        )
    return lines


class _Progress:
    """A progress bar over methods and queries."""

    def __init__(self, console: Console, total: int) -> None:
        from rich.progress import Progress

        self._bar = Progress(console=console)
        self._task = self._bar.add_task("evaluate", total=total)

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def advance(self, method: str, queries: int) -> None:
        """Count ``queries`` more answers of ``method``."""
        self._bar.update(self._task, advance=queries, description=method)


def _with_references(run: Run) -> list[Query]:
    if not (run.queries / "train.jsonl").is_file():
        return []
    return [query for query in run.read_queries("train") if query.references]


def _truth(run: Run) -> FacetTruth | None:
    folder = run.catalog / "truth"
    if not folder.is_dir():
        return None
    return FacetTruth(load_truth(folder), run.searcher().catalog.ids)


def _full(name: str, results: Results) -> str | None:
    return next((found for found in results.values if found.startswith(name)), None)


def results_folder(run: str) -> Path:
    """Return where a run's tables go."""
    return Run.open(run).step("results")
