"""Queries → a fan-out language model tuned by Soft-GRPO (stage 1)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.fanout.backend import Backend
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.language_model import LanguageModelSource, Pretrained
from r4t.fanout.model import Fanouts
from r4t.grpo.loss import SoftGRPO, TokenCounts, policy_statistics
from r4t.grpo.policy import without_dropout
from r4t.grpo.rollout import (
    Rollout,
    UpdateBatch,
    backend_gap,
    component_numbers,
    rollout_numbers,
    speed_numbers,
)
from r4t.grpo.training import CACHED, FanoutModule
from r4t.grpo.warm_start import WarmStart
from r4t.reward import Reward
from r4t.support.seeds import query_seed

__all__ = ["FanoutModule", "FanoutTuner", "WarmStart"]  # configs name all of step 0 and 1 here


class FanoutTuner(FanoutModule):
    """Step 1: Soft-GRPO on a set-level reward (paper, eqs 6 to 8).

    Each training step samples G fan-outs a query, retrieves, scores, and makes ``updates``
    optimizer steps on them. ``global_step`` and ``max_steps`` count optimizer steps. Dropout of the
    model is off: the policy that learns is the one that sampled.

    Args:
        run: Run folder.
        reward: Trained on.
        lm: Where the language model comes from; the warm-started one by default.
        form: What it reads and writes; by default what the model was saved with, or ``Expand``.
        loss: Clip and KL coefficients, normalization, and which rollouts have a part in it.
        group_size: Rollouts G a query, at least 2.
        updates: Optimizer steps a rollout; from the second on the KL terms act.
        micro_batch: Rollouts in one forward pass; gradients are accumulated over all of them.
        learning_rate: Peak, of AdamW.
        max_new_tokens: Longest completion in tokens.
        temperature: Of the sampling policy; log-probabilities are taken at the same one.
        pool_size: Distinct items retrieved a set, for objectives that need a pool.
        cached: How many texts' vectors and sub-queries' items to keep, because most sub-queries
            are written again; the ones unused for longest go first. 0 for none.
        backend: What runs the model while it writes; ``Transformers`` by default.

    Raises:
        InputError: ``group_size`` is below 2, ``updates`` or ``micro_batch`` below 1.
    """

    step = "tune"

    def __init__(
        self,
        run: str,
        reward: Reward,
        lm: LanguageModelSource | None = None,
        form: FanoutFormat | None = None,
        loss: SoftGRPO | None = None,
        group_size: int = 8,
        updates: int = 2,
        micro_batch: int = 64,
        learning_rate: float = 3e-4,
        max_new_tokens: int = 64,
        temperature: float = 0.9,
        pool_size: int | None = None,
        cached: int = CACHED,
        backend: Backend | None = None,
    ) -> None:
        if group_size < 2:
            raise InputError(
                f"group_size must be at least 2, found {group_size}; an advantage compares the "
                "rollouts of one query with each other."
            )
        check_least({"updates": (updates, 1), "micro_batch": (micro_batch, 1)})
        super().__init__(
            run,
            Pretrained("warm_start/model") if lm is None else lm,
            form,
            reward,
            learning_rate,
            max_new_tokens,
            temperature,
            pool_size,
            cached,
            backend,
        )
        without_dropout(self.fanout.lm)
        self.loss = SoftGRPO() if loss is None else loss
        self.group_size = group_size
        self.updates = updates
        self.micro_batch = micro_batch
        self.automatic_optimization = False
        self.rollout: Rollout | None = None

    def on_train_start(self) -> None:
        """Check what is read, and let what writes take over the weights that training begins with."""
        super().on_train_start()
        self.fanout.backend.sync(self.fanout)

    def training_step(self, batch: list[Query], batch_idx: int) -> None:
        """Roll out, score, and step the policy ``updates`` times."""
        watch, size = self.watch, len(batch)
        texts = [query.text for query in batch]
        seeds = [query_seed(query.id, self.global_step + 1) for query in batch]
        with watch.part("generate"):
            fanouts = self.fanout.sample(texts, seeds, self.group_size, self.temperature)
            truncated = self.fanout.truncated(fanouts)
        sets = self.retrieve(batch, fanouts)
        with watch.part("score"):
            components = self.reward.components(sets)
            rewards = self.reward.total(components, self.global_step)
        grouped = rewards.view(size, self.group_size)
        advantages = self.loss.advantages(grouped).flatten()
        self.rollout = Rollout(
            batch, fanouts.texts, fanouts.subqueries, rewards, components, advantages
        )
        part = self.loss.takes_part(grouped, truncated.view_as(grouped).to(grouped.device))
        mask = fanouts.completion_mask * part.view(-1, 1).to(self.device)
        self._log_all(rollout_numbers(self.rollout, fanouts, sets, truncated), size)
        self._log_all(component_numbers(self.rollout, self.reward, self.global_step), size)
        with watch.part("update"):
            self._update(fanouts, advantages.to(self.device), mask, size)
            self.fanout.backend.sync(self.fanout)
        self._log_all(speed_numbers(watch.take(), int(fanouts.completion_mask.sum())), size)
        self._log_all(self._hits(), size)

    def _update(self, fanouts: Fanouts, advantages: Tensor, mask: Tensor, batch_size: int) -> None:
        """Step the policy ``updates`` times on what ``mask`` (n, T) leaves of a rollout.

        Where no rank has an advantage there is nothing to learn: the policy stays where it sampled
        from, and there the KL terms push nowhere on average. Such a step is counted, but no weight
        moves, neither by the optimizer's momentum nor by its decay.
        """
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        lengths = mask.sum(1)
        telling = ((advantages != 0) & (lengths > 0)).sum()
        # Ranks go backward together or not at all; one with nothing to tell gives zeros.
        tokens, telling = self.trainer.strategy.reduce(
            torch.stack([lengths.sum(), telling]), reduce_op="sum"
        )
        extent = TokenCounts(lengths, tokens, self.trainer.world_size, self.fanout.max_new_tokens)
        lesson = UpdateBatch(fanouts, advantages, mask, self.loss.weights(extent))
        old: Tensor | None = None  # log π_old: of the policy before the first step
        for _ in range(self.updates):
            optimizer.zero_grad()  # type: ignore[union-attr]
            with torch.set_grad_enabled(bool(telling)):
                loss, log_probs, spread = self._pass(lesson, old)
            if old is None:
                old, entropy = log_probs, spread
                gap = backend_gap(self.fanout.backend.log_probs, old, fanouts.completion_mask)
            statistics = policy_statistics(log_probs, old, mask, self.loss.clip)
            self.clip_gradients(optimizer, gradient_clip_val=1.0)  # type: ignore[arg-type]
            optimizer.step()  # type: ignore[union-attr]
            schedule.step()  # type: ignore[union-attr]
        sampled = fanouts.completion_mask
        statistics["entropy"] = (entropy * sampled).sum() / sampled.sum().clamp(min=1)
        statistics["loss"] = loss
        statistics |= gap
        for name, value in statistics.items():
            self._log(f"train/{name}/mean", value, batch_size, bar=False)

    def _pass(self, lesson: UpdateBatch, old: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Go through the micro-batches once, and add up their gradients where there are any.

        Args:
            lesson: n completions.
            old: (n, T) log π_old; none in the first pass, which is over the policy that sampled.

        Returns:
            The loss, log π_θ (n, T) and the entropy (n, T), all without gradient.
        """
        losses, log_probs, entropies = [], [], []
        for start in range(0, len(lesson.mask), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            fanouts = lesson.fanouts.rows(part)
            found, entropy = self.fanout.log_probs_and_entropy(fanouts, self.temperature)
            before = found.detach() if old is None else old[part]
            loss = self.loss(
                found, before, lesson.advantages[part], lesson.mask[part], lesson.weights[part]
            )
            if loss.requires_grad:
                self.manual_backward(loss)
            losses.append(loss.detach())
            log_probs.append(found.detach())
            entropies.append(entropy)
        return torch.stack(losses).sum(), torch.cat(log_probs), torch.cat(entropies)

    def _hits(self) -> dict[str, float]:
        """Share of this step's sub-queries whose vectors and items were there already."""
        caches = {"encode": self.searcher.vectors, "search": self.searcher.found}
        found = {}
        for part, cache in caches.items():
            if cache is not None:
                asked, made = cache.take()
                found[f"train/{part}/hits"] = 1 - made / asked if asked else 0.0
        return found

    def _log_all(self, numbers: Mapping[str, Tensor | float], batch_size: int) -> None:
        shown = {"train/reward/mean", "train/distinct_items/mean"}
        shown |= {f"train/{name}/mean" for name in self.reward.objectives}
        for name, value in numbers.items():
            self._log(name, value, batch_size, bar=name in shown)
