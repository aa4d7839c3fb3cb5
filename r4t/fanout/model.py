"""Queries → G sampled fan-outs each, with their tokens and log-probabilities."""

import copy
import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import r4t.fanout.checks as checks
from r4t.errors import InputError, check_least
from r4t.fanout.backend import Backend, Prompts, Transformers
from r4t.fanout.decoding import Reading, shared_tokens
from r4t.fanout.endings import EndTokens
from r4t.fanout.formats import FanoutFormat, load_format
from r4t.fanout.language_model import SPEC_FILE, Pretrained
from r4t.fanout.weights import ADAPTER, adapter_weights, is_first_process, is_sharded, plain_weights
from r4t.support.cache import Cache


@dataclass(frozen=True)
class Fanouts:
    """G completions for each of B queries; row b·G + g is completion g of query b."""

    prompt_ids: Tensor  # (B·G, P) token ids, padded on the left
    prompt_mask: Tensor  # (B·G, P), 1 for a token of the prompt
    completion_ids: Tensor  # (B·G, T) token ids, padded on the right
    completion_mask: Tensor  # (B·G, T), 1 for a sampled token, the end-of-sequence token included
    texts: list[str]  # B·G; each with the <think> that a chat template may begin it with
    subqueries: list[list[str]]  # B·G lists of at most k; empty if nothing could be parsed

    def rows(self, selection: slice) -> "Fanouts":
        """Return some of the rows, as for a micro-batch."""
        return Fanouts(*(getattr(self, field.name)[selection] for field in fields(self)))


class FanoutModel(nn.Module):
    """A causal language model that writes fan-outs in a format.

    Args:
        lm: The language model.
        tokenizer: Its tokenizer, with or without a chat template. One without a pad token will pad
            with its end token, and a warning says so.
        form: What it reads and writes.
        max_new_tokens: Longest completion in tokens, at least 1.
        backend: What runs it while it writes; ``Transformers`` by default.

    Raises:
        InputError: If the tokenizer has no end token, its chat template fails, or the prompt alone
            leaves no room for a completion in the model's context.
    """

    def __init__(
        self,
        lm: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        form: FanoutFormat,
        max_new_tokens: int = 64,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        check_least({"max_new_tokens": (max_new_tokens, 1)})
        checks.ensure_pad_token(tokenizer)
        self.lm, self.form, self.max_new_tokens = lm, form, max_new_tokens
        self.tokenizer: Any = tokenizer
        self.backend: Backend = Transformers() if backend is None else backend
        self.end_ids = checks.end_ids(tokenizer, lm.generation_config)
        self.ends = EndTokens(tokenizer, form, lm.config.get_text_config().vocab_size)
        self._rollout_checked = False
        self._pieces = Cache[int, str](2**16)  # token → its text
        checks.check_prompts(self, [""])

    def prompts(self, queries: Sequence[str]) -> list[str]:
        """Return what the model reads for each query, through any chat template if the format has it."""
        prompts = [self.form.prompt(query) for query in queries]
        if not self.form.list_format.chat:
            return prompts
        return checks.apply_chat_template(self.tokenizer, prompts, self.form.list_format.think)

    def opening(self) -> str:
        """Return ``<think>`` if the chat template begins a thought for the model, else nothing."""
        return "<think>" if self.prompts([""])[0].rstrip().endswith("<think>") else ""

    def prompt_tokens(self, queries: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the tokens (B, P) of ``prompts`` and their mask, padded on the left."""
        templated = self.form.list_format.chat and bool(self.tokenizer.chat_template)
        return self._tokens(self.prompts(queries), "left", not templated)

    def _tokens(self, texts: list[str], side: str, special: bool) -> tuple[Tensor, Tensor]:
        settings = {"return_tensors": "pt", "padding": True, "padding_side": side}
        batch = self.tokenizer(texts, add_special_tokens=special, **settings).to(self.lm.device)
        return batch["input_ids"], batch["attention_mask"]

    @torch.no_grad()
    def sample(
        self,
        queries: Sequence[str],
        seeds: Sequence[int],
        group_size: int = 1,
        temperature: float = 0.9,
    ) -> Fanouts:
        """Sample ``group_size`` fan-outs for each query.

        The first rollout with several fan-outs per query warns if none of them lists k sub-queries.

        Args:
            queries: B texts.
            seeds: B seeds; a query's fan-outs depend on its seed alone.
            group_size: Completions G per query.
            temperature: Above 0; 1 samples from the model's own distribution, and a value near 0
                almost always takes the most likely token.

        Raises:
            InputError: If the temperature is not above 0, or a prompt leaves no room for
                ``max_new_tokens`` in the model's context.
        """
        if temperature <= 0:
            raise InputError(
                expected="a temperature above 0",
                found=f"{temperature}",
                remedy="Take the paper's 0.9.",
            )
        ids, mask = self.prompt_tokens(queries)
        limit = self.max_new_tokens
        checks.check_length(self.lm, mask.sum(1), queries, limit, "max_new_tokens")
        prompts = Prompts(ids, mask, self.opening(), seeds, group_size, temperature)
        completion = self.backend.generate(self, prompts)
        ids, mask = ids.repeat_interleave(group_size, 0), mask.repeat_interleave(group_size, 0)
        repeated = [query for query in queries for _ in range(group_size)]
        fanouts = self._fanouts(ids, mask, completion, repeated)
        if group_size > 1 and not self._rollout_checked:
            self._rollout_checked = True
            cut, k = int(self.truncated(fanouts).sum()), self.form.set_size
            if warning := checks.short_lists(fanouts.subqueries, k, cut, limit):
                warnings.warn(warning, stacklevel=3)  # past no_grad
        return fanouts

    def log_probs(self, fanouts: Fanouts, temperature: float) -> Tensor:
        """Return log π (B·G, T) of the completion tokens at ``temperature``, in float32."""
        return self._log_policy(fanouts, temperature)[0]

    def log_probs_and_entropy(self, fanouts: Fanouts, temperature: float) -> tuple[Tensor, Tensor]:
        """Return ``log_probs`` and, from the same pass, the policy's entropy (B·G, T) at each token.

        The entropy is in nats, from 0 (the next token is certain) to the logarithm of the
        vocabulary's size, without gradient.
        """
        log_probs, policy = self._log_policy(fanouts, temperature)
        with torch.no_grad():  # row by row, to save a copy of the whole policy
            return log_probs, torch.stack([-(row.exp() * row).nansum(-1) for row in policy])

    def members(self, fanouts: Fanouts) -> Tensor:
        """Return (B·G, T) the member that each completion token belongs to, −1 for tokens of the format.

        A token belongs to the member whose entry has most of its characters, the first among equals.
        """
        owners = torch.full(fanouts.completion_ids.shape, -1)
        opening = len(self.opening())
        for row, (text, ids) in enumerate(zip(fanouts.texts, fanouts.completion_ids.tolist())):
            written = [-1] * len(text)  # the member of each character
            for member, span in enumerate(self.form.list_format.spans(text)[: self.form.set_size]):
                if span is not None:
                    written[slice(*span)] = [member] * (span[1] - span[0])
            length = int(fanouts.completion_mask[row].sum())
            for token, (start, end) in enumerate(self._places(ids[:length], text[opening:])):
                wrote = [each for each in written[opening + start : opening + end] if each >= 0]
                owners[row, token] = max(wrote, key=wrote.count, default=-1)
        return owners.to(fanouts.completion_ids.device)

    def deciders(self, fanouts: Fanouts) -> Tensor:
        """Return (B·G, T) the member that each completion token writes or decides on, else −1.

        As ``members``, and besides: what stands between two entries belongs to the second, whose writing
        it begins, and what ends a list of n members too early, 0 < n < k, to member n, which stays
        unwritten. Where each entry ends as the list does (``Lines``), only the last token of a
        completion ends the list, and the ends of entries decide on nothing.
        """
        owners = self.members(fanouts)
        lengths = fanouts.completion_mask.sum(1, keepdim=True).to(owners.device)
        places = torch.arange(owners.shape[1], device=owners.device)
        last = torch.where(owners >= 0, places, -1).amax(1, keepdim=True)  # of an entry
        if self.form.list_format.end_per_entry:
            end = torch.maximum(last, lengths - 2)
        else:
            end, following = last, torch.where(owners >= 0, places, owners.shape[1] - 1)
            following = (
                following.flip(1).cummin(1).values.flip(1)
            )  # place of the next entry's token
            begun = (owners >= 0).cumsum(1) > 0
            owners = torch.where(begun & (places < last), owners.gather(1, following), owners)
        counts = torch.tensor([[len(texts)] for texts in fanouts.subqueries], device=owners.device)
        ends = self.short(fanouts).unsqueeze(1) & (last >= 0) & (places > end) & (places < lengths)
        return torch.where(ends, counts, owners)

    def short(self, fanouts: Fanouts) -> Tensor:
        """Return (B·G,) bool, the completions that chose to end with n members, 0 < n < k."""
        truncated = self.truncated(fanouts)
        counts = torch.tensor([len(texts) for texts in fanouts.subqueries], device=truncated.device)
        return (counts > 0) & (counts < self.form.set_size) & ~truncated

    def _places(self, ids: list[int], text: str) -> list[tuple[int, int]]:
        """Return the (start, end) of the characters that each token wrote, equal if it wrote none.

        If a character takes several tokens, each of them wrote it.
        """
        pieces = self._pieces.get(ids, self._decoded)
        ends = list(accumulate(map(len, pieces)))
        if ends and ends[-1] != len(text):  # a character of several tokens, or spaces were dropped
            decode = self.tokenizer.decode
            ends = [len(decode(ids[: n + 1], skip_special_tokens=True)) for n in range(len(ids))]
        steps = zip([0, *ends], ends, pieces)
        return [(min(start, end - bool(piece)), end) for start, end, piece in steps]

    def _decoded(self, tokens: list[int]) -> list[str]:
        return [self.tokenizer.decode([token], skip_special_tokens=True) for token in tokens]

    def truncated(self, fanouts: Fanouts) -> Tensor:
        """Return (B·G,) bool, True without an end token or a complete list within the limit."""
        ends = self._is_end(fanouts.completion_ids) & (fanouts.completion_mask > 0)
        return ~(ends.any(1) | self._complete(fanouts.texts).to(ends.device))

    def _complete(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([self.form.complete(text) for text in texts], dtype=torch.bool)

    def _is_end(self, ids: Tensor) -> Tensor:
        return torch.isin(ids, torch.tensor(self.end_ids, device=ids.device))

    def _log_policy(self, fanouts: Fanouts, temperature: float) -> tuple[Tensor, Tensor]:
        """Return log π (B·G, T) of the completion tokens, and of the vocabulary (B·G, T, V)."""
        ids = torch.cat([fanouts.prompt_ids, fanouts.completion_ids], 1)
        mask = torch.cat([fanouts.prompt_mask, fanouts.completion_mask], 1)
        shared = self._shared(fanouts, ids.shape[1])
        keep = fanouts.completion_ids.shape[1] + 1
        last = Reading(self.lm, ids, mask, shared > 0, shared, keep).last
        policy = (last[:, :-1].float() / temperature).log_softmax(-1)
        return policy.gather(-1, fanouts.completion_ids.unsqueeze(-1)).squeeze(-1), policy

    def _shared(self, fanouts: Fanouts, longest: int) -> int:
        """Return what prompts share; 0 if ranks share weights, which then read the same number of times."""
        if is_sharded(self.lm):
            return 0
        return shared_tokens(self.lm, fanouts.prompt_ids, fanouts.prompt_mask, longest)

    def teach(
        self, queries: Sequence[str], additions: Sequence[Sequence[str]], whole: bool = False
    ) -> Fanouts:
        """Return the tokens of fan-outs to imitate, as if the model had written them (warm start).

        ``whole`` additions are whole sub-queries, not words to add to the query.

        A thought that the chat template begins ends at once.

        Raises:
            InputError: If a prompt leaves no room for its fan-out in the model's context.
        """
        opening = self.opening()
        start = "\n</think>\n\n" if opening else ""
        texts = [start + self.form.completion(*pair, whole) for pair in zip(queries, additions)]
        ids, mask = self.prompt_tokens(queries)
        eos = self.tokenizer.eos_token
        completion = self._tokens([text + eos for text in texts], "right", False)
        lengths = mask.sum(1), completion[1].sum(1)
        checks.check_length(self.lm, lengths[0], queries, lengths[1], "the fan-out to imitate")
        texts = [opening + text for text in texts]
        return Fanouts(ids, mask, *completion, texts, self._parse(queries, texts))

    def save(self, folder: str | Path) -> None:
        """Write weights, tokenizer and format into ``folder``; ``transformers`` can load it too.

        Adapters are merged into the model; ``adapter/`` also holds them alone, for ``peft``. All
        processes that share weights must call this; the first one writes.
        """
        folder, first = Path(folder), is_first_process()
        weights = {name: weight.cpu() for name, weight in plain_weights(self.lm) if first}
        adapters = adapter_weights(self.lm)
        if not first:
            return
        self.lm.save_pretrained(folder, state_dict=weights)
        shutil.rmtree(folder / "adapter", ignore_errors=True)  # of a model saved here before
        if adapters:
            config = copy.deepcopy(self.lm.config)
            config.dtype = torch.float32  # of the merged weights
            config.save_pretrained(folder)
            settings: Any = self.lm.peft_config
            settings[ADAPTER].save_pretrained(folder / "adapter")
            save_file(adapters, folder / "adapter" / "adapter_model.safetensors")
        self.tokenizer.save_pretrained(folder)
        spec = {**self.form.spec(), "max_new_tokens": self.max_new_tokens}
        (folder / SPEC_FILE).write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, backend: Backend | None = None) -> "FanoutModel":
        """Load what ``save`` wrote into ``folder``, in evaluation mode."""
        path = Path(folder) / SPEC_FILE
        if not path.is_file():
            raise InputError(
                expected=f"a fan-out model: a folder with {SPEC_FILE}",
                found=f"none in {folder}",
                remedy="Run the warm start or the tuning step of this run first.",
            )
        spec = json.loads(path.read_text(encoding="utf-8"))
        lm, tokenizer = Pretrained(str(Path(folder).resolve())).build([], Path())
        return cls(lm.eval(), tokenizer, load_format(spec), spec["max_new_tokens"], backend)

    def _fanouts(
        self, ids: Tensor, mask: Tensor, completion: Tensor, queries: Sequence[str]
    ) -> Fanouts:
        is_end = self._is_end(completion)
        # Tokens count up to the first end token, including it; padding follows a complete list.
        real = (is_end.cumsum(1) - is_end.long()) == 0
        if self.tokenizer.pad_token_id not in self.end_ids:
            # A pad token with another token after it was sampled.
            others = (completion != self.tokenizer.pad_token_id).flip(1)
            real &= others.cumsum(1).flip(1) > 0
        opening = self.opening()
        texts = [
            opening + self.tokenizer.decode(row[keep], skip_special_tokens=True)
            for row, keep in zip(completion, real)
        ]
        # An end token after a complete list is padding.
        real &= ~(self._complete(texts).to(real.device).unsqueeze(1) & is_end)
        return Fanouts(ids, mask, completion, real.long(), texts, self._parse(queries, texts))

    def _parse(self, queries: Sequence[str], texts: Sequence[str]) -> list[list[str]]:
        return [self.form.parse(query, text) for query, text in zip(queries, texts)]
