"""Sets that a denoiser samples, and their reward → a better denoiser, by the forward process alone."""

import copy
from typing import Any

import torch
from torch import Tensor

from benchmarks.refining import tried_sets
from r4t.data.queries import Query
from r4t.diffusion.exploration import Tries
from r4t.diffusion.precondition import loss_weight
from r4t.diffusion.refiner import RetrieverRefiner
from r4t.diffusion.sampler import Multistep
from r4t.diffusion.schedule import LogNormal
from r4t.diffusion.set_rollout import SetRollout
from r4t.diffusion.start import Start
from r4t.reward import Reward
from r4t.support.seeds import query_seed
from r4t.training.soft_grpo import member_advantage

DENOISER = "distill/model"


class ForwardProcess(RetrieverRefiner):
    """DiffusionNFT for sets, with clean-data prediction D and member credit.

    An old policy, the slowly moving average of the trained one, samples G sets with its own sampler and
    random noise. The credit of a member, centered and divided by its deviation over all members of the
    query's sets (rows of a random noise have no fixed places), and clipped to ±1, is its advantage A, and
    r = (1 + A)/2. Its row z is noised to x = z + σε at a level of training, where

        D₊ = (1 − β)·D_old(x) + β·D(x),   D₋ = (1 + β)·D_old(x) − β·D(x),
        loss = λ(σ)·(r·‖D₊ − z‖² + (1 − r)·‖D₋ − z‖²).

    Args:
        run: Run folder.
        reward: What to maximize.
        beta: β above 0.
        z_items: Whether z is the item that the row found, instead of the row.
        steps: Evaluations of the sampler, in training and when it answers.
        inner: Optimizer steps on each rollout, each with new noise on all its sets.
        decay: Of the old policy at each optimizer step, in [0, 1): 0 makes it the trained one.
        **settings: As in ``RetrieverRefiner``.
    """

    def __init__(
        self,
        run: str,
        reward: Reward,
        beta: float = 1.0,
        z_items: bool = True,
        steps: int = 4,
        inner: int = 2,
        decay: float = 0.97,
        **settings: Any,
    ) -> None:
        super().__init__(run, reward, Start(DENOISER, noises=None), **settings)
        self.beta, self.z_items, self.inner, self.decay = beta, z_items, inner, decay
        self.generator.sampler, self.generator.guidance = Multistep(steps), 0.0
        self._old = (copy.deepcopy(self.generator).requires_grad_(False).eval(),)
        self.levels = LogNormal(mean=0.0, std=1.2).scaled(self.generator.denoiser.sigma_data)

    @torch.no_grad()
    def _roll_out(self, batch: list[Query]) -> SetRollout:
        """Sample G sets for each query, retrieve, score, and share the reward among the members."""
        step, group, size = self.global_step, self.grpo.group_size, len(batch)
        vectors = self.searcher.encode_queries([query.text for query in batch])
        seeds = [
            query_seed(f"{self.seed}/{query.id}/{number}", step + 1)
            for query in batch
            for number in range(group)
        ]
        rows = self._old[0].rows(vectors.repeat_interleave(group, 0), seeds)  # (B·G, k, d)
        grouped = rows.unflatten(0, (size, group))
        sets = tried_sets(self, batch, vectors, Tries(grouped, grouped))
        components = self.reward.components(sets)
        credits = self.credit(self.reward, sets, components, step)
        advantages = member_advantage(credits.unflatten(0, (size, group)), by_place=False)
        clean = sets.item_embeddings if self.z_items else rows
        tries = Tries(clean.unflatten(0, (size, group)), grouped)
        return SetRollout(
            batch, vectors, seeds, rows, tries, sets.items, self.reward.total(components, step),
            components, advantages.flatten(0, 1), sets.mask.float(),
        )  # fmt: skip

    def _update(self, rollout: SetRollout) -> dict[str, Tensor]:
        """Step the denoiser ``inner`` times on a rollout; return what to log."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        clean = rollout.tries.actions.flatten(0, 1)
        query = rollout.vectors.repeat_interleave(self.grpo.group_size, 0)
        for _ in range(self.inner):
            random = self.random(0, self.global_step)
            count = len(clean)
            t = (torch.arange(count) + torch.rand(count, generator=random)) / count
            t = t[torch.randperm(count, generator=random)]  # all levels at every query
            noise = torch.randn(clean.shape, generator=random)
            losses = self.losses(query, clean, rollout.advantages, self.levels.sigma(t), noise)
            loss = (losses * rollout.mask).sum() / rollout.mask.sum().clamp(min=1)
            optimizer.zero_grad()  # type: ignore[union-attr]
            self.manual_backward(loss)
            self.clip_gradients(optimizer, gradient_clip_val=1.0)  # type: ignore[arg-type]
            optimizer.step()  # type: ignore[union-attr]
            schedule.step()  # type: ignore[union-attr]
            for old, new in zip(self._old[0].parameters(), self.generator.parameters()):
                old.data.lerp_(new.data, 1 - self.decay)
        return {"train/loss/mean": loss.detach()}

    def losses(
        self, query: Tensor, clean: Tensor, advantages: Tensor, sigma: Tensor, noise: Tensor
    ) -> Tensor:
        """Return the loss (n, k) of each row, divided by its d coordinates.

        Args:
            query: (n, d).
            clean: (n, k, d) rows z.
            advantages: (n, k); clipped to ±1.
            sigma: (n,) noise levels.
            noise: (n, k, d) standard normal ε.
        """
        noisy = clean + sigma[:, None, None] * noise
        with torch.no_grad():
            old = self._old[0].denoiser.bind(query)(noisy, sigma)
        new = self.generator.denoiser.bind(query)(noisy, sigma)
        moved = self.beta * (new - old)
        good = (1 + advantages.clamp(-1, 1)) / 2  # r
        better, worse = ((old + part - clean).square().mean(-1) for part in (moved, -moved))
        weight = loss_weight(sigma, self.generator.denoiser.sigma_data).unsqueeze(1)
        return weight * (good * better + (1 - good) * worse)
