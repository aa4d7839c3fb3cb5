"""Retrievers on the same queries → what each loses against one of them, and which may be deployed."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from r4t.choice import QueryTime
from r4t.data.queries import Query
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.training import GeneratorModule, on_its_device
from r4t.errors import InputError, check_least
from r4t.geometry import distinct_first, vendi
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.files import write_text

BATCH = 64
LEAST_SCALE = 0.05  # of a measure's range
POOL = 150  # items to take an answer from, if the reward reads no pool
COMPOSITE, VENDI = "composite", "vendi"
MaxLoss = float | Mapping[str, float]


def allowed_losses(max_loss: MaxLoss) -> dict[str, float]:
    """Return what a retriever may lose at most in each measure of the gate; a number means both.

    Raises:
        InputError: If a measure is missing, unknown or given a negative number.

    Examples:
        >>> allowed_losses(0.1)
        {'composite': 0.1, 'vendi': 0.1}
    """
    if not isinstance(max_loss, Mapping):
        check_least({"max_loss": (max_loss, 0)})
        return {COMPOSITE: max_loss, VENDI: max_loss}
    if set(max_loss) != {COMPOSITE, VENDI}:
        raise InputError(
            expected=f"max_loss for {COMPOSITE} and {VENDI}, or one number for both",
            found=f"it for {', '.join(map(str, max_loss)) or 'nothing'}",
            remedy=f"Write max_loss: {{{COMPOSITE}: 0.0, {VENDI}: 1.0}}; 20 lets everything pass.",
        )
    check_least({f"max_loss of {measure}": (most, 0) for measure, most in max_loss.items()})
    return {measure: max_loss[measure] for measure in (COMPOSITE, VENDI)}


class Answering(Protocol):
    """A retriever as the gate sees it."""

    @property
    def evaluations(self) -> int:
        """How often the network runs for a query."""

    def __call__(self, queries: Sequence[Query], vectors: Tensor) -> SetBatch:
        """Answer B queries with the unit vectors (B, d)."""


@dataclass(frozen=True)
class Deployed:
    """A generator as it answers once it is deployed: with its steps, its choice and its anchor.

    Args:
        generator: Generates L rows per query and seed, on any device.
        query_time: How it answers.
        searcher: The frozen retriever.
        pool_size: Distinct items for objectives that need a pool; none by default.
        size: Number k of directions, as users will ask for; at most as many as there are.
    """

    generator: DirectionGenerator
    query_time: QueryTime
    searcher: Searcher
    pool_size: int | None = None
    size: int = 10

    @property
    def evaluations(self) -> int:
        """How often the network runs for a query, in all draws together."""
        return self.generator.evaluations() * self.query_time.draws

    def __call__(self, queries: Sequence[Query], vectors: Tensor) -> SetBatch:
        """Answer B queries; sets carry references if there are any."""
        sizes = (min(self.size, self.query_time.most(self.generator.set_size)), self.pool_size)
        generate = on_its_device(self.generator)
        sets = self.query_time.answer(generate, self.searcher, queries, vectors, *sizes)
        return sets.extended(**self.searcher.reference_fields(queries))


@dataclass(frozen=True)
class Measured:
    """A retriever's values on n queries by measure, (n,) each: NaN where a measure does not apply."""

    values: Mapping[str, Tensor]
    evaluations: int  # of the network per query

    def mean(self, measure: str) -> float:
        """Mean over the queries with a value; NaN if there is none."""
        return self.values[measure].double().nanmean().item()


@dataclass(frozen=True)
class GateReport:
    """What candidates lose against a reference, measure by measure.

    A loss is ``(mean of the reference − mean of the candidate) / scale``, over the queries with both
    values; negative if the candidate gains. The scale is the standard deviation of the reference's
    values over queries (n − 1), but at least ``LEAST_SCALE`` of the measure's range, so that it is
    never 0. Unlike a ratio, a loss does not depend on where the measure has its zero; it is at most
    1 / ``LEAST_SCALE``, so a gate of 20 lets everything pass.

    Args:
        reference: Name of the retriever to compare with, among ``measured``.
        measured: All retrievers by name.
        ranges: Measure → its lowest and highest possible value.
        max_loss: What the best candidate may lose at most, by measure.
    """

    reference: str
    measured: Mapping[str, Measured]
    ranges: Mapping[str, tuple[float, float]]
    max_loss: Mapping[str, float]

    @property
    def candidates(self) -> list[str]:
        """Names of all retrievers but the reference."""
        return [name for name in self.measured if name != self.reference]

    def scale(self, measure: str) -> float:
        """Return what a loss of 1 is, in units of the measure."""
        values = self.measured[self.reference].values[measure].double()
        values = values[~values.isnan()]
        low, high = self.ranges[measure]
        deviation = values.std().item() if len(values) > 1 else 0.0
        return max(deviation, LEAST_SCALE * (high - low))

    def losses(self, name: str) -> dict[str, float]:
        """Loss of a candidate by measure; infinite if it shares no query with the reference."""
        losses = {}
        for measure in self.ranges:
            ours, theirs = (self.measured[n].values[measure] for n in (self.reference, name))
            lost = (ours.double() - theirs.double()).nanmean().item()
            lost = math.inf if math.isnan(lost) else lost
            losses[measure] = lost / self.scale(measure) if lost else 0.0
        return losses

    def excess(self, name: str) -> dict[str, float]:
        """Return by how much a candidate loses more than is allowed, by measure."""
        return {
            measure: loss - self.max_loss[measure] for measure, loss in self.losses(name).items()
        }

    @property
    def best(self) -> str:
        """The candidate whose largest excess is smallest; the first among equals."""
        return min(self.candidates, key=lambda name: max(self.excess(name).values()))

    @property
    def failed(self) -> list[str]:
        """Measures in which the best candidate loses too much."""
        return [measure for measure, excess in self.excess(self.best).items() if excess > 0]

    def __str__(self) -> str:
        parts = []
        for name in self.candidates:
            losses = " and ".join(f"{x:+.2f} in {m}" for m, x in self.losses(name).items())
            parts.append(f"the {name} ({self.measured[name].evaluations} evaluations) {losses}")
        scales = ", ".join(f"{self.scale(measure):.3g} in {measure}" for measure in self.ranges)
        allowed = " and ".join(f"{self.max_loss[name]:g} in {name}" for name in self.ranges)
        evaluations = self.measured[self.reference].evaluations
        return (
            f"On {self._queries} validation queries the {self.reference} ({evaluations} evaluations) "
            f"is ahead by: {'; '.join(parts)}. One unit is {scales}; at most {allowed} are allowed"
        )

    @property
    def _queries(self) -> int:
        return len(next(iter(self.measured[self.reference].values.values())))

    def facts(self) -> dict[str, Any]:
        """Return what is stored beside the model."""
        retrievers = {
            name: {
                **{measure: each.mean(measure) for measure in self.ranges},
                "evaluations": each.evaluations,
                **({} if name == self.reference else {"lost": self.losses(name)}),
            }
            for name, each in self.measured.items()
        }
        facts = {"max_loss": dict(self.max_loss), "passed": not self.failed, "failed": self.failed}
        scales = {measure: self.scale(measure) for measure in self.ranges}
        return {
            **facts,
            "best": self.best,
            "queries": self._queries,
            "reference": self.reference,
            "scales": scales,
        } | retrievers


@torch.no_grad()
def compare(
    reference: str,
    retrievers: Mapping[str, Answering],
    searcher: Searcher,
    reward: Reward,
    queries: Sequence[Query],
    max_loss: MaxLoss,
) -> GateReport:
    """Measure retrievers by the composite (the sum of ``reward``) and the Vendi score of their answers.

    The Vendi score is that of the items that users get: distinct ones, variants counting once, if the
    sets carry a pool; else of the members.

    Args:
        reference: Name of the one that the others are compared with.
        retrievers: All of them by name.
        searcher: Encodes the queries.
        reward: Its objectives read what the retrievers' sets carry.
        queries: At least one; the encoder must know a word of each.
        max_loss: See ``allowed_losses``.

    Raises:
        InputError: If ``max_loss`` does not fit, or the reward reads a field that a set does not carry.
    """
    measured, size, variants = {}, 1, searcher.catalog.variants()
    for name, answer in retrievers.items():
        composites, scores = [], []
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            sets = answer(part, searcher.encode_queries([query.text for query in part]))
            if not reward.deciding_needs <= sets.present:
                raise InputError(
                    expected=f"objectives that read only {sorted(sets.present)} in the gate's "
                    "composite",
                    found=f"objectives that read {sorted(reward.deciding_needs)}",
                    remedy="Weight other objectives.",
                )
            size = max(size, sets.set_size)
            composites.append(reward.score(sets))
            shown = sets.one_per_variant(variants)
            rows = distinct_first(shown.items if shown.pool is None else shown.pool, sets.set_size)
            scores.append(vendi(searcher.embeddings(rows), rows >= 0))
        values = {COMPOSITE: torch.cat(composites).cpu(), VENDI: torch.cat(scores).cpu()}
        measured[name] = Measured(values, answer.evaluations)
    ranges = {COMPOSITE: reward.bounds, VENDI: (1.0, float(size))}
    return GateReport(reference, measured, ranges, allowed_losses(max_loss))


def export_best(
    module: GeneratorModule,
    place: Path,
    reference: tuple[str, DirectionGenerator, QueryTime],
    candidates: Mapping[str, DirectionGenerator],
    max_loss: MaxLoss,
    advice: str,
) -> None:
    """Export the candidate that loses least against a reference, with the report in ``gate.json``.

    One that loses too much goes to the folder ``rejected`` beside ``place`` instead, with a warning.
    Without a run and a reward there is nothing to compare, and the first candidate is exported.

    Args:
        module: All answer the validation queries of its run, candidates with its ``query_time``; the
            composite is the sum of its reward.
        place: Folder.
        reference: Name, generator and how it answers.
        candidates: Generators by name.
        max_loss: See ``allowed_losses``.
        advice: What to do about a model that loses too much.

    Raises:
        InputError: As ``compare``.
    """
    run, searcher, reward = module.run, module.searcher, module.reward
    if run is None or searcher is None or reward is None:
        module.write(next(iter(candidates.values())), place)
        return
    name, generator, query_time = reference
    ways = {name: (generator.to(module.device).eval(), query_time)}
    ways |= {key: (each, module.query_time) for key, each in candidates.items()}
    pool_size = module.retrieval.pool_size
    if pool_size is None:
        pool_size = min(POOL, len(searcher.catalog))
    answers = {key: Deployed(*way, searcher, pool_size) for key, way in ways.items()}
    queries, _ = searcher.searchable(run.read_queries("val"))
    report = compare(name, answers, searcher, reward, queries, max_loss)
    if report.failed:
        place = place.with_name("rejected")
        warnings.warn(
            f"{report}: the {report.best} loses too much in {' and '.join(report.failed)}. It is in "
            f"{place} and is not deployed. {advice}",
            stacklevel=2,
        )
    else:
        print(report)
    module.write(candidates[report.best], place)
    reward.save_facts(place)
    write_text(place / "gate.json", json.dumps(report.facts(), indent=2) + "\n")
