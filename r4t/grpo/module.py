"""Queries → a fan-out language model tuned by Soft-GRPO (stage 1)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from r4t.credit import Credit, WholeSet
from r4t.data.queries import Query
from r4t.fanout.exchange import exchanged
from r4t.fanout.language_model import LanguageModelSource, Pretrained
from r4t.fanout.model import Fanouts
from r4t.grpo.monitor.statistics import (
    backend_gap,
    gaming_statistics,
    policy_statistics,
    rollout_statistics,
    speed_statistics,
)
from r4t.grpo.policy import without_dropout
from r4t.grpo.rollout import Rollout
from r4t.grpo.training import FanoutModule
from r4t.reward import Reward
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed
from r4t.training.learning_rate import RateSchedule, WarmupConstant
from r4t.training.rollouts import RolloutModule
from r4t.training.soft_grpo import SoftGRPO, TokenCounts, member_advantage

GRPO = SoftGRPO()


class FanoutTuner(RolloutModule, FanoutModule):
    """Step 1: Soft-GRPO on a set-level reward (paper, eqs 6 to 8).

    Each training step samples G fan-outs per query, retrieves, scores, and makes ``updates``
    optimizer steps on them. Dropout of the model is off, so that the policy that learns is the one
    that sampled.

    Args:
        run: Run folder.
        reward: What to maximize.
        grpo: Loss, group size and updates.
        credit: How a set's reward is shared among its members; ``WholeSet`` by default, as in the
            paper. With another credit, the tokens that wrote a sub-query are weighed by what that
            member is worth, compared with all members of the query's G sets. Tokens that end a list
            of fewer than k are weighed as a member worth nothing, other tokens of the format keep the
            advantage of the set.
        **settings: As in ``FanoutModule``.
    """

    step = "tune"
    default_lm: LanguageModelSource = Pretrained("warm_start/model")
    default_rate = 3e-4
    default_schedule: RateSchedule = WarmupConstant(10)

    def __init__(
        self,
        run: str,
        reward: Reward,
        grpo: SoftGRPO = GRPO,
        credit: Credit | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(run, reward, **settings)
        without_dropout(self.fanout.lm)
        self.grpo, self.credit = grpo, WholeSet() if credit is None else credit
        self.automatic_optimization = False

    def on_train_start(self) -> None:
        """Check what is read, and give the backend the weights to begin with."""
        super().on_train_start()
        self.weights_replaced()

    def weights_replaced(self) -> None:
        """Give the backend the weights."""
        self.fanout.backend.sync(self.fanout)

    def rollout_metrics(self) -> dict[str, float]:
        """Return signs that the reward is gamed (``monitor.gaming``)."""
        return gaming_statistics(self.rollout)

    def exchange(self, rows: Sequence[int]) -> SetBatch:
        """Read the completion of each of n rows as the answer to the query of each."""
        rollout, group = self.rollout, self.grpo.group_size
        queries = [rollout.queries[row // group] for row in rows]
        completions = [rollout.fanouts.texts[row] for row in rows]
        form, pool_size = self.fanout.form, self.retrieval.pool_size
        return exchanged(queries, completions, form, self.searcher, pool_size)

    def training_step(self, batch: list[Query], batch_idx: int) -> None:
        """Roll out, score, and step the policy ``updates`` times."""
        step, size = self.global_step, len(batch)
        self.rollout = rollout = self._roll_out(batch)
        self.log_numbers(rollout_statistics(rollout, self.reward, step), size)
        with self.watch.part("update"):
            self.log_numbers(self._update(rollout), size)
            self.weights_replaced()
        tokens = int(rollout.fanouts.completion_mask.sum())
        self.log_numbers(speed_statistics(self.watch.take(), tokens, self.searcher), size)

    def _roll_out(self, batch: list[Query]) -> Rollout:
        """Sample, retrieve and score G fan-outs of each query."""
        texts = [query.text for query in batch]
        seeds = [query_seed(query.id, self.global_step + 1) for query in batch]
        with self.watch.part("generate"):
            group = self.grpo.group_size
            fanouts = self.fanout.sample(texts, seeds, group, self.sampling.temperature)
            truncated = self.fanout.truncated(fanouts)
        sets = self.retrieve(batch, fanouts)
        with self.watch.part("score"):
            components = self.reward.components(sets)
            rewards = self.reward.total(components, self.global_step)
        grouped = rewards.view(len(batch), -1)
        advantages = self.grpo.advantages(grouped).flatten().to(self.device)
        tokens = advantages.unsqueeze(1).expand(fanouts.completion_mask.shape)
        if not isinstance(self.credit, WholeSet):
            with self.watch.part("credit"):
                credits = self.credit(self.reward, sets, components, self.global_step)
                ended = self.fanout.short(fanouts) & ~rewards.isnan().to(self.device)
                lacking = ~sets.mask.to(self.device) & ended.unsqueeze(1)
                credits = credits.to(self.device).masked_fill(lacking, 0.0)
                cut = truncated.to(self.device)
                tokens = self._member_tokens(tokens, credits, fanouts, cut)
        included = self.grpo.takes_part(grouped, truncated.view_as(grouped).to(grouped.device))
        mask = fanouts.completion_mask * included.view(-1, 1).to(self.device)
        return Rollout(
            batch, fanouts, sets.items, truncated, rewards, components, advantages, tokens, mask
        )

    def _member_tokens(
        self, tokens: Tensor, credits: Tensor, fanouts: Fanouts, cut: Tensor
    ) -> Tensor:
        """Replace the advantages (n, T) of tokens that wrote a member by that member's (n, k).

        A member that a list lacks because it ended early is worth 0, to the token that ended it: to
        write one more pays as soon as that is worth more than nothing. A list that was ``cut`` (n,) off
        keeps the advantage of the set: an endless line leaves no room for the others, which only the
        set's reward shows.
        """
        group = self.grpo.group_size
        grouped = credits.unflatten(0, (-1, group))
        members = member_advantage(grouped, by_place=False, scale=self.grpo.scale_rewards)
        owners = self.fanout.deciders(fanouts)  # (n, T)
        owned = (owners >= 0) & (owners < credits.shape[1])
        place = owners.clamp(min=0, max=credits.shape[1] - 1)
        present = ~credits.isnan().gather(1, place) & ~cut.unsqueeze(1)
        return torch.where(owned & present, members.flatten(0, 1).gather(1, place), tokens)

    def _update(self, rollout: Rollout) -> dict[str, Tensor]:
        """Step the policy ``updates`` times on a rollout; return what to log.

        If no rank has an advantage there is nothing to learn: the policy stays where it sampled
        from, and there the KL terms push nowhere on average. Such a step is counted, but no weight
        moves, neither by the optimizer's momentum nor by its decay.
        """
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        mask, sampled = rollout.mask, rollout.fanouts.completion_mask
        lengths = mask.sum(1)
        informative = ((rollout.token_advantages != 0) & (mask > 0)).any(1).sum()
        # All ranks go backward or none does; one with nothing to learn adds zeros.
        tokens, informative = self.trainer.strategy.reduce(
            torch.stack([lengths.sum(), informative]), reduce_op="sum"
        )
        counts = TokenCounts(lengths, tokens, self.trainer.world_size, self.fanout.max_new_tokens)
        weights = self.grpo.weights(counts)
        old: Tensor | None = None  # log π_old, of the policy before the first step
        for _ in range(self.grpo.updates):
            optimizer.zero_grad()  # type: ignore[union-attr]
            with torch.set_grad_enabled(bool(informative)):
                loss, log_probs, entropies = self._pass(rollout, weights, old)
            if old is None:
                old, entropy = log_probs, entropies
                gap = backend_gap(self.fanout.backend.log_probs, old, sampled)
            self.clip_gradients(optimizer, gradient_clip_val=1.0)  # type: ignore[arg-type]
            optimizer.step()  # type: ignore[union-attr]
            schedule.step()  # type: ignore[union-attr]
        assert old is not None  # updates is at least 1
        statistics = policy_statistics(log_probs, old, mask, self.grpo.clip)
        statistics["train/entropy/mean"] = (entropy * sampled).sum() / sampled.sum().clamp(min=1)
        return {**statistics, **gap, "train/loss/mean": loss}

    def _pass(
        self, rollout: Rollout, weights: Tensor, old: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Go through the micro-batches once, accumulating gradients if they are enabled.

        ``weights`` (n,) are those of each completion's tokens, ``old`` is log π_old (n, T), None in
        the first pass. Returns loss, log π_θ (n, T) and entropy (n, T), all without gradient.
        """
        losses, log_probs, entropies = [], [], []
        for start in range(0, len(weights), self.grpo.micro_batch):
            part = slice(start, start + self.grpo.micro_batch)
            new, entropy = self.fanout.log_probs_and_entropy(
                rollout.fanouts.rows(part), self.sampling.temperature
            )
            before = new.detach() if old is None else old[part]
            rest = rollout.token_advantages[part], rollout.mask[part], weights[part]
            loss = self.grpo(new, before, *rest)
            if loss.requires_grad:
                self.manual_backward(loss)
            losses.append(loss.detach())
            log_probs.append(new.detach())
            entropies.append(entropy)
        return torch.stack(losses).sum(), torch.cat(log_probs), torch.cat(entropies)
