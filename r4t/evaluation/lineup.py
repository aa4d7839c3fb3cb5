"""A run → the methods to compare on it: baselines, memory, models, and the ends of the scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from r4t.choice import KNOWN
from r4t.data.queries import Query
from r4t.errors import InputError, nearest
from r4t.evaluation.baselines import Method, NoFanout
from r4t.evaluation.extremes import GreedyBound, Oracle, RandomItems, ReferenceOracle
from r4t.evaluation.learned import BestOf, FanOutMethod, GivenSubqueries, Rrf
from r4t.evaluation.memory import NearestSets, RidgeMap
from r4t.evaluation.rerank import Dpp, KMeansFacets, Mmr
from r4t.evaluation.truth import FacetTruth
from r4t.retriever import MODELS, DiffusionFanOut, FanOut, LanguageFanOut
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Searcher

Build = Callable[[], Method]
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
        curves: Trade-offs λ at which MMR and DPP are drawn in the plots; none for no curves.
    """

    set_size: int = 10
    pool_size: int = 150
    methods: list[str] | None = None
    best_of: int = 5
    temperature: float = 0.9
    subqueries: str | None = None
    curves: list[float] = field(default_factory=lambda: [0.1, 0.3, 0.5, 0.7, 0.9])

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
        for curve, method in (("MMR", Mmr), ("DPP", Dpp)):
            points = {f"{curve} λ={value:g}": value for value in self.curves if curve in kept}
            sizes = (searcher, self.set_size, self.pool_size)
            found.methods += [method(*sizes, value, name=name) for name, value in points.items()]
            if points:
                found.curves[curve] = list(points.items())
        return found

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
            **self._memory(searcher, training, absent),
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
            # Re-ranked within No fan-out's own pool: the same recall, other items first.
            "MMR in pool": lambda: Mmr(*sizes, depth=1, name="MMR in pool"),
            "DPP in pool": lambda: Dpp(*sizes, depth=1, name="DPP in pool"),
            "k-means facets": lambda: KMeansFacets(*sizes),
        }

    def _memory(
        self, searcher: Searcher, training: Sequence[Query], absent: dict[str, str]
    ) -> dict[str, Build]:
        known = [query for query in training if query.references]
        if len(known) <= self.set_size:
            why = "they remember training queries with references, of which there are too few"
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
        given = GivenSubqueries.read(self.subqueries, searcher, self.set_size, queries)
        return {
            "Given": lambda: FanOutMethod("Given", given, self.pool_size),
            "Given + RRF": lambda: Rrf("Given + RRF", given, searcher, self.pool_size),
        }

    def _models(
        self,
        run: Run,
        searcher: Searcher,
        queries: Sequence[Query],
        reward: Reward,
        absent: dict[str, str],
    ) -> dict[str, Build]:
        shown = {"zero-shot": "Zero-shot", "folm": "R4T-FOLM", "diffusion": "R4T-Diffusion"}
        for model, name in shown.items():
            if not (run.folder / MODELS[model]).is_dir():
                absent[name] = f"the run has no model in {MODELS[model]} yet"
        builds: dict[str, Build] = {}
        pool = self.pool_size
        if shown["zero-shot"] not in absent:
            zero = cache(lambda: self._language("zero-shot", run, searcher))
            best, oracle = f"Best-of-{self.best_of}", f"Best-of-{self.best_of} (oracle)"
            builds |= {
                "Zero-shot": lambda: FanOutMethod("Zero-shot", zero(), pool),
                "Zero-shot + RRF": lambda: Rrf("Zero-shot + RRF", zero(), searcher, pool),
                best: lambda: BestOf(best, zero(), reward, self.best_of, pool),
            }
            if all(query.references for query in queries):
                covered = Reward({"coverage": 1.0})
                builds[oracle] = lambda: BestOf(oracle, zero(), covered, self.best_of, pool, True)
        if shown["folm"] not in absent:
            builds["R4T-FOLM"] = lambda: FanOutMethod(
                "R4T-FOLM", self._language("folm", run, searcher), pool
            )
        if shown["diffusion"] not in absent:
            folder = run.folder / MODELS["diffusion"]
            builds["R4T-Diffusion"] = lambda: FanOutMethod(
                "R4T-Diffusion", DiffusionFanOut.load(searcher, folder, self.set_size), pool
            )
        return builds

    def _language(self, name: str, run: Run, searcher: Searcher) -> FanOut:
        from r4t.fanout.model import FanoutModel

        folder = run.folder / MODELS[name]
        model = FanoutModel.load(folder)
        if model.form.set_size != self.set_size:
            raise InputError(
                f"Methods are compared at one set size — {folder} writes {model.form.set_size} "
                f"sub-queries, found set_size {self.set_size}; set it to that number."
            )
        return LanguageFanOut(searcher, model, self.temperature)

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
        if all(query.references for query in queries):
            builds["References (oracle)"] = lambda: ReferenceOracle(searcher, *sizes)
        return builds
