"""Few-step generators and their teacher → what share of the teacher's quality each keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r4t.data.queries import Query
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.training import SEEN, generated_sets
from r4t.errors import InputError
from r4t.geometry import vendi
from r4t.reward import Reward
from r4t.search import Searcher

BATCH = 64
MEASURES = ("composite", "vendi")


@dataclass(frozen=True)
class GateReport:
    """What a gate found.

    Attributes:
        teacher: Composite and Vendi score of the teacher, and its evaluations.
        found: The same of each generator by name.
        gate: Share that has to be kept.
        queries: How many were asked.
    """

    teacher: dict[str, float]
    found: dict[str, dict[str, float]]
    gate: float
    queries: int

    def kept(self, name: str) -> dict[str, float]:
        """Share of the teacher's composite and Vendi score that a generator keeps."""
        return {measure: self.found[name][measure] / self.teacher[measure] for measure in MEASURES}

    @property
    def best(self) -> str:
        """The generator whose lower share is highest; the first of equals."""
        return max(self.found, key=lambda name: min(self.kept(name).values()))

    @property
    def passed(self) -> bool:
        """Whether the best one keeps enough of both."""
        return min(self.kept(self.best).values()) >= self.gate

    def __str__(self) -> str:
        parts = []
        for name, scores in self.found.items():
            shares = " and ".join(f"{share:.1%} of {m}" for m, share in self.kept(name).items())
            parts.append(f"the {name} keeps {shares} in {scores['evaluations']:g} evaluations")
        asked = f"{self.queries} validation queries, the teacher in "
        return (
            f"On {asked}{self.teacher['evaluations']:g} evaluations: {'; '.join(parts)} (the gate is "
            f"{self.gate:.0%})"
        )

    def facts(self) -> dict[str, Any]:
        """What is stored beside the model."""
        return {
            "gate": self.gate,
            "passed": self.passed,
            "best": self.best,
            "queries": self.queries,
            "teacher": self.teacher,
            **{name: {**scores, "kept": self.kept(name)} for name, scores in self.found.items()},
        }


class Gate:
    """Measures generators with the same queries and seeds.

    Args:
        searcher: Retrieves.
        reward: Its weighted sum is the composite.
        gate: Share in [0, 1] that has to be kept.
        pool_size: Distinct items retrieved a set, for objectives that need a pool.
        anchor: Share of the query in each direction.

    Raises:
        InputError: The reward reads what a generated set has not.
    """

    def __init__(
        self,
        searcher: Searcher,
        reward: Reward,
        gate: float,
        pool_size: int | None = None,
        anchor: float = 0.0,
    ) -> None:
        known = SEEN if pool_size is not None else SEEN - {"pool"}
        if not reward.deciding_needs <= known:
            raise InputError(
                f"The gate's composite needs objectives that read no more than {sorted(known)}, "
                f"found {sorted(reward.deciding_needs)}: name other weights."
            )
        self.searcher, self.reward, self.gate = searcher, reward, gate
        self.pool_size, self.anchor = pool_size, anchor

    def measure(
        self,
        teacher: DirectionGenerator,
        generators: Mapping[str, DirectionGenerator],
        queries: Sequence[Query],
    ) -> GateReport:
        """Generate for all queries that the encoder knows a word of, and compare means.

        Args:
            teacher: The reference.
            generators: By name.
            queries: At least one.
        """
        asked, _ = self.searcher.searchable(list(queries))
        return GateReport(
            self.scores(teacher, asked),
            {name: self.scores(generator, asked) for name, generator in generators.items()},
            self.gate,
            len(asked),
        )

    def scores(self, generator: DirectionGenerator, queries: list[Query]) -> dict[str, float]:
        """Return mean composite and Vendi score over the queries, and evaluations a query."""
        sums = dict.fromkeys(MEASURES, 0.0)
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            sets = generated_sets(generator, self.searcher, part, self.pool_size, self.anchor)
            sums["composite"] += float(self.reward.score(sets).double().sum())
            sums["vendi"] += float(vendi(sets.item_embeddings, sets.mask).double().sum())
        means = {measure: total / len(queries) for measure, total in sums.items()}
        return {**means, "evaluations": generator.evaluations()}
