"""A run → everything that its methods are built from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from r4t.data.facet_truth import FacetTruth, load_truth
from r4t.data.queries import RECOMPOSED, Query
from r4t.errors import InputError
from r4t.methods.graded import GradedQueries, grade_queries, judge_of
from r4t.methods.language import SubqueryWriter
from r4t.methods.training_sets import all_keys, keys
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.run import MODELS, Run, command_for
from r4t.search import Searcher

EQUATION_1 = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}


class Unavailable(InputError):
    """A run lacks what a method needs: ``reason``, a clause."""

    def __init__(self, reason: str, remedy: str = "Choose another method.") -> None:
        super().__init__(
            expected="a method that this run has", found=f"that {reason}", remedy=remedy
        )
        self.reason, self.remedy = reason, remedy


class TooFewSets(Unavailable):
    """Too few training sets are left to remember, besides those of the queries to be answered."""

    def __init__(self) -> None:
        super().__init__("too few training queries, besides those answered, have references")


@dataclass
class MethodContext:
    """Everything that methods are built from."""

    run: Run  # models, queries and the catalog's truth
    searcher: Searcher  # with which all methods retrieve
    set_size: int = 10  # items k of a set
    pool_size: int = 150  # distinct items P of a pool
    queries: Sequence[Query] = ()  # to be answered, if known: no method remembers their references
    training: Sequence[Query] | None = None  # may be remembered; those of the run by default
    reward: Reward | None = None  # chooses for Best-of-N and the greedy bound; eq. 1 by default
    judge: Objective | None = None  # teaches the graded baselines; by default that of the run
    best_of: int = 5  # N of Best-of-N
    temperature: float = 0.9  # of the language models
    subqueries: str | None = None  # JSONL file of sub-queries written elsewhere
    # Language models that are loaded, by key: methods of one model share its draws.
    writers: dict[str, SubqueryWriter] = field(default_factory=dict, repr=False)
    loaded: set[str] = field(default_factory=set, repr=False)  # keys of the models that were read
    as_deployed: bool = False  # whether retrievers make the choice that they were exported with

    def __post_init__(self) -> None:
        self.judge = judge_of(self.run) if self.judge is None else self.judge

    @cached_property
    def composite(self) -> Reward:
        """The reward that chooses."""
        return Reward(EQUATION_1) if self.reward is None else self.reward

    @cached_property
    def memory(self) -> list[Query]:
        """Training queries with references, except recomposed ones and those in ``queries``.

        Raises:
            TooFewSets: If there are no more of them than items in a set.
        """
        memory = [query for query in self._training if query.references]
        if len(memory) <= self.set_size:
            raise TooFewSets
        return memory

    @cached_property
    def validation(self) -> list[Query]:
        """Validation queries with references, except those in ``queries`` and in ``memory``.

        Methods choose their settings by them; there may be none.
        """
        if not (self.run.queries / "val.jsonl").is_file():
            return []
        known = all_keys([*self.queries, *self.memory])
        queries, _ = self.searcher.searchable(self.run.read_queries("val"))
        return [query for query in queries if query.references and known.isdisjoint(keys(query))]

    @cached_property
    def truth(self) -> FacetTruth | None:
        """The latent truth beside the catalog of a generated benchmark, if there is one."""
        folder = self.run.catalog / "truth"
        ids = self.searcher.catalog.ids
        return FacetTruth(load_truth(folder), ids) if folder.is_dir() else None

    @cached_property
    def _training(self) -> list[Query]:
        """Training queries, except recomposed ones and those in ``queries``."""
        training = self.training
        if training is None:
            exist = (self.run.queries / "train.jsonl").is_file()
            training = self.run.read_queries("train") if exist else []
        answered = {key for query in self.queries for key in keys(query)}
        return [
            query
            for query in training
            if query.kind != RECOMPOSED and answered.isdisjoint(keys(query))
        ]

    @cached_property
    def graded(self) -> GradedQueries:
        """Training queries, except those in ``queries``, with a judge's verdict on every item.

        Raises:
            Unavailable: If there is no judge, or it refuses; or too few queries.
        """
        if self.judge is None:
            raise Unavailable(
                "no model of the run was tuned on the simulated judge, and no judge was named",
                "Name one (judge), or choose another method.",
            )
        if self.truth is None:
            raise Unavailable("the catalog has no latent truth")
        training, _ = self.searcher.searchable(self._training)
        if len(training) <= self.set_size:
            raise Unavailable("too few training queries, besides those answered, can be graded")
        try:
            return grade_queries(self.judge, self.searcher, training, self.truth.slots)
        except InputError as error:
            raise Unavailable(f"its judge cannot grade the training queries: {error}") from error

    def model(self, key: str) -> Path:
        """Return the folder of a run's model.

        Raises:
            Unavailable: If the run has none yet.
        """
        folder = self.run.folder / MODELS[key]
        if not folder.is_dir():
            command = command_for(MODELS[key], self.run.folder)
            models = self.run.models()
            others = f" Models of this run: {', '.join(models)}." if models else ""
            raise Unavailable(
                f"the run has no model in {MODELS[key]} yet",
                f"Run the steps up to it; the last one is {command}.{others}",
            )
        self.loaded.add(key)
        return folder

    def writer(self, key: str) -> SubqueryWriter:
        """Return what writes with a language model of the run; its draws are shared by methods."""
        if key not in self.writers:
            from r4t.fanout.model import FanoutModel

            model = FanoutModel.load(self.model(key))
            self.writers[key] = SubqueryWriter(model, self.temperature)
        return self.writers[key]

    def check_references(self) -> None:
        """Raise ``Unavailable`` if a query has no references."""
        bare = sum(not query.references for query in self.queries)
        if bare:
            raise Unavailable(f"{bare} of {len(self.queries)} queries have no references")
