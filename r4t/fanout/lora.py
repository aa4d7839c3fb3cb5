"""A language model → the same with small trained matrices beside frozen weights (LoRA), and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from r4t.errors import InputError, check_least
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.language_model import LanguageModel, LanguageModelSource
from r4t.fanout.weights import ADAPTER, adapted_layers
from r4t.support.packages import check_installed


@dataclass
class LoRA(LanguageModelSource):
    """Low-rank adapters on another source's model: W becomes W + alpha / rank · B·A (Hu et al. 2021).

    Only A and B are trained, in float32 for any ``dtype`` of the model; B begins as zero, so that the
    model writes what it wrote before. ``FanoutModel.save`` writes the plain model with the adapters
    merged in, in float32, because rounding to bfloat16 could undo a small change.

    Args:
        base: The model to adapt.
        rank: Rows of A and columns of B, at least 1.
        alpha: Scale, above 0; the change is alpha / rank times B·A.
        dropout: Share of an adapter's inputs to drop in a warm start, from 0 to below 1. Tuning drops
            none: the policy that learns is the one that sampled.
        target_modules: Names of the linear layers, or ``all-linear`` for all but the output's.
        seed: Seed of the first A.
    """

    base: LanguageModelSource
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"
    seed: int = 0

    def __post_init__(self) -> None:
        check_least({"rank": (self.rank, 1)})
        if not (self.alpha > 0 and 0 <= self.dropout < 1):
            raise InputError(
                expected="alpha above 0 and dropout from 0 to below 1",
                found=f"{self.alpha} and {self.dropout}",
                remedy="Take the defaults, 32 and 0.",
            )

    def build(self, texts: Sequence[str], root: Path) -> LanguageModel:
        """Build the base model, freeze it and put adapters beside its linear layers.

        Raises:
            InputError: If ``peft`` is not installed, or such layers cannot be adapted.
        """
        check_installed("peft", extra="lora")
        from peft import LoraConfig, inject_adapter_in_model

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
                # `forward` and `generate` are called, hooks of strategies included.
                inject_adapter_in_model(settings, model, ADAPTER)
                for name, layer in adapted_layers(model).items():
                    if ADAPTER not in layer.lora_A or layer is model.get_output_embeddings():
                        raise ValueError(f"{name} is an embedding")  # the output's may be tied
            except ValueError as error:
                raise InputError(
                    expected="target_modules that name linear layers of the model",
                    found=f"{self.target_modules!r} ({str(error).splitlines()[0]})",
                    remedy="Take all-linear for all of them but the output's.",
                ) from error
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        return model.train(), tokenizer

    def saved_form(self, root: Path) -> FanoutFormat | None:
        """Return the base model's format."""
        return self.base.saved_form(root)
