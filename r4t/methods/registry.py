"""Keys → methods, shipped ones and plug-ins.

A plug-in is an entry point of the group ``r4t.methods``. It names a class or function that takes a
``MethodContext`` and returns a ``Method``; the entry point's name is the key.
"""

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace
from functools import partial
from importlib.metadata import EntryPoint
from importlib.resources import files
from typing import Any

from r4t.choice import KNOWN, QueryTime
from r4t.errors import InputError, PluginError, nearest
from r4t.geometry import RankFusion, take_turns
from r4t.methods.best_of import BestOf
from r4t.methods.bounds import GreedyBound, Oracle, RandomItems, ReferenceOracle
from r4t.methods.context import MethodContext, Unavailable
from r4t.methods.diffusion import DiffusionMethod
from r4t.methods.external import ExternalSubqueries, read_subqueries
from r4t.methods.kept import keep_fitted
from r4t.methods.kmeans import KMeansFacets
from r4t.methods.language import LanguageMethod
from r4t.methods.learned_choice import LEAST, Chooser, LearnedChoice, fit_chooser
from r4t.methods.learned_choice import SETTINGS as LEARNED_SETTINGS
from r4t.methods.method import Method
from r4t.methods.nearby import AddedWords
from r4t.methods.nearest import NoFanout
from r4t.methods.reference_sets import SETTINGS, better, fit_regression, set_regression
from r4t.methods.rerank import Dpp, Mmr
from r4t.methods.set_regression import (
    GRADED_SETTINGS,
    Fitted,
    SetRegression,
    fit_network,
    kept,
)
from r4t.methods.training_sets import NearestSets, RidgeMap, TrainingSets
from r4t.methods.votes import MostPopular, NearestSetsByVote
from r4t.plugins import installed, load
from r4t.reward import Reward
from r4t.search import Merge

GROUP = "r4t.methods"


Build = Callable[..., Method]  # a context, key= and name= → the method; may raise Unavailable


@dataclass(frozen=True)
class MethodEntry:
    """One method of the registry."""

    key: str  # what a user types
    name: str  # what tables show; {best_of} stands for N
    about: str  # what it does, in a few words
    builder: Build
    timed: bool = True  # whether its latency is worth measuring: bounds answer no user
    repeated: bool = True  # whether Vendi across runs is measured: it is of single draws
    optional: bool = False  # whether tables leave it out silently if it is unavailable
    extra: bool = False  # whether tables have it only if it is named
    plugin: bool = False  # whether another package installed it

    def title(self, best_of: int) -> str:
        """Return the name with N filled in."""
        return self.name.format(best_of=best_of)

    def build(self, context: MethodContext) -> Method:
        """Build the method, or raise ``Unavailable``."""
        return self.builder(context, key=self.key, name=self.title(context.best_of))


def _plain(kind: Callable[..., Method], **settings: Any) -> Build:
    """Build methods that need only the searcher and the sizes."""
    return lambda context, **names: kind(
        context.searcher,
        set_size=context.set_size,
        pool_size=context.pool_size,
        **settings,
        **names,
    )


def _in_pool(kind: Callable[..., Method]) -> Build:
    """Re-rank the set within No fan-out's own pool: the same recall, cheaply."""
    return lambda context, **names: _plain(kind, depth=1, ordered=context.set_size)(
        context, **names
    )


def _remembering(kind: Callable[..., Method]) -> Build:
    return lambda context, **names: _plain(kind, training=context.memory)(context, **names)


def _by_vote(context: MethodContext, **names: str) -> Method:
    sets = {"training": context.memory, "validation": context.validation}
    return _plain(NearestSetsByVote, **sets)(context, **names)


def _external(merge: Merge = take_turns) -> Build:
    def build(context: MethodContext, **names: str) -> Method:
        path = context.subqueries
        if path is None:
            raise Unavailable("no file of sub-queries was given (subqueries)")
        settings = {"subqueries": read_subqueries(path, context.queries), "origin": path}
        return _plain(ExternalSubqueries, merge=merge, **settings)(context, **names)

    return build


def _language(model: str, merge: Merge = take_turns) -> Build:
    return lambda context, **names: LanguageMethod(
        context.searcher, context.writer(model), context.pool_size, merge, **names
    )


def _best_of(oracle: bool) -> Build:
    def build(context: MethodContext, **names: Any) -> Method:
        zero_shot = LanguageMethod(context.searcher, context.writer("zero-shot"), context.pool_size)
        if oracle:
            context.check_references()
        reward = Reward({"coverage": 1.0}) if oracle else context.composite
        return BestOf(zero_shot, reward, context.best_of, oracle, **names)

    return build


def _diffusion(context: MethodContext, key: str, name: str) -> Method:
    folder = context.model(key)
    query_time = QueryTime.load(folder)
    if not context.as_deployed:  # methods are compared without a choice, or all with the same
        query_time = replace(query_time, choice=None)
    load = _plain(DiffusionMethod.load, folder=folder, query_time=query_time)
    return load(context, key=key, name=name)


def _graded_nearest_sets(context: MethodContext, **names: str) -> Method:
    training = context.graded.with_references(context.searcher)
    return _plain(NearestSets, training=training)(context, **names)


def _graded_ridge(context: MethodContext, **names: str) -> Method:
    graded = context.graded
    targets = graded.centers(context.searcher.catalog.embeddings)
    return _plain(RidgeMap, training=graded.queries, targets=targets)(context, **names)


def _graded_regression(context: MethodContext, **names: str) -> Method:
    graded, items, size = context.graded, context.searcher.catalog, context.set_size
    about = {"catalog": items.fingerprint, **graded.facts(), **GRADED_SETTINGS}
    folder = context.run.step("graded")

    def fit() -> Fitted:
        return Fitted(fit_network(graded, items.embeddings, size))

    network = kept(folder, about, graded.vectors, size, fit).network
    return _plain(SetRegression, network=network)(context, **names)


def _set_regression(*kinds: str) -> Build:
    """Fit by each kind of loss and answer by the network with the highest validation recall."""

    def build(context: MethodContext, key: str, name: str) -> Method:
        sizes = (context.set_size, context.pool_size)
        memory = TrainingSets(name, context.searcher, context.memory, 2)
        about = {
            "catalog": context.searcher.catalog.fingerprint,
            "training": [astuple(query) for query in memory.queries],
            "validation": [astuple(query) for query in context.validation],
            "pool_size": context.pool_size,
            **SETTINGS,
        }
        folder = context.run.step("set_regression")
        fitted = []
        for kind in kinds:
            fit = partial(fit_regression, kind, memory, context.validation, *sizes)
            fitted.append(kept(folder, {**about, "loss": kind}, memory.vectors, sizes[0], fit))
        return set_regression(better(fitted), memory, *sizes, key, name)

    return build


def _learned_choice(context: MethodContext, key: str, name: str) -> Method:
    if (count := len(context.memory)) < LEAST:
        raise Unavailable(
            f"{count} training queries, besides those answered, have references, where it learns from "
            f"at least {LEAST}"
        )
    memory = TrainingSets(name, context.searcher, context.memory, LEAST)
    about = {
        "catalog": context.searcher.catalog.fingerprint,
        "training": [astuple(query) for query in memory.queries],
        **LEARNED_SETTINGS,
    }
    fit = partial(fit_chooser, memory)
    folder, taken = context.run.step("learned_choice"), Chooser.take_apart
    chooser = keep_fitted(folder, about, memory.vectors, fit, taken, Chooser.build)
    return LearnedChoice(memory, chooser, context.set_size, context.pool_size, key, name)


def _greedy_bound(context: MethodContext, **names: str) -> Method:
    reward = context.composite
    if reward.costly or not reward.deciding_needs <= KNOWN | {"query_texts"}:
        raise Unavailable(
            "it tries thousands of sets, and the composite reads their texts or references, or "
            "costs money"
        )
    return _plain(GreedyBound, score=reward.score)(context, **names)


def _oracle(context: MethodContext, **names: str) -> Method:
    if context.truth is None:
        raise Unavailable("the catalog has no latent truth")
    return _plain(Oracle, truth=context.truth)(context, **names)


def _references(context: MethodContext, **names: str) -> Method:
    context.check_references()
    return _plain(ReferenceOracle)(context, **names)


BUILDERS: dict[str, Build] = {
    "no-fan-out": _plain(NoFanout),
    "mmr": _plain(Mmr),
    "dpp": _plain(Dpp),
    "mmr-in-pool": _in_pool(Mmr),
    "dpp-in-pool": _in_pool(Dpp),
    "k-means": _plain(KMeansFacets),
    "popular": _remembering(MostPopular),
    "nearest-sets": _remembering(NearestSets),
    "nearest-sets-by-vote": _by_vote,
    "ridge-map": _remembering(RidgeMap),
    "set-regression-matched": _set_regression("matched"),
    "set-regression-mixture": _set_regression("mixture"),
    "set-regression": _set_regression("matched", "mixture"),
    "learned-choice": _learned_choice,
    "nearby-words": _plain(AddedWords),
    "external": _external(),
    "external-rrf": _external(RankFusion()),
    "zero-shot": _language("zero-shot"),
    "zero-shot-rrf": _language("zero-shot", RankFusion()),
    "best-of": _best_of(oracle=False),
    "best-of-oracle": _best_of(oracle=True),
    "graded-nearest-sets": _graded_nearest_sets,
    "graded-ridge": _graded_ridge,
    "graded-regression": _graded_regression,
    "folm": _language("folm"),
    "diffusion": _diffusion,
    "student": _diffusion,
    "refined": _diffusion,
    "random": _plain(RandomItems),
    "greedy-bound": _greedy_bound,
    "oracle": _oracle,
    "references": _references,
}
TABLE = tomllib.loads(files("r4t.methods").joinpath("shipped.toml").read_text(encoding="utf-8"))
SHIPPED = {key: MethodEntry(key, builder=BUILDERS[key], **row) for key, row in TABLE.items()}


def entries() -> dict[str, MethodEntry]:
    """Return every method by key, in the order of the tables; no plug-in is imported yet.

    Raises:
        InputError: If a plug-in takes the key of another method.
    """
    plugins = {}
    for key, point in installed(GROUP).items():
        if key in SHIPPED:
            raise InputError(
                expected="a plug-in method with a key of its own",
                found=f"'{key}', which r4t ships, for {point.value}",
                remedy="Rename the entry point of that package, or uninstall it.",
            )
        build = partial(_plugin, point)
        plugins[key] = MethodEntry(key, key, f"plug-in {point.value}", build, plugin=True)
    ends = {key: entry for key, entry in SHIPPED.items() if not entry.timed}
    return {**{key: SHIPPED[key] for key in SHIPPED if key not in ends}, **plugins, **ends}


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

    Case, spaces and signs do not matter, nor does "R4T-". ``best_of`` is N in the names of Best-of-N.

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
    chosen: dict[str, MethodEntry] = {}
    for name in names:
        if _letters(name) not in by_letters:
            raise InputError(
                expected=f"methods among {', '.join(methods)}",
                found=f"'{name}'",
                remedy=f"Name some of them.{nearest(name.casefold(), methods)}",
            )
        entry = by_letters[_letters(name)]
        chosen[entry.key] = entry
    return list(chosen.values())


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
