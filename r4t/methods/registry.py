"""A run → the methods to compare on it: baselines, memory, models, and the ends of the scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from r4t.choice import KNOWN
from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.errors import InputError, check_least, nearest
from r4t.methods.bounds import GreedyBound, Oracle, RandomItems, ReferenceOracle
from r4t.methods.external import ExternalSubqueries, read_subqueries
from r4t.methods.fusion import RankFusion
from r4t.methods.kmeans import KMeansFacets
from r4t.methods.language import BestOf, Drafts, FanOutMethod, RememberingFanOut
from r4t.methods.nearest import Method, NoFanout
from r4t.methods.rerank import Curve, Dpp, Mmr
from r4t.methods.training_sets import NearestSets, RidgeMap, keys
from r4t.retriever import MODELS, DiffusionFanOut
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Searcher

Build = Callable[[], Method]
DPP_CURVE = (0.5, 0.7, 0.9, 0.95, 0.99)
# They answer no user, and so are not timed.
ENDS = ("Random", "Greedy bound", "Oracle", "References (oracle)")


@dataclass
class Lineup:
    """What is compared, in the order of the table.

    Attributes:
        methods: Built on one searcher, all of one set size and pool size.
        absent: Method → why the run cannot have it.
        curves: Curve → its methods with their λ; for the plots alone.
    """

    methods: list[Method]
    absent: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[tuple[str, float]]] = field(default_factory=dict)


@dataclass
class Methods:
    """Which methods to compare, and at what size.

    Args:
        set_size: Items k a method returns.
        pool_size: Distinct items P for recall, hit and facet recall.
        methods: Names to keep, such as [MMR, R4T-FOLM]; all that the run can have by default.
        best_of: N of Best-of-N.
        temperature: Of the language models.
        subqueries: JSONL file of sub-queries written elsewhere ("query" or "id", "subqueries").
        curves: Trade-offs λ at which MMR is drawn in the plots; none for no curves.
        dpp_curves: Those of DPP, which differ most near 1; by default 0.5, 0.7, 0.9, 0.95, 0.99,
            where ``curves`` has any.
    """

    set_size: int = 10
    pool_size: int = 150
    methods: list[str] | None = None
    best_of: int = 5
    temperature: float = 0.9
    subqueries: str | None = None
    curves: list[float] = field(default_factory=lambda: [0.1, 0.3, 0.5, 0.7, 0.9])
    dpp_curves: list[float] | None = None

    def __post_init__(self) -> None:
        check_least(
            {
                "set_size": (self.set_size, 1),
                "pool_size": (self.pool_size, 1),
                "best_of": (self.best_of, 1),
            }
        )

    def build(
        self,
        run: Run,
        searcher: Searcher,
        queries: Sequence[Query],
        reward: Reward,
        *,
        training: Sequence[Query] = (),
        truth: FacetTruth | None = None,
    ) -> Lineup:
        """Build the methods that the run, its data and the settings admit.

        Args:
            run: Where the models lie.
            searcher: All methods retrieve with it.
            queries: That will be asked.
            reward: Chooses for Best-of-N and bounds; it must not read references.
            training: Training queries that may be remembered; none where they are asked as well.
            truth: Latent facets, where the data has them.

        Raises:
            InputError: A name is unknown, or a model writes another number of sub-queries.
        """
        builders, absent = self.builders(
            run, searcher, queries, reward, training=training, truth=truth
        )
        names = list(builders) if self.methods is None else self.methods
        for name in names:
            if name not in builders:
                why = f" ({absent[name]})" if name in absent else ""
                raise InputError(
                    f"This run can compare {sorted(builders)} — found {name!r}{why} among the "
                    f"methods; name others.{nearest(name, builders)}"
                )
        kept = [name for name in builders if name in names]
        found = Lineup([builders[name]() for name in kept], absent)
        for curve in self._curves(searcher, kept):
            found.methods += curve.points
            named = [(point.name, point.trade_off) for point in curve.points]
            found.curves[curve.method.name] = named
        return found

    def _curves(self, searcher: Searcher, kept: Sequence[str]) -> list[Curve]:
        sizes = (searcher, self.set_size, self.pool_size)
        of_dpp = self.dpp_curves
        if of_dpp is None:
            of_dpp = list(DPP_CURVE) if self.curves else []
        curves = [Curve(Mmr(*sizes), self.curves), Curve(Dpp(*sizes), of_dpp)]
        return [curve for curve in curves if curve.points and curve.method.name in kept]

    def builders(
        self,
        run: Run,
        searcher: Searcher,
        queries: Sequence[Query],
        reward: Reward,
        *,
        training: Sequence[Query] = (),
        truth: FacetTruth | None = None,
    ) -> tuple[dict[str, Build], dict[str, str]]:
        """Return how to build each method, in the order of the table, and why the rest is absent.

        Arguments are those of ``build``.
        """
        absent: dict[str, str] = {}
        builders = {
            **self._plain(searcher),
            **self._memory(searcher, queries, training, absent),
            **self._given(searcher, queries),
            **self._models(run, searcher, queries, reward, absent),
            **self._ends(searcher, queries, reward, truth, absent),
        }
        return builders, absent

    def _plain(self, searcher: Searcher) -> dict[str, Build]:
        sizes = (searcher, self.set_size, self.pool_size)
        return {
            "No fan-out": lambda: NoFanout(*sizes),
            "MMR": lambda: Mmr(*sizes),
            "DPP": lambda: Dpp(*sizes),
            # Within No fan-out's own pool the set alone is re-ranked: the same recall, cheaply.
            "MMR in pool": lambda: Mmr(*sizes, depth=1, ordered=self.set_size, name="MMR in pool"),
            "DPP in pool": lambda: Dpp(*sizes, depth=1, ordered=self.set_size, name="DPP in pool"),
            "k-means facets": lambda: KMeansFacets(*sizes),
        }

    def _memory(
        self,
        searcher: Searcher,
        queries: Sequence[Query],
        training: Sequence[Query],
        absent: dict[str, str],
    ) -> dict[str, Build]:
        asked = {key for query in queries for key in keys(query)}
        known = [q for q in training if q.references and asked.isdisjoint(keys(q))]
        if len(known) <= self.set_size:
            why = (
                "they remember training queries with references other than those asked, of which "
                "there are too few"
            )
            absent.update({"Nearest sets": why, "Ridge map": why})
            return {}
        sizes = (self.set_size, self.pool_size)
        return {
            "Nearest sets": lambda: NearestSets(searcher, known, *sizes),
            "Ridge map": lambda: RidgeMap(searcher, known, *sizes),
        }

    def _given(self, searcher: Searcher, queries: Sequence[Query]) -> dict[str, Build]:
        if self.subqueries is None:
            return {}
        path, sizes = self.subqueries, (self.set_size, self.pool_size)
        written = read_subqueries(path, queries)
        return {
            "Given": lambda: ExternalSubqueries("Given", searcher, written, *sizes, origin=path),
            "Given + RRF": lambda: ExternalSubqueries(
                "Given + RRF", RankFusion(searcher), written, *sizes, repeats=False, origin=path
            ),
        }

    def _models(
        self,
        run: Run,
        searcher: Searcher,
        queries: Sequence[Query],
        reward: Reward,
        absent: dict[str, str],
    ) -> dict[str, Build]:
        shown = {
            "zero-shot": "Zero-shot",
            "folm": "R4T-FOLM",
            "diffusion": "R4T-Diffusion",
            "student": "R4T-Student",
        }
        for model, name in shown.items():
            if not (run.folder / MODELS[model]).is_dir():
                absent[name] = f"the run has no model in {MODELS[model]} yet"
        builds: dict[str, Build] = {}
        pool = self.pool_size
        if shown["zero-shot"] not in absent:
            builds |= self._untuned(run, searcher, queries, reward, absent)
        if shown["folm"] not in absent:
            builds["R4T-FOLM"] = lambda: FanOutMethod(
                "R4T-FOLM", self._writing(self._drafts("folm", run), searcher), pool
            )
        for model in ("diffusion", "student"):
            name, folder = shown[model], run.folder / MODELS[model]
            if name not in absent:
                builds[name] = partial(self._generated, name, searcher, folder)
        return builds

    def _generated(self, name: str, searcher: Searcher, folder: Path) -> Method:
        fan_out = DiffusionFanOut.load(searcher, folder, self.set_size)
        return FanOutMethod(name, fan_out, self.pool_size)

    def _untuned(
        self,
        run: Run,
        searcher: Searcher,
        queries: Sequence[Query],
        reward: Reward,
        absent: dict[str, str],
    ) -> dict[str, Build]:
        """What the language model before tuning writes; the draws are shared by all."""
        pool = self.pool_size
        drafts = cache(lambda: self._drafts("zero-shot", run))
        zero = cache(lambda: self._writing(drafts(), searcher))
        fused = cache(lambda: self._writing(drafts(), RankFusion(searcher)))
        best, oracle = f"Best-of-{self.best_of}", f"Best-of-{self.best_of} (oracle)"
        builds: dict[str, Build] = {
            "Zero-shot": lambda: FanOutMethod("Zero-shot", zero(), pool),
            "Zero-shot + RRF": lambda: FanOutMethod(
                "Zero-shot + RRF", fused(), pool, repeats=False
            ),
            best: lambda: BestOf(best, zero(), reward, self.best_of, pool),
        }
        if why := _without_references(queries):
            absent[oracle] = why
        else:
            covered = Reward({"coverage": 1.0})
            builds[oracle] = lambda: BestOf(oracle, zero(), covered, self.best_of, pool, True)
        return builds

    def _writing(self, drafts: Drafts, searcher: Searcher) -> RememberingFanOut:
        return RememberingFanOut(searcher, drafts, self.temperature)

    def _drafts(self, name: str, run: Run) -> Drafts:
        from r4t.fanout.model import FanoutModel

        folder = run.folder / MODELS[name]
        model = FanoutModel.load(folder)
        if model.form.set_size != self.set_size:
            raise InputError(
                f"Methods are compared at one set size — {folder} writes {model.form.set_size} "
                f"sub-queries, found set_size {self.set_size}; set it to that number."
            )
        return Drafts(model)

    def _ends(
        self,
        searcher: Searcher,
        queries: Sequence[Query],
        reward: Reward,
        truth: FacetTruth | None,
        absent: dict[str, str],
    ) -> dict[str, Build]:
        """The ends of the scale: chance, what the objective admits, and those who know."""
        sizes = (self.set_size, self.pool_size)
        builds: dict[str, Build] = {"Random": lambda: RandomItems(searcher, *sizes)}
        if reward.deciding_needs <= KNOWN | {"query_texts"} and not reward.costly:
            builds["Greedy bound"] = lambda: GreedyBound(searcher, reward.score, *sizes)
        else:
            absent["Greedy bound"] = (
                "it tries thousands of sets, and the composite reads their texts or references, or "
                "costs money"
            )
        if truth is not None:
            builds["Oracle"] = lambda: Oracle(searcher, truth, *sizes)
        if why := _without_references(queries):
            absent["References (oracle)"] = why
        else:
            builds["References (oracle)"] = lambda: ReferenceOracle(searcher, *sizes)
        return builds


def _without_references(queries: Sequence[Query]) -> str:
    """How many queries have no references; empty if all have some."""
    bare = sum(not query.references for query in queries)
    return f"{bare} of {len(queries)} queries have no references" if bare else ""
