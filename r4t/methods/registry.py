"""Keys → methods, shipped ones and plug-ins.

A plug-in is an entry point of the group ``r4t.methods``. It names a class or function that takes a
``MethodContext`` and returns a ``Method``; the entry point's name is the key.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint

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
Build = Callable[[MethodContext], Method]


@dataclass(frozen=True)
class MethodEntry:
    """One method of the registry.

    Attributes:
        key: What a user types.
        name: What tables show; ``{best_of}`` stands for N.
        about: What it does, in a few words.
        build: Builds it, or raises ``Unavailable``.
        timed: Whether its latency is worth measuring: bounds answer no user.
        repeated: Whether Vendi across runs is measured: it is of single draws.
        optional: Whether tables leave it out silently if it is unavailable.
        plugin: The entry point that it came from, if it was not shipped.
    """

    key: str
    name: str
    about: str
    build: Build
    timed: bool = True
    repeated: bool = True
    optional: bool = False
    plugin: EntryPoint | None = None

    def title(self, best_of: int) -> str:
        """Return the name with N filled in."""
        return self.name.format(best_of=best_of)


def _plain(kind: Callable[..., Method], **settings: object) -> Build:
    """Build methods that need only the searcher and the sizes."""
    return lambda context: kind(context.searcher, context.set_size, context.pool_size, **settings)


def _in_pool(kind: type[Mmr] | type[Dpp], key: str, name: str) -> Build:
    """Re-rank the set within No fan-out's own pool: the same recall, cheaply."""
    return lambda context: kind(
        context.searcher,
        context.set_size,
        context.pool_size,
        depth=1,
        ordered=context.set_size,
        key=key,
        name=name,
    )


def _remembering(kind: type[NearestSets] | type[RidgeMap]) -> Build:
    return lambda context: kind(
        context.searcher, context.memory, context.set_size, context.pool_size
    )


def _external(merge: Merge, key: str, name: str, context: MethodContext) -> Method:
    if context.subqueries is None:
        raise Unavailable("no file of sub-queries was given (subqueries)")
    return ExternalSubqueries(
        context.searcher,
        read_subqueries(context.subqueries, context.queries),
        context.set_size,
        context.pool_size,
        merge,
        context.subqueries,
        key,
        name,
    )


def _language(
    model: str, key: str, name: str, merge: Merge, context: MethodContext
) -> LanguageMethod:
    return LanguageMethod(
        key, name, context.searcher, context.writer(model), context.pool_size, merge
    )


def _best_of(context: MethodContext) -> Method:
    zero_shot = _language("zero-shot", "", "", take_turns, context)
    name = f"Best-of-{context.best_of}"
    return BestOf("best-of", name, zero_shot, context.composite, context.best_of)


def _best_of_oracle(context: MethodContext) -> Method:
    zero_shot = _language("zero-shot", "", "", take_turns, context)
    context.check_references()
    name, covered = f"Best-of-{context.best_of} (oracle)", Reward({"coverage": 1.0})
    return BestOf("best-of-oracle", name, zero_shot, covered, context.best_of, oracle=True)


def _diffusion(key: str, name: str, context: MethodContext) -> Method:
    return DiffusionMethod.load(
        context.searcher, context.model(key), context.set_size, context.pool_size, key, name
    )


def _greedy_bound(context: MethodContext) -> Method:
    reward = context.composite
    if reward.costly or not reward.deciding_needs <= KNOWN | {"query_texts"}:
        raise Unavailable(
            "it tries thousands of sets, and the composite reads their texts or references, or "
            "costs money"
        )
    return GreedyBound(context.searcher, reward.score, context.set_size, context.pool_size)


def _oracle(context: MethodContext) -> Method:
    if context.truth is None:
        raise Unavailable("the catalog has no latent truth")
    return Oracle(context.searcher, context.truth, context.set_size, context.pool_size)


def _references(context: MethodContext) -> Method:
    context.check_references()
    return ReferenceOracle(context.searcher, context.set_size, context.pool_size)


# In the order of the tables; plug-ins come before the ends of the scale.
SHIPPED = (
    MethodEntry("no-fan-out", "No fan-out", "the query's nearest items", _plain(NoFanout)),
    MethodEntry("mmr", "MMR", "the query's nearest items, re-ranked for difference", _plain(Mmr)),
    MethodEntry(
        "dpp",
        "DPP",
        "the query's nearest items, picked as a determinantal point process",
        _plain(Dpp),
    ),
    MethodEntry(
        "mmr-in-pool",
        "MMR in pool",
        "the pool of No fan-out, its set re-ranked by MMR",
        _in_pool(Mmr, "mmr-in-pool", "MMR in pool"),
    ),
    MethodEntry(
        "dpp-in-pool",
        "DPP in pool",
        "the pool of No fan-out, its set re-ranked by DPP",
        _in_pool(Dpp, "dpp-in-pool", "DPP in pool"),
    ),
    MethodEntry(
        "k-means",
        "k-means facets",
        "the query's nearest items, by clusters in turn",
        _plain(KMeansFacets),
    ),
    MethodEntry(
        "nearest-sets",
        "Nearest sets",
        "directions from the reference sets of similar training queries",
        _remembering(NearestSets),
    ),
    MethodEntry(
        "ridge-map",
        "Ridge map",
        "one direction, mapped linearly from the query",
        _remembering(RidgeMap),
    ),
    MethodEntry(
        "external",
        "External",
        "sub-queries written elsewhere, from a file",
        partial(_external, take_turns, "external", "External"),
        optional=True,
    ),
    MethodEntry(
        "external-rrf",
        "External + RRF",
        "the same, its pool by reciprocal-rank fusion",
        partial(_external, RankFusion(), "external-rrf", "External + RRF"),
        repeated=False,
        optional=True,
    ),
    MethodEntry(
        "zero-shot",
        "Zero-shot",
        "sub-queries of the language model before tuning",
        partial(_language, "zero-shot", "zero-shot", "Zero-shot", take_turns),
    ),
    MethodEntry(
        "zero-shot-rrf",
        "Zero-shot + RRF",
        "the same, its pool by reciprocal-rank fusion",
        partial(_language, "zero-shot", "zero-shot-rrf", "Zero-shot + RRF", RankFusion()),
        repeated=False,
    ),
    MethodEntry(
        "best-of",
        "Best-of-{best_of}",
        "the best of several zero-shot draws by the composite",
        _best_of,
        repeated=False,
    ),
    MethodEntry(
        "best-of-oracle",
        "Best-of-{best_of} (oracle)",
        "the best of several zero-shot draws by the references",
        _best_of_oracle,
        repeated=False,
    ),
    MethodEntry(
        "folm",
        "R4T-FOLM",
        "sub-queries of the tuned language model",
        partial(_language, "folm", "folm", "R4T-FOLM", take_turns),
    ),
    MethodEntry(
        "diffusion",
        "R4T-Diffusion",
        "directions of the diffusion retriever",
        partial(_diffusion, "diffusion", "R4T-Diffusion"),
    ),
    MethodEntry(
        "student",
        "R4T-Student",
        "directions of its few-step student",
        partial(_diffusion, "student", "R4T-Student"),
    ),
)
ENDS = (
    MethodEntry("random", "Random", "random items", _plain(RandomItems), timed=False),
    MethodEntry(
        "greedy-bound",
        "Greedy bound",
        "directions added one by one, each the best for the composite",
        _greedy_bound,
        timed=False,
    ),
    MethodEntry("oracle", "Oracle", "items that fit the latent truth", _oracle, timed=False),
    MethodEntry(
        "references",
        "References (oracle)",
        "the reference set itself",
        _references,
        timed=False,
    ),
)


def entries() -> dict[str, MethodEntry]:
    """Return every method by key, in the order of the tables; no plug-in is imported yet.

    Raises:
        InputError: If a plug-in takes the key of another method.
    """
    plugins = [
        MethodEntry(
            point.name, point.name, f"plug-in {point.value}", partial(_plugin, point), plugin=point
        )
        for point in installed(GROUP).values()
    ]
    by_key: dict[str, MethodEntry] = {}
    for entry in (*SHIPPED, *plugins, *ENDS):
        if entry.plugin is not None and any(entry.key == e.key for e in (*SHIPPED, *ENDS)):
            raise InputError(
                expected="a plug-in method with a key of its own",
                found=f"'{entry.key}', which r4t ships, for {entry.plugin.value}",
                remedy="Rename the entry point of that package, or uninstall it.",
            )
        by_key[entry.key] = entry
    return by_key


def _plugin(point: EntryPoint, context: MethodContext) -> Method:
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
