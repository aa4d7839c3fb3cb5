"""Prompts as tokens → sampled completions: what runs the language model while it writes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from r4t.errors import check_least
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


class Backend(ABC):
    """Runs a model while it writes: the whole softmax at a temperature, nothing cut off.

    Attributes:
        log_probs: (B·G, T) of the tokens written last, as they were sampled; 0 for padding. None
            where they are the model's own.
    """

    log_probs: Tensor | None

    @abstractmethod
    def generate(self, model: "FanoutModel", prompts: Prompts) -> Tensor:
        """Return (B·G, T) sampled tokens, T at most ``max_new_tokens``, padded on the right.

        A completion ends with the token that completes its list, or with an end token.
        """

    @abstractmethod
    def sync(self, model: "FanoutModel") -> None:
        """Take over the model's weights as they are now, on every rank, before it writes again."""


class Transformers(Backend):
    """The model itself writes, through ``generate`` of transformers, with a cache of keys and values.

    Args:
        at_once: Completions written together, at least 1; all of a batch by default. The cache's
            memory grows with it: at 4 billion parameters a completion of 1,000 tokens takes about
            0.15 GB in bfloat16. What is written is the same, but for round-off.

    Raises:
        InputError: ``at_once`` is below 1.
    """

    log_probs: Tensor | None = None

    def __init__(self, at_once: int | None = None) -> None:
        if at_once is not None:
            check_least({"at_once": (at_once, 1)})
        self.at_once = at_once

    def generate(self, model: "FanoutModel", prompts: Prompts) -> Tensor:
        """See ``Backend.generate``."""
        lm = model.lm
        was_training = lm.training
        lm.eval()
        with gathered(lm):
            written = [self._write(model, prompts, *part) for part in self._parts(prompts)]
        lm.train(was_training)
        longest, padding = max(one.shape[1] for one in written), model.tokenizer.pad_token_id
        return torch.cat([pad(one, (0, longest - one.shape[1]), value=padding) for one in written])

    def _parts(self, prompts: Prompts) -> Iterator[tuple[slice, slice]]:
        """Which prompts, and which of each one's G completions, are written together, in order."""
        count, group = len(prompts.seeds), prompts.group_size
        most = self.at_once or count * group
        several = max(1, most // group)
        for first in range(0, count, several):
            for start in range(0, group, most):
                yield slice(first, first + several), slice(start, min(start + most, group))

    def _write(self, model: "FanoutModel", prompts: Prompts, asked: slice, part: slice) -> Tensor:
        """Return the tokens of a part of each asked prompt's completions."""
        repeats = part.stop - part.start
        ids = prompts.ids[asked].repeat_interleave(repeats, 0)
        seeds, sampling = prompts.seeds[asked], (prompts.group_size, prompts.temperature)
        write: Any = model.lm.generate
        output: Tensor = write(
            input_ids=ids,
            attention_mask=prompts.mask[asked].repeat_interleave(repeats, 0),
            max_new_tokens=model.max_new_tokens,
            do_sample=False,
            logits_processor=[SeededSampling(seeds, *sampling, part)],
            pad_token_id=model.tokenizer.pad_token_id,
            eos_token_id=model.end_ids,
            repetition_penalty=1.0,  # a model's own settings would change the policy unseen
            no_repeat_ngram_size=0,
            stopping_criteria=[ListComplete(model.ends, ids.shape[1], prompts.opening)],
        )
        return output[:, ids.shape[1] :]

    def sync(self, model: "FanoutModel") -> None:
        """Do nothing: it is the model."""
