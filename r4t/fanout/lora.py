"""A language model → the same with small trained matrices beside frozen weights (LoRA), and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r4t.errors import InputError, check_least
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.language_model import LanguageModelSource
from r4t.fanout.weights import ADAPTER, adapted


class LoRA(LanguageModelSource):
    """Low-rank adapters on another source's model: W becomes W + alpha / rank · B·A (Hu et al. 2021).

    Only A and B are trained, in float32 whatever the model's ``dtype``; at first B is zero, and so
    the model writes what it wrote. What is saved is the plain model with the adapters merged in,
    in float32, because rounding to bfloat16 could undo a small change; ``adapter/`` beside it holds
    them alone, for ``peft``.

    Args:
        base: The model to adapt.
        rank: Rows of A and columns of B, at least 1.
        alpha: Scale, above 0; the change is alpha / rank times B·A.
        dropout: Share of inputs that an adapter misses in a warm start, from 0 to below 1. Tuning
            goes without: the policy that learns is the one that sampled.
        target_modules: Names of the linear layers, or ``all-linear`` for all but the output's.
        seed: Seed of the first A.

    Raises:
        InputError: A number is out of range.
    """

    def __init__(
        self,
        base: LanguageModelSource,
        rank: int = 16,
        alpha: int = 32,
        dropout: float = 0.0,
        target_modules: str | list[str] = "all-linear",
        seed: int = 0,
    ) -> None:
        check_least({"rank": (rank, 1)})
        if not (alpha > 0 and 0 <= dropout < 1):
            raise InputError(
                f"LoRA needs alpha above 0 and dropout from 0 to below 1, found {alpha} and "
                f"{dropout}; 32 and 0 are the defaults."
            )
        self.base = base
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.target_modules = target_modules
        self.seed = seed

    def build(
        self, texts: Sequence[str], root: Path
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Build the base model, freeze it and put adapters beside its linear layers.

        Raises:
            InputError: ``peft`` is not installed, or no such layers can be adapted.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise InputError(
                "LoRA needs the package peft, found none installed; run pip install 'r4t[lora]', or "
                "train all weights."
            ) from error
        model, tokenizer = self.base.build(texts, root)
        settings = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.target_modules,
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            try:
                # In place, without peft's wrapper: the model stays one of transformers, whose own
                # ``forward`` and ``generate`` are what is called, hooks of strategies included.
                inject_adapter_in_model(settings, model, ADAPTER)
            except ValueError as error:
                raise self._refused(str(error)) from error
        embedded = [name for name, layer in adapted(model).items() if not _is_linear(model, layer)]
        if embedded:
            raise self._refused(f"{embedded[0]} is an embedding")
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        return model.train(), tokenizer

    def saved_form(self, root: Path) -> FanoutFormat | None:
        """Return the format saved beside the base model, if there is one."""
        return self.base.saved_form(root)

    def _refused(self, reason: str) -> InputError:
        return InputError(
            f"target_modules must name linear layers of the model, found {self.target_modules!r} "
            f"({reason.splitlines()[0]}); all-linear takes all of them but the output's."
        )


def save_adapter(model: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Write adapters alone, as ``peft`` loads them onto the model they were trained on.

    Args:
        model: That holds them.
        weights: What ``adapter_weights`` returned.
        folder: Where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings: Any = model.peft_config
    settings[ADAPTER].save_pretrained(folder)
    save_file(weights, folder / "adapter_model.safetensors")


def _is_linear(model: PreTrainedModel, layer: Any) -> bool:
    """Whether a layer is neither the input's nor the output's embedding, which may be tied."""
    return ADAPTER in layer.lora_A and layer is not model.get_output_embeddings()
