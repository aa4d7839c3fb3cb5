"""A run folder → seconds of its language model and its diffusion retrievers, alternating (CPU)."""

import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch

from benchmarks.latency_report import Call, Group, Timing, alternate
from r4t.data.queries import Query
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.sampler import Multistep, ReverseSde, Sampler
from r4t.evaluation.latency import FRESH, time_call
from r4t.fanout.model import FanoutModel
from r4t.methods import DiffusionMethod, LanguageMethod, Method, SubqueryWriter
from r4t.retriever import POOL
from r4t.run import MODELS, Run
from r4t.search import Searcher

LANGUAGE, DIFFUSION = "R4T-FOLM", "R4T-Diffusion"
STUDENT = "accelerate/model"  # the few-step student, if a run has one
VARIANT = "float32, not compiled"
SIZE = 10


def diffusion_methods(
    searcher: Searcher, folders: dict[str, Path], steps: Sequence[int], sde: int | None
) -> dict[str, DiffusionMethod]:
    """Load every model with its exported settings, and the first one also with other samplers.

    With another sampler there is one draw per query, and its first k rows are used. This times the
    network alone.

    Args:
        searcher: The run's searcher.
        folders: Name → exported model.
        steps: Steps of ``Multistep``, one method each.
        sde: Steps of ``ReverseSde``, if any.
    """
    pool = pool_of(searcher)
    methods = {
        name: DiffusionMethod.load(searcher, SIZE, pool, folder=folder, key="", name=name)
        for name, folder in folders.items()
    }
    first = next(iter(folders.values()))
    samplers: list[Sampler] = [Multistep(count) for count in steps]
    samplers += [] if sde is None else [ReverseSde(sde)]
    for sampler in samplers:
        generator = DirectionGenerator.load(first)
        generator.sampler = sampler
        size = min(methods[next(iter(folders))].set_size, generator.set_size)
        name = f"{type(sampler).__name__}({sampler.steps}), one draw"
        methods[name] = DiffusionMethod(searcher, generator, size, pool)
    return methods


def pool_of(searcher: Searcher) -> int:
    """Pool size, as in the tables, of a catalog that may be smaller."""
    return min(POOL, len(searcher.catalog))


def models(run: Path, named: Sequence[str]) -> dict[str, Path]:
    """Name → folder of the diffusion retrievers to time.

    Args:
        run: Its own retriever comes first, then its student if it has one.
        named: Further models, each ``NAME=FOLDER``.
    """
    folders = {DIFFUSION: run / MODELS["diffusion"]}
    if (run / STUDENT).is_dir():
        folders["R4T-Student"] = run / STUDENT
    return folders | {
        name: Path(folder) for name, _, folder in (text.partition("=") for text in named)
    }


def queries_of(run: Run, searcher: Searcher) -> list[Query]:
    """All distinct queries with a word that the encoder knows, test queries first.

    If a batch repeated a query, its sub-queries would be encoded only once.
    """
    queries = [query for split in ("test", "val", "train") for query in run.read_queries(split)]
    distinct = list({query.text: query for query in queries}.values())
    return searcher.searchable(distinct)[0]


def described(method: Any) -> str:
    """Sampler, guidance and draws of a diffusion retriever, in words."""
    generator = method.generator
    sampler = generator.sampler
    choice = method.query_time.choice
    draws = "one draw"
    if choice is not None:
        draws = f"{type(choice).__name__} of {choice.draws} draws"
    return f"{type(sampler).__name__}({sampler.steps}), guidance {generator.guidance:g}, {draws}"


def measure(
    folder: Path,
    batches: Sequence[int],
    named: Sequence[str] = (),
    steps: Sequence[int] = (4, 8, 20),
    sde: int | None = None,
    most: int = 15,
    budget: float = 90.0,
) -> list[Group]:
    """Time all methods of a run, alternating, at each batch size.

    Args:
        folder: The run.
        batches: Queries per call.
        named: See ``models``.
        steps: See ``diffusion_methods``.
        sde: See ``diffusion_methods``.
        most: Maximum number of rounds.
        budget: Seconds per batch size after which no further round starts.
    """
    run = Run.open(folder)
    searcher = run.searcher()
    writer = SubqueryWriter(FanoutModel.load(folder / MODELS["folm"]))
    methods: dict[str, Method] = {LANGUAGE: LanguageMethod(searcher, writer, pool_of(searcher))}
    methods |= diffusion_methods(searcher, models(folder, named), steps, sde)
    queries = queries_of(run, searcher)
    groups = []
    for batch in batches:
        calls = []
        for name, method in methods.items():
            note = "" if name == LANGUAGE else described(method)
            calls.append(
                timed_method(Timing(name, batch, VARIANT, note=note), method, searcher, queries)
            )
        alternate(calls, most, budget)
        baseline, *others = [timing for timing, _ in calls]
        groups.append(Group(baseline, others))
        times = ", ".join(f"{t.method} {t.median('total'):.4g} s" for t, _ in calls)
        print(f"batch {batch}, {len(baseline.calls)} rounds: {times}", flush=True)
    return groups


def timed_method(
    timing: Timing, method: Method, searcher: Searcher, queries: Sequence[Query]
) -> tuple[Timing, Call]:
    """Pair a timing with its call. Each call takes the next queries, the same for every method."""
    draws = count(FRESH)  # never one that is remembered, nor that of the warm-up

    @torch.no_grad()
    def call() -> dict[str, float]:
        first = len(timing.calls) * timing.batch
        chosen = [queries[(first + row) % len(queries)] for row in range(timing.batch)]
        begin = time.process_time()
        seconds = time_call(method, searcher, chosen, next(draws))
        return seconds | {"cpu": time.process_time() - begin}

    return timing, call
