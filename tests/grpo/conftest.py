"""A tuner of an untrained model on the small run, with callbacks that record it."""

import warnings

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.grpo.module import FanoutTuner
from r4t.grpo.training import Sampling, adamw
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.training.query_data import QueryData
from r4t.training.soft_grpo import SoftGRPO


class Letters(Objective):
    """Share of the letters of all sub-queries that are an e: varies, and costs nothing."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts"})

    def score(self, sets):
        texts = ["".join(texts) for texts in sets.texts]
        return torch.tensor([text.count("e") / max(len(text), 1) for text in texts])


class Noisy(Letters):
    """``Letters`` plus noise: the global random state matters, and each rank has another."""

    bounds = (0.0, 2.0)

    def score(self, sets):
        ranks = torch.distributed.is_initialized()
        torch.rand(torch.distributed.get_rank() if ranks else 0)
        return super().score(sets) + torch.rand(len(sets))


class Dropout(TinyQwen3):
    """A tiny model whose attention drops out, so that the global random state matters."""

    def build(self, texts, root):
        lm, tokenizer = super().build(texts, root)
        for layer in lm.model.layers:
            layer.self_attn.attention_dropout = 0.3
        return lm, tokenizer


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.fanout.parameters()])


class Ends(Callback):
    """Records, after each rollout, the rollout, the log, the weights and the learning rate."""

    flat = staticmethod(flat)

    def __init__(self):
        self.rollouts, self.logged, self.weights, self.rates = [], [], [], []

    def on_train_start(self, trainer, pl_module):
        self.weights.append(flat(pl_module))

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.rollouts.append(pl_module.rollout)
        self.logged.append({name: v.item() for name, v in trainer.callback_metrics.items()})
        self.weights.append(flat(pl_module))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


class Tiny:
    """Makes tuners on the small run, and fits them; ``last`` is the latest trainer."""

    Ends = Ends
    Letters = Letters
    Dropout = Dropout
    Noisy = Noisy
    flat = staticmethod(flat)

    def __init__(self, run):
        self.run = run

    def tuner(self, lm=None, **arguments):
        seed_everything(0, verbose=False)
        reward = Reward({"letters": 1.0, "diversity": 0.0}, {"letters": Letters()})
        lm = TinyQwen3(width=32, layers=1, vocabulary=300) if lm is None else lm
        settings = {"grpo": SoftGRPO(group_size=2), "sampling": Sampling(max_new_tokens=12)}
        settings |= {"optimizer": adamw(1e-2), "form": Expand(set_size=3)}
        settings |= {"reward": reward, "lm": lm}
        return FanoutTuner(str(self.run.folder), **{**settings, **arguments})

    def fit(self, *callbacks, rollouts=6, batch_size=4, ckpt_path=None, module=None, **arguments):
        module = self.tuner() if module is None else module
        off = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        off |= {"enable_checkpointing": False, "accelerator": "cpu", "num_sanity_val_steps": 0}
        off |= {"limit_val_batches": 0, "max_steps": 2 * rollouts}  # 2 updates a rollout
        off |= {"default_root_dir": str(self.run.step("tune")), "log_every_n_steps": 1}
        self.last = Trainer(callbacks=list(callbacks), **{**off, **arguments})
        data = QueryData(str(self.run.folder), batch_size=batch_size)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(num_workers|callback states|ckpt).*")
            self.last.fit(module, data, ckpt_path=ckpt_path)
        return module


@pytest.fixture
def tiny(small_run) -> Tiny:
    """The small run, ready to be tuned on."""
    return Tiny(small_run)
