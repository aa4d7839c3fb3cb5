"""A context → the methods to compare, in the order of the tables, and why others are absent."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from r4t.choice import BestRows, Choice, Consensus
from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.methods.best_of import BestOf
from r4t.methods.chosen import Chosen
from r4t.methods.context import MethodContext, Unavailable
from r4t.methods.language import LanguageMethod
from r4t.methods.method import DrawsDirections, Method
from r4t.methods.registry import entries, find
from r4t.methods.rerank import Dpp, Mmr, curve
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Searcher

DPP_CURVE = (0.5, 0.7, 0.9, 0.95, 0.99)


@dataclass
class Lineup:
    """The methods to compare, all of one set size and pool size, in the order of the table."""

    methods: list[Method]
    absent: dict[str, str] = field(default_factory=dict)  # name → why the run does not have it
    # Curve → its methods' names with their λ; only the plots show these methods.
    curves: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    untimed: set[str] = field(default_factory=set)  # names of methods without latency
    unrepeated: set[str] = field(default_factory=set)  # names of those without Vendi across runs


def line_up(context: MethodContext, wanted: Sequence[str] | None = None) -> Lineup:
    """Build the methods that a run has, and say why it lacks the others.

    ``wanted`` are keys or names, in the order to compare them; all methods by default.

    Raises:
        InputError: If a name is unknown, a model writes another number of sub-queries than
            ``set_size``, or a plug-in named in ``wanted`` fails.
    """
    shown = [entry for entry in entries().values() if not entry.extra]
    chosen = shown if wanted is None else find(wanted, context.best_of)
    lineup = Lineup([])
    for entry in chosen:
        try:
            method = entry.build(context)
        except Unavailable as error:
            if wanted is not None or not entry.optional:
                lineup.absent[entry.title(context.best_of)] = error.reason
            continue
        except (InputError, ImportError) as error:
            if not entry.plugin or wanted is not None:
                raise
            lineup.absent[entry.name] = str(error)
            continue
        _check_size(method, context)
        lineup.methods.append(method)
        if not entry.timed:
            lineup.untimed.add(method.name)
        if not entry.repeated:
            lineup.unrepeated.add(method.name)
    return lineup


def add_choices(lineup: Lineup, choices: Sequence[Choice]) -> None:
    """Add a row with each choice below each method that has any number of draws of directions."""
    methods: list[Method] = []
    for method in lineup.methods:
        methods.append(method)
        single = method.name not in lineup.unrepeated  # not the best of several draws already
        if single and method.draws is None and isinstance(method, DrawsDirections):
            with_choice = [Chosen(method, choice) for choice in choices]
            methods += with_choice
            lineup.unrepeated.update(each.name for each in with_choice)
    lineup.methods = methods


def _check_size(method: Method, context: MethodContext) -> None:
    """Refuse a language model that writes another number of sub-queries than the set size."""
    model = method.method if isinstance(method, BestOf) else method
    if not isinstance(model, LanguageMethod):
        return
    size = model.writer.model.form.set_size
    if size != context.set_size:
        raise InputError(
            expected=f"set_size {size}, the number of sub-queries that {method.name} writes: methods "
            "are compared at one size",
            found=f"set_size {context.set_size}",
            remedy=f"Set set_size to {size}.",
        )


@dataclass
class MethodOptions:
    """Which methods to compare, and at what size.

    Args:
        set_size: Items k a method returns.
        pool_size: Distinct items P for recall, hit and facet recall.
        methods: Keys or names, such as [mmr, folm]; all that the run has by default.
        best_of: N of Best-of-N.
        temperature: Of the language models.
        choice: Draws M of further rows "+ choice": the best k directions of M draws by the composite,
            for every method with several draws; 0 for no such rows. All other rows but
            Best-of-N and "+ consensus" are one draw.
        consensus: Draws M of further rows "+ consensus": the k items that most of M draws hold, see
            ``Consensus``; 0 for no such rows.
        subqueries: JSONL file of sub-queries written elsewhere ("query" or "id", "subqueries").
        judge: Teaches the graded baselines by its verdict on every item; by default the simulated judge
            that a model of the run was tuned on, if there is one.
        curves: Trade-offs λ at which the plots draw MMR; none for no curves.
        dpp_curves: Those of DPP, which differ most near 1; 0.5, 0.7, 0.9, 0.95, 0.99 by default, if
            there are ``curves``.

    Raises:
        InputError: If a number is too small, or ``choice`` or ``consensus`` is 1.
    """

    set_size: int = 10
    pool_size: int = 150
    methods: list[str] | None = None
    best_of: int = 5
    temperature: float = 0.9
    choice: int = 0
    consensus: int = 0
    subqueries: str | None = None
    judge: Objective | None = None
    curves: list[float] = field(default_factory=lambda: [0.1, 0.3, 0.5, 0.7, 0.9])
    dpp_curves: list[float] | None = None

    def __post_init__(self) -> None:
        sizes = {"set_size": self.set_size, "pool_size": self.pool_size, "best_of": self.best_of}
        check_least(
            {name: (size, 1) for name, size in sizes.items()}
            | {"choice": (self.choice, 0), "consensus": (self.consensus, 0)}
        )
        for name in ("choice", "consensus"):
            if getattr(self, name) == 1:
                raise InputError(
                    expected="two or more draws to choose directions from",
                    found=f"{name} 1, which would choose all of one draw",
                    remedy=f"Use 2 or more, or 0 for no rows with a {name}.",
                )

    def context(
        self,
        run: Run,
        searcher: Searcher,
        queries: Sequence[Query],
        reward: Reward,
        training: Sequence[Query] | None = None,
    ) -> MethodContext:
        """Return what the methods are built from; ``MethodContext`` explains the arguments."""
        sizes, sampling = (self.set_size, self.pool_size), (self.best_of, self.temperature)
        return MethodContext(
            run, searcher, *sizes, queries, training, reward, self.judge, *sampling, self.subqueries
        )

    def line_up(self, context: MethodContext) -> Lineup:
        """Build the methods, each with its rows "+ choice" and "+ consensus", then those of the curves.

        Raises:
            InputError: If a name is unknown, a method that was named is unavailable, or the composite
                cannot choose directions (see ``Choice``).
        """
        wanted = self.methods
        if wanted is not None:  # in the order of the tables
            named = {entry.key for entry in find(wanted, self.best_of)}
            wanted = [key for key in entries() if key in named]
        lineup = line_up(context, wanted)
        if self.methods is not None and lineup.absent:
            name, reason = next(iter(lineup.absent.items()))
            raise InputError(
                expected="methods that this run has",
                found=f"{name!r}, but {reason}",
                remedy="Leave it out.",
            )
        choices: list[Choice] = [BestRows(context.composite, self.choice)] if self.choice else []
        choices += [Consensus(self.consensus)] if self.consensus else []
        add_choices(lineup, choices)
        sizes = (context.searcher, self.set_size, self.pool_size)
        dpp: Sequence[float] = DPP_CURVE if self.curves else ()
        dpp = dpp if self.dpp_curves is None else self.dpp_curves
        names = {method.name for method in lineup.methods}
        for method, trade_offs in ((Mmr(*sizes), self.curves), (Dpp(*sizes), dpp)):
            points = curve(method, trade_offs)
            if points and method.name in names:
                lineup.methods += points
                lineup.curves[method.name] = [(point.name, point.trade_off) for point in points]
                lineup.untimed |= {point.name for point in points}
        return lineup
