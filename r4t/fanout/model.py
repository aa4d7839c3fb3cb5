"""Queries → G sampled fan-outs each, with their tokens and log-probabilities."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    LogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
)

from r4t.errors import InputError
from r4t.fanout.formats import FanoutFormat, load_format
from r4t.fanout.language_model import SPEC_FILE, Pretrained


@dataclass(frozen=True)
class Fanouts:
    """G completions for each of B queries; row b·G + g is completion g of query b.

    Attributes:
        prompt_ids: (B·G, P) token ids, padded on the left.
        prompt_mask: (B·G, P), 1 for a token of the prompt.
        completion_ids: (B·G, T) token ids, padded on the right.
        completion_mask: (B·G, T), 1 for a sampled token, the end-of-sequence token included.
        texts: B·G completions as text.
        subqueries: B·G lists of at most k sub-queries; empty where nothing could be parsed.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    texts: list[str]
    subqueries: list[list[str]]

    def rows(self, selection: slice) -> "Fanouts":
        """Return some of the rows, as for a micro-batch."""
        return Fanouts(*(getattr(self, name)[selection] for name in self.__dataclass_fields__))


class SeededSampling(LogitsProcessor):
    """Samples by adding Gumbel noise, from one generator a query, before a greedy choice.

    ``argmax(logits / temperature + Gumbel)`` is an exact sample from the softmax, and the draw of a
    query depends on its own seed alone: not on its batch, its rank or the global random state.
    ``generate`` takes no generator of its own.

    Args:
        seeds: One a query.
        group_size: Rows G of each query.
        temperature: Above 0.
    """

    def __init__(self, seeds: Sequence[int], group_size: int, temperature: float) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.group_size = group_size
        self.temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the perturbed logits (B·G, V)."""
        noise = [
            torch.empty(self.group_size, scores.shape[1]).exponential_(generator=generator)
            for generator in self.generators
        ]
        gumbel = -torch.cat(noise).log().to(scores.device)
        return scores.float() / self.temperature + gumbel


class ListComplete(StoppingCriteria):
    """Stops a completion once its list is complete: what follows would not be read.

    Args:
        tokenizer: Decodes.
        prompt_length: Number of prompt tokens.
        end: String and count that complete a list (``Contract.end``).
    """

    def __init__(self, tokenizer: Any, prompt_length: int, end: tuple[str, int]) -> None:
        self.tokenizer = tokenizer
        self.prompt_length = prompt_length
        self.text, self.count = end

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """Return (B·G,), True for the complete lists."""
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :])
        done = [text.count(self.text) >= self.count for text in texts]
        return torch.tensor(done, device=input_ids.device)


class FanoutModel(nn.Module):
    """A causal language model that writes fan-outs in a format.

    Args:
        lm: The language model.
        tokenizer: Its tokenizer, padding on the left.
        form: What it reads and writes.
        max_new_tokens: Longest completion in tokens.
    """

    def __init__(
        self,
        lm: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        form: FanoutFormat,
        max_new_tokens: int = 64,
    ) -> None:
        super().__init__()
        self.lm = lm
        self.tokenizer: Any = tokenizer
        self.form = form
        self.max_new_tokens = max_new_tokens

    def prompt_tokens(self, queries: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return prompts (B, P) and their mask, padded on the left, through any chat template."""
        prompts = [self.form.prompt(query) for query in queries]
        if self.tokenizer.chat_template:
            prompts = [
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}],
                    add_generation_prompt=True,
                    tokenize=False,
                )
                for prompt in prompts
            ]
        batch = self.tokenizer(
            prompts,
            return_tensors="pt",
            padding=True,
            add_special_tokens=not self.tokenizer.chat_template,
        )
        device = self.lm.device
        return batch["input_ids"].to(device), batch["attention_mask"].to(device)

    @torch.no_grad()
    def sample(
        self,
        queries: Sequence[str],
        seeds: Sequence[int],
        group_size: int = 1,
        temperature: float = 0.9,
    ) -> Fanouts:
        """Sample ``group_size`` fan-outs for each query.

        Args:
            queries: B texts.
            seeds: B seeds; a query's fan-outs depend on its seed alone.
            group_size: Completions G a query.
            temperature: Above 0; 1 samples from the model as it is, toward 0 grows greedy.

        Raises:
            InputError: The temperature is not above 0.
        """
        if temperature <= 0:
            raise InputError(
                f"The temperature must be above 0, found {temperature}; 0.9 is the paper's."
            )
        was_training = self.lm.training
        self.lm.eval()
        ids, mask = self.prompt_tokens(queries)
        ids = ids.repeat_interleave(group_size, 0)
        mask = mask.repeat_interleave(group_size, 0)
        end = self.form.contract.end(self.form.set_size)
        output = self.lm.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            logits_processor=[SeededSampling(seeds, group_size, temperature)],
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            stopping_criteria=[ListComplete(self.tokenizer, ids.shape[1], end)],
        )
        self.lm.train(was_training)
        completion = output[:, ids.shape[1] :]
        repeated = [query for query in queries for _ in range(group_size)]
        return self._fanouts(ids, mask, completion, repeated)

    def log_probs(self, fanouts: Fanouts, temperature: float) -> Tensor:
        """Return log π (B·G, T) of the completion tokens at ``temperature``, in float32.

        The temperature is the one they were sampled at, so that this is the sampling policy.
        """
        return _chosen(self._logits(fanouts, temperature), fanouts.completion_ids)

    def log_probs_and_entropy(self, fanouts: Fanouts, temperature: float) -> tuple[Tensor, Tensor]:
        """Return ``log_probs``, and with no second pass the entropy at each of their tokens.

        The entropy (B·G, T) is that of the policy over the vocabulary, in nats, from 0 (it knows
        the next token) to the logarithm of the vocabulary's size; without gradient.
        """
        logits = self._logits(fanouts, temperature)
        with torch.no_grad():  # row by row: one more copy of all logits would not be cheap
            entropy = torch.stack([_entropy(row) for row in logits])
        return _chosen(logits, fanouts.completion_ids), entropy

    def truncated(self, fanouts: Fanouts) -> Tensor:
        """Return (B·G,) bool: neither an end of sequence nor a complete list within the limit."""
        ends = (fanouts.completion_ids == self.tokenizer.eos_token_id) & (
            fanouts.completion_mask > 0
        )
        text, count = self.form.contract.end(self.form.set_size)
        complete = torch.tensor([found.count(text) >= count for found in fanouts.texts])
        return ~(ends.any(1) | complete.to(ends.device))

    def _logits(self, fanouts: Fanouts, temperature: float) -> Tensor:
        """Logits (B·G, T, V) of each completion token over ``temperature``, in float32."""
        ids = torch.cat([fanouts.prompt_ids, fanouts.completion_ids], 1)
        mask = torch.cat([fanouts.prompt_mask, fanouts.completion_mask], 1)
        length = fanouts.completion_ids.shape[1]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.lm(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=length + 1,
        )
        return output.logits[:, :-1].float() / temperature

    def teach(self, queries: Sequence[str], additions: Sequence[Sequence[str]]) -> Fanouts:
        """Return given fan-outs as tokens, as if the model had written them (warm start)."""
        texts = [self.form.complete(query, words) for query, words in zip(queries, additions)]
        ids, mask = self.prompt_tokens(queries)
        eos = self.tokenizer.eos_token
        batch = self.tokenizer(
            [text + eos for text in texts],
            return_tensors="pt",
            padding=True,
            padding_side="right",
            add_special_tokens=False,
        )
        subqueries = [self.form.parse(query, text) for query, text in zip(queries, texts)]
        completion = batch["input_ids"].to(ids.device)
        completion_mask = batch["attention_mask"].to(ids.device)
        return Fanouts(ids, mask, completion, completion_mask, texts, subqueries)

    def save(self, folder: str | Path) -> None:
        """Write weights, tokenizer and format into ``folder``; ``transformers`` can load it too."""
        folder = Path(folder)
        self.lm.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        spec = {**self.form.spec(), "max_new_tokens": self.max_new_tokens}
        (folder / SPEC_FILE).write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "FanoutModel":
        """Load what ``save`` wrote, in evaluation mode.

        Raises:
            InputError: ``folder`` is not a saved fan-out model.
        """
        path = Path(folder) / SPEC_FILE
        if not path.is_file():
            raise InputError(
                f"A fan-out model is a folder with {SPEC_FILE}, found none in {folder}; "
                "run the warm start or the tuning step of this run first."
            )
        spec = json.loads(path.read_text(encoding="utf-8"))
        lm, tokenizer = Pretrained(str(Path(folder).resolve())).build([], Path())
        return cls(lm.eval(), tokenizer, load_format(spec), spec["max_new_tokens"])

    def _fanouts(
        self, ids: Tensor, mask: Tensor, completion: Tensor, queries: Sequence[str]
    ) -> Fanouts:
        ended = (completion == self.tokenizer.eos_token_id).cumsum(1)
        # A token counts up to and with the first end of sequence; padding follows a stop string.
        after_end = (ended - (completion == self.tokenizer.eos_token_id).long()) > 0
        real = ~after_end
        if self.tokenizer.pad_token_id != self.tokenizer.eos_token_id:
            real &= completion != self.tokenizer.pad_token_id
        texts = [
            self.tokenizer.decode(row[keep], skip_special_tokens=True)
            for row, keep in zip(completion, real)
        ]
        # What follows a complete list was never sampled, even if it looks like an end token.
        text, count = self.form.contract.end(self.form.set_size)
        complete = torch.tensor([found.count(text) >= count for found in texts])
        ends = completion == self.tokenizer.eos_token_id
        real &= ~(complete.to(ends.device).unsqueeze(1) & ends)
        subqueries = [self.form.parse(query, text) for query, text in zip(queries, texts)]
        return Fanouts(ids, mask, completion, real.long(), texts, subqueries)


def _chosen(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probabilities (n, T) of the tokens ``ids`` (n, T) under ``logits`` (n, T, V)."""
    chosen = logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    return chosen - logits.logsumexp(-1)


def _entropy(logits: Tensor) -> Tensor:
    """Entropy (T,) in nats of ``logits`` (T, V)."""
    log_probs = logits.log_softmax(-1)
    return -(log_probs.exp() * log_probs).nansum(-1)
