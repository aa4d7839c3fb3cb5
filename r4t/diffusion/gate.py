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
    """What share of their teacher's scores generators keep; scores as ``measure`` returns them."""

    teacher: dict[str, float]
    scores: dict[str, dict[str, float]]
    gate: float  # share of the teacher's scores that a generator must keep
    queries: int

    def shares(self, name: str) -> dict[str, float]:
        """Share of the teacher's composite and Vendi score that a generator keeps."""
        return {measure: self.scores[name][measure] / self.teacher[measure] for measure in MEASURES}

    @property
    def best(self) -> str:
        """The generator whose lower share is highest; the first among equals."""
        return max(self.scores, key=lambda name: min(self.shares(name).values()))

    @property
    def passed(self) -> bool:
        """Whether the best generator keeps enough of both."""
        return min(self.shares(self.best).values()) >= self.gate

    def __str__(self) -> str:
        parts = []
        for name, scores in self.scores.items():
            shares = " and ".join(f"{share:.1%} of {m}" for m, share in self.shares(name).items())
            parts.append(f"the {name} keeps {shares} in {scores['evaluations']:g} evaluations")
        return (
            f"On {self.queries} validation queries, compared with the teacher's "
            f"{self.teacher['evaluations']:g} evaluations, {'; '.join(parts)} (gate: {self.gate:.0%})"
        )

    def facts(self) -> dict[str, Any]:
        """Return what is stored beside the model."""
        shares = {name: {**each, "kept": self.shares(name)} for name, each in self.scores.items()}
        facts = {"gate": self.gate, "passed": self.passed, "best": self.best}
        return {**facts, "queries": self.queries, "teacher": self.teacher, **shares}


def measure(
    generators: Mapping[str, DirectionGenerator],
    searcher: Searcher,
    reward: Reward,
    queries: Sequence[Query],
    pool_size: int | None = None,
    anchor: float = 0.0,
) -> dict[str, dict[str, float]]:
    """Measure generators on the same queries with the same seeds, see ``generated_sets``.

    Returns:
        Generator → mean composite (weighted sum of ``reward``), mean Vendi score, and evaluations
        per query.

    Raises:
        InputError: If the reward reads a field that a generated set does not have.
    """
    fields = SEEN if pool_size is not None else SEEN - {"pool"}
    if not reward.deciding_needs <= fields:
        raise InputError(
            expected=f"objectives that read only {sorted(fields)} in the gate's composite",
            found=f"objectives that read {sorted(reward.deciding_needs)}",
            remedy="Weight other objectives.",
        )
    scores = {}
    for name, generator in generators.items():
        sums = dict.fromkeys(MEASURES, 0.0)
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            sets = generated_sets(generator, searcher, part, pool_size, anchor)
            sums["composite"] += float(reward.score(sets).double().sum())
            sums["vendi"] += float(vendi(sets.item_embeddings, sets.mask).double().sum())
        scores[name] = {measured: total / len(queries) for measured, total in sums.items()}
        scores[name]["evaluations"] = generator.evaluations()
    return scores
