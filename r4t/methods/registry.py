"""Keys → methods, shipped ones and plug-ins.

A plug-in is an entry point of the group ``r4t.methods``. It names a class or function that takes a
``MethodContext`` and returns a ``Method``; the entry point's name is the key.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from typing import Any, Protocol

from r4t.choice import KNOWN
from r4t.errors import InputError, PluginError, nearest
from r4t.methods.best_of import BestOf
from r4t.methods.bounds import GreedyBound, Oracle, RandomItems, ReferenceOracle
from r4t.methods.context import MethodContext, Unavailable
from r4t.methods.diffusion import DiffusionMethod
from r4t.methods.external import ExternalSubqueries, read_subqueries
from r4t.methods.fusion import RankFusion
from r4t.methods.kmeans import KMeansFacets
from r4t.methods.language import LanguageMethod
from r4t.methods.method import Method
from r4t.methods.nearest import NoFanout
from r4t.methods.rerank import Dpp, Mmr
from r4t.methods.training_sets import NearestSets, RidgeMap
from r4t.plugins import installed, load
from r4t.reward import Reward
from r4t.search import Merge, take_turns

GROUP = "r4t.methods"


class Build(Protocol):
    """Builds a method from a context, or raises ``Unavailable``."""

    def __call__(self, context: MethodContext, *, key: str, name: str) -> Method:
        """Build it under a key and a name."""
        ...


@dataclass(frozen=True)
class MethodEntry:
    """One method of the registry.

    Attributes:
        key: What a user types.
        name: What tables show; ``{best_of}`` stands for N.
        about: What it does, in a few words.
        builder: Builds it.
        timed: Whether its latency is worth measuring: bounds answer no user.
        repeated: Whether Vendi across runs is measured: it is of single draws.
        optional: Whether tables leave it out silently if it is unavailable.
        plugin: Whether it was installed by another package.
    """

    key: str
    name: str
    about: str
    builder: Build
    timed: bool = True
    repeated: bool = True
    optional: bool = False
    plugin: bool = False

    def title(self, best_of: int) -> str:
        """Return the name with N filled in."""
        return self.name.format(best_of=best_of)

    def build(self, context: MethodContext) -> Method:
        """Build the method, or raise ``Unavailable``."""
        return self.builder(context, key=self.key, name=self.title(context.best_of))


def _plain(kind: Callable[..., Method], **settings: Any) -> Build:
    """Build methods that need only the searcher and the sizes."""
    return lambda context, **names: kind(
        context.searcher, context.set_size, context.pool_size, **settings, **names
    )


def _in_pool(kind: Callable[..., Method]) -> Build:
    """Re-rank the set within No fan-out's own pool: the same recall, cheaply."""
    return lambda context, **names: _plain(kind, depth=1, ordered=context.set_size)(
        context, **names
    )


def _remembering(kind: type[NearestSets] | type[RidgeMap]) -> Build:
    return lambda context, **_: kind(
        context.searcher, context.memory, context.set_size, context.pool_size
    )


def _external(merge: Merge) -> Build:
    def build(context: MethodContext, **names: Any) -> Method:
        path = context.subqueries
        if path is None:
            raise Unavailable("no file of sub-queries was given (subqueries)")
        subqueries = read_subqueries(path, context.queries)
        sizes = (context.set_size, context.pool_size)
        return ExternalSubqueries(context.searcher, subqueries, *sizes, merge, path, **names)

    return build


def _language(model: str, merge: Merge = take_turns) -> Build:
    return lambda context, **names: LanguageMethod(
        context.searcher, context.writer(model), context.pool_size, merge, **names
    )


def _best_of(oracle: bool) -> Build:
    def build(context: MethodContext, **names: Any) -> Method:
        writer = context.writer("zero-shot")
        if oracle:
            context.check_references()
        zero_shot = LanguageMethod(context.searcher, writer, context.pool_size)
        reward = Reward({"coverage": 1.0}) if oracle else context.composite
        return BestOf(zero_shot, reward, context.best_of, oracle, **names)

    return build


def _diffusion(context: MethodContext, **names: Any) -> Method:
    folder, sizes = context.model(names["key"]), (context.set_size, context.pool_size)
    return DiffusionMethod.load(context.searcher, folder, *sizes, **names)


def _greedy_bound(context: MethodContext, **names: Any) -> Method:
    reward = context.composite
    if reward.costly or not reward.deciding_needs <= KNOWN | {"query_texts"}:
        raise Unavailable(
            "it tries thousands of sets, and the composite reads their texts or references, or "
            "costs money"
        )
    sizes = (context.set_size, context.pool_size)
    return GreedyBound(context.searcher, reward.score, *sizes, **names)


def _oracle(context: MethodContext, **names: Any) -> Method:
    if context.truth is None:
        raise Unavailable("the catalog has no latent truth")
    return Oracle(context.searcher, context.truth, context.set_size, context.pool_size, **names)


def _references(context: MethodContext, **names: Any) -> Method:
    context.check_references()
    return ReferenceOracle(context.searcher, context.set_size, context.pool_size, **names)


E = MethodEntry
# In the order of the tables; plug-ins come before the ends of the scale.
SHIPPED = (
    E("no-fan-out", "No fan-out", "the query's nearest items", _plain(NoFanout)),
    E("mmr", "MMR", "the query's nearest items, re-ranked for difference", _plain(Mmr)),
    E("dpp", "DPP", "the query's nearest items, a determinantal point process", _plain(Dpp)),
    E("mmr-in-pool", "MMR in pool", "No fan-out's pool, its set re-ranked by MMR", _in_pool(Mmr)),
    E("dpp-in-pool", "DPP in pool", "No fan-out's pool, its set re-ranked by DPP", _in_pool(Dpp)),
    E("k-means", "k-means facets", "nearest items, by clusters in turn", _plain(KMeansFacets)),
    E(
        "nearest-sets",
        "Nearest sets",
        "directions from the reference sets of similar training queries",
        _remembering(NearestSets),
    ),
    E(
        "ridge-map",
        "Ridge map",
        "one direction, mapped linearly from the query",
        _remembering(RidgeMap),
    ),
    E("external", "External", "sub-queries from a file", _external(take_turns), optional=True),
    E(
        "external-rrf",
        "External + RRF",
        "the same, pooled by reciprocal-rank fusion",
        _external(RankFusion()),
        repeated=False,
        optional=True,
    ),
    E(
        "zero-shot",
        "Zero-shot",
        "sub-queries of the language model before tuning",
        _language("zero-shot"),
    ),
    E(
        "zero-shot-rrf",
        "Zero-shot + RRF",
        "the same, pooled by reciprocal-rank fusion",
        _language("zero-shot", RankFusion()),
        repeated=False,
    ),
    E(
        "best-of",
        "Best-of-{best_of}",
        "the best of several zero-shot draws by the composite",
        _best_of(oracle=False),
        repeated=False,
    ),
    E(
        "best-of-oracle",
        "Best-of-{best_of} (oracle)",
        "the best of several zero-shot draws by the references",
        _best_of(oracle=True),
        repeated=False,
    ),
    E("folm", "R4T-FOLM", "sub-queries of the tuned language model", _language("folm")),
    E("diffusion", "R4T-Diffusion", "directions of the diffusion retriever", _diffusion),
    E("student", "R4T-Student", "directions of its few-step student", _diffusion),
)
ENDS = (
    E("random", "Random", "random items", _plain(RandomItems), timed=False),
    E("greedy-bound", "Greedy bound", "the best direction, one by one", _greedy_bound, timed=False),
    E("oracle", "Oracle", "items that fit the latent truth", _oracle, timed=False),
    E("references", "References (oracle)", "the reference set itself", _references, timed=False),
)


def entries() -> dict[str, MethodEntry]:
    """Return every method by key, in the order of the tables; no plug-in is imported yet.

    Raises:
        InputError: If a plug-in takes the key of another method.
    """
    shipped = {entry.key for entry in (*SHIPPED, *ENDS)}
    plugins = []
    for key, point in installed(GROUP).items():
        if key in shipped:
            raise InputError(
                expected="a plug-in method with a key of its own",
                found=f"'{key}', which r4t ships, for {point.value}",
                remedy="Rename the entry point of that package, or uninstall it.",
            )
        build = partial(_plugin, point)
        plugins.append(MethodEntry(key, key, f"plug-in {point.value}", build, plugin=True))
    return {entry.key: entry for entry in (*SHIPPED, *plugins, *ENDS)}


def _plugin(point: EntryPoint, context: MethodContext, **_: str) -> Method:
    """Build a plug-in.

    Raises:
        PluginError: If it cannot be imported or built; what its package raised is the cause.
        InputError: If what it builds is not a ``Method`` of its key.
    """
    build = load(GROUP, point.name)
    try:
        method = build(context)
    except InputError:
        raise
    except Exception as error:
        raise PluginError(
            expected=f"the method '{point.name}' to be built from {point.value}",
            found=f"{type(error).__name__}: {error}",
            remedy="Repair or uninstall that package.",
        ) from error
    if not isinstance(method, Method) or method.key != point.name:
        key = getattr(method, "key", None)
        raise InputError(
            expected=f"a method with key '{point.name}', name, draws and __call__ from {point.value}",
            found=f"{type(method).__name__} with key {key!r}",
            remedy="Correct the entry point or the class of that package; see r4t.methods.Method.",
        )
    return method


def find(names: Iterable[str], best_of: int = 5) -> list[MethodEntry]:
    """Return the entries that keys or names stand for, each once, in the order given.

    Case, spaces and signs do not matter, nor does "R4T-".

    Args:
        names: Keys or names.
        best_of: N in the names of Best-of-N.

    Raises:
        InputError: If there is no such method.

    Examples:
        >>> [entry.name for entry in find(["folm", "no fan-out", "FOLM"])]
        ['R4T-FOLM', 'No fan-out']
    """
    methods = entries()
    by_letters = {
        _letters(alias): entry
        for entry in methods.values()
        for alias in (entry.title(best_of), entry.name.removeprefix("R4T-"), entry.key)
    }
    for name in names:
        if _letters(name) not in by_letters:
            raise InputError(
                expected=f"methods among {', '.join(methods)}",
                found=f"'{name}'",
                remedy=f"Name some of them.{nearest(name.casefold(), methods)}",
            )
    return list(
        {by_letters[_letters(name)].key: by_letters[_letters(name)] for name in names}.values()
    )


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
