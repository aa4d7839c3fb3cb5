"""Prompts as tokens → sampled completions: what runs the language model while it writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from r4t.fanout.sampling import ListComplete, SeededSampling
from r4t.fanout.sharding import gathered

if TYPE_CHECKING:
    from r4t.fanout.model import FanoutModel


@dataclass(frozen=True)
class Prompts:
    """What is to be completed.

    Attributes:
        ids: (B, P) token ids, padded on the left.
        mask: (B, P), 1 for a token of the prompt.
        opening: What the prompts began of the completion's text (``FanoutModel.opening``).
        seeds: B seeds; the completions of a prompt depend on its seed alone.
        group_size: Completions G a prompt.
        temperature: Above 0.
    """

    ids: Tensor
    mask: Tensor
    opening: str
    seeds: Sequence[int]
    group_size: int
    temperature: float


class Backend(Protocol):
    """Runs a model while it writes: the whole softmax at a temperature, nothing cut off.

    Attributes:
        log_probs: (B·G, T) of the tokens written last, as they were sampled; 0 for padding. None
            where they are the model's own.
    """

    log_probs: Tensor | None

    def generate(self, model: "FanoutModel", prompts: Prompts) -> Tensor:
        """Return (B·G, T) sampled tokens, T at most ``max_new_tokens``, padded on the right.

        A completion ends with the token that completes its list, or with an end token.
        """

    def sync(self, model: "FanoutModel") -> None:
        """Take over the model's weights as they are now, on every rank, before it writes again."""


class Transformers:
    """The model itself writes, through ``generate`` of transformers, with a cache of keys and values."""

    log_probs: Tensor | None = None

    def generate(self, model: "FanoutModel", prompts: Prompts) -> Tensor:
        """See ``Backend.generate``."""
        lm, tokenizer, group = model.lm, model.tokenizer, prompts.group_size
        ids = prompts.ids.repeat_interleave(group, 0)
        was_training = lm.training
        lm.eval()
        write: Any = lm.generate
        output = gathered(lm)(write)(
            input_ids=ids,
            attention_mask=prompts.mask.repeat_interleave(group, 0),
            max_new_tokens=model.max_new_tokens,
            do_sample=False,
            logits_processor=[SeededSampling(prompts.seeds, group, prompts.temperature)],
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=model.end_ids,
            repetition_penalty=1.0,  # a model's own settings would change the policy unseen
            no_repeat_ngram_size=0,
            stopping_criteria=[ListComplete(model.ends, ids.shape[1], prompts.opening)],
        )
        lm.train(was_training)
        completions: Tensor = output[:, ids.shape[1] :]
        return completions

    def sync(self, model: "FanoutModel") -> None:
        """Do nothing: it is the model."""
