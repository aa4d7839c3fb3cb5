"""Queries → more queries like them, written by a local language model."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.fanout import checks
from r4t.fanout.decoding import write
from r4t.fanout.few_shot import one_line
from r4t.fanout.language_model import LanguageModel
from r4t.fanout.sampling import SeededSampling
from r4t.support.progress import progress
from r4t.support.seeds import query_seed
from r4t.support.text import normalize_text

WRITTEN = "written"  # kind of such queries
EXAMPLES = 16  # queries that a prompt shows
BATCH = 32  # queries written after one prompt
MOST_TOKENS = 24  # of a query
FRUITLESS = 5  # prompts in a row without a new query, after which to stop
NEAR = 0.9  # cosine from which on two queries are taken for the same


@dataclass
class QueryWriter:
    """Writes queries by continuing a list of examples, one a line.

    Args:
        lm: A pretrained language model and its tokenizer.
        label: Stands before each query of the prompt, as "Dish".
        temperature: Of sampling, above 0.
    """

    lm: LanguageModel
    label: str = "Query"
    temperature: float = 0.7  # at 1 a small model invents words

    def __post_init__(self) -> None:
        checks.ensure_pad_token(self.lm[1])

    def __call__(self, examples: Sequence[str], seed: int) -> list[str]:
        """Return the texts of ``BATCH`` lines that the model adds to the examples, in any quality.

        Raises:
            InputError: If the examples leave no room in the model's context.
        """
        model, tokenizer = self.lm[0].eval(), self.lm[1]
        lines = [f"{self.label}: {one_line(text)}\n" for text in examples]
        batch: Any = tokenizer("".join(lines) + f"{self.label}:", return_tensors="pt")
        prompt = batch["input_ids"], batch["attention_mask"]
        checks.check_length(model, prompt[1].sum(1), [""], MOST_TOKENS, "a new query")
        ends = torch.tensor(checks.end_ids(tokenizer, model.generation_config))
        draw = SeededSampling([seed], BATCH, self.temperature, MOST_TOKENS)

        def ended(ids: Tensor) -> Tensor:
            texts = tokenizer.batch_decode(ids[:, -1:])
            line_ends = torch.tensor(["\n" in text for text in texts])
            return line_ends | torch.isin(ids[:, -1], ends)

        ids = write(model, prompt, BATCH, MOST_TOKENS, draw, ended, int(tokenizer.pad_token_id))
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [one_line(text.split("\n")[0]) for text in texts if "\n" in text]


def more_queries(
    writer: Callable[[Sequence[str], int], Sequence[str]],
    training: Sequence[Query],
    held_out: Sequence[Query],
    encode: Callable[[Sequence[str]], Tensor],
    count: int,
    seed: int = 0,
) -> tuple[list[Query], str]:
    """Let a writer add queries until ``count`` new ones are there.

    Each prompt shows ``EXAMPLES`` of the training queries. What repeats a training query or a new one
    (by normalized text), or a held-out query (by text, or with a cosine of ``NEAR`` or more), is left
    out: no test query is ever trained on, nor one that says the same.

    Args:
        writer: Examples and a seed → texts, as ``QueryWriter``.
        training: To be imitated; at least two.
        held_out: Validation and test queries.
        encode: n texts → (n, d) unit vectors.
        count: Number of new queries, at least 1.
        seed: Of examples and texts.

    Returns:
        Queries of kind ``written`` without references, fewer than ``count`` if ``FRUITLESS`` prompts in a
        row bring nothing new, and a note on what was left out.

    Raises:
        InputError: If there are too few examples, or nothing new comes at all.
    """
    check_least({"count": (count, 1), "training queries": (len(training), 2)})
    rng = random.Random(seed)
    known = {normalize_text(query.text) for query in [*training, *held_out]}
    vectors = encode([query.text for query in held_out]) if held_out else None
    found: dict[str, Query] = {}
    repeated = near = prompts = fruitless = 0
    with progress("writing queries", total=count) as bar:
        while len(found) < count and fruitless < FRUITLESS:
            examples = rng.sample([query.text for query in training], min(EXAMPLES, len(training)))
            before = len(found)
            texts = writer(examples, query_seed(str(seed), prompts))
            fresh = _fresh(texts, known)
            repeated += len(texts) - len(fresh)
            known |= fresh.keys()
            kept = _far(fresh, vectors, encode)
            near += len(fresh) - len(kept)
            for key, text in [*kept.items()][: count - len(found)]:
                found[key] = Query(f"w{len(found):05d}", text, WRITTEN)
            prompts, fruitless = prompts + 1, fruitless + 1 if len(found) == before else 0
            bar.update(len(found) - before)
    if not found:
        raise InputError(
            expected="queries that are new",
            found=f"none in {FRUITLESS} prompts",
            remedy="Take a larger model.",
        )
    note = f"{repeated} repeated or blank, {near} near a held-out query (cosine {NEAR} or more)"
    if len(found) < count:
        note += f"; {FRUITLESS} prompts in a row brought nothing new after {len(found)} of {count}"
    return list(found.values()), note


def _fresh(texts: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Return normalized text → text of the new ones."""
    fresh: dict[str, str] = {}
    for text in texts:
        key = normalize_text(text)
        if key and key not in known:
            fresh.setdefault(key, text)
    return fresh


def _far(
    fresh: dict[str, str], held_out: Tensor | None, encode: Callable[[Sequence[str]], Tensor]
) -> dict[str, str]:
    """Return those that are not near a held-out query."""
    if held_out is None or not fresh:
        return fresh
    closest = (encode([*fresh.values()]) @ held_out.T).amax(1).tolist()
    return {key: fresh[key] for key, cosine in zip(fresh, closest) if cosine < NEAR}
