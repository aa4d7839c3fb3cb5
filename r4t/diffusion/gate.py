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
    """Composite and Vendi score of a teacher and of the generators that learned from it.

    Attributes:
        teacher: Mean composite and Vendi score, and evaluations a query.
        scores: The same of each generator by name.
        gate: Share of the teacher's scores that must be kept.
        queries: How many were measured.
    """

    teacher: dict[str, float]
    scores: dict[str, dict[str, float]]
    gate: float
    queries: int

    def kept(self, name: str) -> dict[str, float]:
        """Share of the teacher's composite and Vendi score that a generator keeps."""
        return {measure: self.scores[name][measure] / self.teacher[measure] for measure in MEASURES}

    @property
    def best(self) -> str:
        """The generator whose lower share is highest; the first of equals."""
        return max(self.scores, key=lambda name: min(self.kept(name).values()))

    @property
    def passed(self) -> bool:
        """Whether the best one keeps enough of both."""
        return min(self.kept(self.best).values()) >= self.gate

    def __str__(self) -> str:
        parts = []
        for name, scores in self.scores.items():
            shares = " and ".join(f"{share:.1%} of {m}" for m, share in self.kept(name).items())
            parts.append(f"the {name} keeps {shares} in {scores['evaluations']:g} evaluations")
        return (
            f"On {self.queries} validation queries, the teacher in "
            f"{self.teacher['evaluations']:g} evaluations: {'; '.join(parts)} (the gate is "
            f"{self.gate:.0%})"
        )

    def facts(self) -> dict[str, Any]:
        """Return what is stored beside the model."""
        return {
            "gate": self.gate,
            "passed": self.passed,
            "best": self.best,
            "queries": self.queries,
            "teacher": self.teacher,
            **{name: {**scores, "kept": self.kept(name)} for name, scores in self.scores.items()},
        }


@dataclass(frozen=True)
class Gate:
    """Measures generators on the same queries with the same seeds.

    Args:
        searcher: Retrieves.
        reward: Its weighted sum is the composite.
        gate: Share of the teacher's scores in [0, 1] that must be kept.
        pool_size: Distinct items retrieved a set, for objectives that need a pool.
        anchor: Share of the query in each direction.

    Raises:
        InputError: If the reward reads a field that a generated set does not have.
    """

    searcher: Searcher
    reward: Reward
    gate: float
    pool_size: int | None = None
    anchor: float = 0.0

    def __post_init__(self) -> None:
        fields = SEEN if self.pool_size is not None else SEEN - {"pool"}
        if not self.reward.deciding_needs <= fields:
            raise InputError(
                expected=f"objectives that read only {sorted(fields)} in the gate's composite",
                found=f"objectives that read {sorted(self.reward.deciding_needs)}",
                remedy="Name other weights.",
            )

    def measure(
        self,
        teacher: DirectionGenerator,
        generators: Mapping[str, DirectionGenerator],
        queries: Sequence[Query],
    ) -> GateReport:
        """Compare generators with their teacher on the queries of which the encoder knows a word."""
        known, _ = self.searcher.searchable(list(queries))
        scores = {name: self._scores(generator, known) for name, generator in generators.items()}
        return GateReport(self._scores(teacher, known), scores, self.gate, len(known))

    def _scores(self, generator: DirectionGenerator, queries: list[Query]) -> dict[str, float]:
        sums = dict.fromkeys(MEASURES, 0.0)
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            sets = generated_sets(generator, self.searcher, part, self.pool_size, self.anchor)
            sums["composite"] += float(self.reward.score(sets).double().sum())
            sums["vendi"] += float(vendi(sets.item_embeddings, sets.mask).double().sum())
        means = {measure: total / len(queries) for measure, total in sums.items()}
        return {**means, "evaluations": generator.evaluations()}
