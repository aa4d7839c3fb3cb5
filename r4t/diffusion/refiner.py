"""A generator and a reward → the generator refined by what its own sets are worth (stage 5)."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from r4t.choice import QueryTime
from r4t.credit import Credit, LeaveOneOut
from r4t.data.queries import Query
from r4t.diffusion.exploration import Exploration, ItemSampling
from r4t.diffusion.gate import allowed_losses, export_best
from r4t.diffusion.set_rollout import SetRollout, set_statistics
from r4t.diffusion.start import Start
from r4t.diffusion.training import GeneratorModule
from r4t.errors import check_least
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Retrieval, Searcher
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed
from r4t.training.learning_rate import RateSchedule, WarmupCosine
from r4t.training.rollouts import RolloutModule
from r4t.training.soft_grpo import SoftGRPO, TokenCounts, member_advantage

GRPO = SoftGRPO(group_size=16, updates=1)
MAX_LOSS = {"composite": 0.0, "vendi": 1.0}  # a reward may want less spread, but not less of itself


class RetrieverRefiner(RolloutModule, GeneratorModule):
    """Step 5: the retriever itself is a policy, refined by Soft-GRPO on the items it returns.

    For each query it generates k directions, tries G sets around them (``exploration``), scores what
    they retrieve by any reward, gives each member its credit, and makes ``updates`` optimizer steps
    through all evaluations of the network. Only knowledge that the reward has can be learned here:
    label-free objectives rearrange what the encoder knows, a judge, references or grades add to it.

    An export must pass a gate on the run's validation queries: the refined retriever may not lose
    against the one it started from (``max_loss``). One that fails goes to ``rejected``.

    Args:
        run: Run folder.
        reward: What to maximize. Audited objectives are scored on one set of
            each query, or on all if they may fail (``Objective.partial``).
        start: The generator to begin with: the student by default.
        exploration: What is tried around a direction; ``ItemSampling()`` by default.
        grpo: Loss, group size and updates; ``micro_batch`` is ignored.
        credit: How a set's reward is shared among its members; ``LeaveOneOut`` by default.
        pull: Weight, at least 0, of KL(policy ‖ start) at each direction: holds it near the
            distilled retriever.
        max_loss: What an export may lose of the start's composite (its reward) and Vendi score, see
            ``GateReport``: a number for both, or one for each. By default nothing of its reward, and
            one deviation of Vendi, which most rewards trade for something. 20 lets everything pass.
        optimizer: AdamW at 5e-4 with weight decay 0.01 by default.
        schedule: Of the learning rate; ``WarmupCosine(20)`` by default.
        retrieval: The pool that some objectives need. Items are searched again and again, so caching
            pays if there is a pool.
        query_time: Exported with the model. Its anchor is not trained with: afterwards it trades what
            the reward taught for nearness to the query.
        seed: Mixed with the step for what is tried.

    Raises:
        InputError: If ``pull`` is negative, ``max_loss`` does not fit, or the start does not load.
    """

    step = "refine"
    run: Run
    reward: Reward
    searcher: Searcher

    def __init__(
        self,
        run: str,
        reward: Reward,
        start: Start = Start(),
        exploration: Exploration | None = None,
        grpo: SoftGRPO = GRPO,
        credit: Credit | None = None,
        pull: float = 0.0,
        max_loss: float | dict[str, float] = MAX_LOSS,
        optimizer: OptimizerCallable = lambda weights: torch.optim.AdamW(weights, lr=5e-4),
        schedule: RateSchedule | None = None,
        retrieval: Retrieval = Retrieval(cached=2**14),
        query_time: QueryTime = QueryTime(),
        seed: int = 0,
    ) -> None:
        check_least({"pull": (pull, 0)})
        allowed_losses(max_loss)
        opened = Run.open(run)
        schedule = WarmupCosine(20) if schedule is None else schedule
        generator = start.load(opened)
        super().__init__(
            generator, seed, optimizer, schedule, opened, reward, retrieval, query_time
        )
        self.automatic_optimization = False
        self.start, self.grpo = start, grpo
        self.exploration = ItemSampling() if exploration is None else exploration
        self.credit = LeaveOneOut() if credit is None else credit
        self.pull, self.max_loss = pull, max_loss
        self._started = (copy.deepcopy(generator).requires_grad_(False).eval(),) if pull else ()
        self._items: Tensor | None = None

    @property
    def items(self) -> Tensor:
        """Embeddings (N, d) of the catalog, on the module's device."""
        if self._items is None or self._items.device != self.device:
            self._items = self.searcher.catalog.embeddings.to(self.device)
        return self._items

    def exchange(self, rows: Sequence[int]) -> SetBatch:
        """Give each of n queries of the last rollout what was tried in each of n ``rows``."""
        rollout, count = self.rollout, len(rows)
        owners = [row // self.grpo.group_size for row in rows for _ in rows]
        queries = [rollout.queries[owner] for owner in owners]
        return self._retrieve(
            queries, rollout.vectors[owners], rollout.tries.flat(list(rows) * count)
        )

    def training_step(self, batch: list[Query], batch_idx: int) -> None:
        """Try sets, score them, and step the generator ``updates`` times."""
        self.rollout = rollout = self._roll_out(batch)
        numbers = set_statistics(rollout, self.reward, self.global_step)
        numbers |= self._update(rollout)
        for name, value in numbers.items():
            bar = name == "train/reward/mean"
            self.log(name, value, prog_bar=bar, batch_size=len(batch))

    def _audited(self, sets: SetBatch) -> dict[str, Tensor]:
        """Score audited objectives on the first set of each query; the scores of others are NaN.

        One that may fail to score a set sees all of them, so that failures are told from the rest.
        """
        weighted, group, scores = self.reward.weighted_objectives, self.grpo.group_size, {}
        some = torch.arange(0, len(sets), group)
        for name, objective in self.reward.objectives.items():
            if name in weighted:
                continue
            rows = torch.arange(len(sets)) if objective.partial else some
            score = objective(sets.select(rows))
            scores[name] = score.new_full((len(sets),), torch.nan)
            scores[name][rows] = score
        return scores

    @torch.no_grad()
    def _roll_out(self, batch: list[Query]) -> SetRollout:
        """Try G sets for each query, retrieve, score, and share the reward among the members."""
        step, group = self.global_step, self.grpo.group_size
        vectors = self.searcher.encode_queries([query.text for query in batch]).to(self.device)
        seeds = [query_seed(query.id, step + 1) for query in batch]
        tried = [query_seed(f"{self.seed}/{query.id}", step + 1) for query in batch]
        with torch.enable_grad():
            means = self.generator.rows(vectors, seeds)
        tries = self.exploration.tries(means.detach(), self.items, tried, group)
        repeated = [query for query in batch for _ in range(group)]
        sets = self._retrieve(repeated, vectors.repeat_interleave(group, 0), tries.flat())
        components = self.reward.components(sets, audited=False) | self._audited(sets)
        rewards = self.reward.total(components, step)
        credits = self.credit(self.reward, sets, components, step)
        grouped = credits.unflatten(0, (len(batch), group))
        advantages = member_advantage(grouped, by_place=True, scale=self.grpo.scale_rewards)
        included = self.grpo.takes_part(
            rewards.view(len(batch), group), torch.zeros(len(batch), group, dtype=torch.bool)
        )
        mask = sets.mask & included.flatten().to(sets.mask.device).unsqueeze(1)
        advantages, mask = advantages.flatten(0, 1).to(self.device), mask.to(self.device)
        return SetRollout(
            batch,
            vectors,
            seeds,
            means,
            tries,
            sets.items,
            rewards,
            components,
            advantages,
            mask.float(),
        )

    def _retrieve(
        self, queries: list[Query], vectors: Tensor, tried: tuple[Tensor, Tensor | None]
    ) -> SetBatch:
        """Retrieve n sets for n queries: directions (n, k, d), and their items (n, k) if known."""
        searcher, pool_size, (directions, items) = self.searcher, self.retrieval.pool_size, tried
        query = vectors.to(searcher.catalog.embeddings)
        directions = directions.to(query)
        texts = [query.text for query in queries]
        if items is not None and pool_size is None:
            sets = searcher.gathered(query, items.to(query.device), directions, query_texts=texts)
        else:
            keys: list[list[Any]] | None = None
            if items is not None:  # an item's neighbors are searched for once
                keys = [[("item", row) for row in rows] for rows in items.tolist()]
            sets = searcher.retrieve(
                query, directions, query_texts=texts, pool_size=pool_size, keys=keys
            )
        return sets.extended(**searcher.reference_fields(queries))

    def _update(self, rollout: SetRollout) -> dict[str, Tensor]:
        """Step the generator ``updates`` times on a rollout; return what to log."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        weights = self._weights(rollout)
        old: Tensor | None = None
        for update in range(self.grpo.updates):
            means = rollout.means
            if update > 0:
                means = self.generator.rows(rollout.vectors, rollout.seeds)
            log_probs = self.exploration.log_probs(means, self.items, rollout.tries).flatten(0, 1)
            old = log_probs.detach() if old is None else old
            loss = self.grpo(log_probs, old, rollout.advantages, rollout.mask, weights)
            pulled = self._pulled(means, rollout)
            optimizer.zero_grad()  # type: ignore[union-attr]
            self.manual_backward(loss + self.pull * pulled)
            self.clip_gradients(optimizer, gradient_clip_val=1.0)  # type: ignore[arg-type]
            optimizer.step()  # type: ignore[union-attr]
            schedule.step()  # type: ignore[union-attr]
        numbers = {"train/loss/mean": loss.detach()}
        if self.pull:
            numbers["train/pull/mean"] = pulled.detach()
        return numbers

    def _weights(self, rollout: SetRollout) -> Tensor:
        """Return the weight of each set's members in the loss, given those of all ranks."""
        lengths = rollout.mask.sum(1)
        ranks = 1 if self._trainer is None else self.trainer.world_size
        total = lengths.sum()
        if ranks > 1:
            total = self.trainer.strategy.reduce(total, reduce_op="sum")
        return self.grpo.weights(TokenCounts(lengths, total, ranks, rollout.mask.shape[1]))

    def _pulled(self, means: Tensor, rollout: SetRollout) -> Tensor:
        """Return the mean KL of the policy from the start's, 0 without a pull."""
        if not self._started:
            return means.new_zeros(())
        with torch.no_grad():
            started = self._started[0].to(self.device)
            others = started.rows(rollout.vectors, rollout.seeds)
        return self.exploration.divergence(means, others, self.items, rollout.tries).mean()

    def validation_step(self, batch: list[Query], batch_idx: int) -> None:
        """Measure B validation queries."""
        self.validate_queries(batch)

    def export(self, folder: str | Path | None = None) -> None:
        """Export the refined generator if it passes the gate; else to ``rejected``."""
        place, start = self.export_folder(folder), self.start.reference(self.run, self.query_time)
        advice = (
            "Lower the learning rate, raise pull, add an objective that rewards spread, or raise "
            "max_loss."
        )
        export_best(self, place, start, {"refined": self.generator}, self.max_loss, advice)
