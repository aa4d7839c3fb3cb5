"""The models of a run, each timed from query texts to sets on one searcher."""

from pathlib import Path
from typing import Any

from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.sampler import Multistep
from r4t.evaluation.latency import TimedSearcher, timed_call
from r4t.evaluation.learned import FanOutMethod
from r4t.evaluation.lineup import Methods
from r4t.retriever import MODELS, DiffusionFanOut
from r4t.reward import Reward
from r4t.run import Run

SIZE, POOL = 10, 150
STEPS = (4, 8, 20)  # of the teacher, without a choice among draws
WEIGHTS = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}


def run_sides(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sides by name, and what to tell of them."""
    run = Run.open(folder)
    searcher = TimedSearcher(run.searcher())
    queries, _ = searcher.searchable(run.read_queries("test"))
    wanted = [
        name
        for name, model in (
            ("R4T-FOLM", "folm"),
            ("R4T-Diffusion", "diffusion"),
            ("R4T-Student", "student"),
        )
        if (run.folder / MODELS[model]).is_dir()
    ]
    lineup = Methods(set_size=SIZE, pool_size=POOL, methods=wanted, curves=[]).build(
        run, searcher, queries, Reward(WEIGHTS)
    )
    methods: dict[str, Any] = {
        method.name: getattr(method, "uncached", lambda method=method: method)()
        for method in lineup.methods
    }
    evaluations = {}
    for name in ("R4T-Diffusion", "R4T-Student"):
        if name in methods:
            fan_out = methods[name].fan_out
            draws = 1 if fan_out.choice is None else fan_out.choice.draws
            evaluations[name] = {
                "evaluations": fan_out.generator.evaluations(),
                "sets a query": draws,
            }
    for steps in STEPS:
        generator = DirectionGenerator.load(run.folder / MODELS["diffusion"])
        generator.sampler = Multistep(steps)
        name = f"teacher, Multistep {steps}"
        methods[name] = FanOutMethod(name, DiffusionFanOut(searcher, generator, SIZE), POOL)
        evaluations[name] = {"evaluations": generator.evaluations(), "sets a query": 1}

    def side(method: Any) -> Any:
        return lambda batch, call: timed_call(method, searcher, queries, batch, call)

    facts = {"evaluations": evaluations, "pool_size": POOL, "items": len(searcher.catalog)}
    return {name: side(method) for name, method in methods.items()}, facts
