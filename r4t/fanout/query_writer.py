"""Queries and items → more queries like them, written by a local language model."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
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

WRITTEN = "written"  # kind of such queries, and the split that they are
LOGGED = "logged"  # kind of queries that users typed; they are of that split too
EXAMPLES = 16  # queries that a prompt shows
BATCH = 32  # queries written after the same examples
ITEM_WORDS = 12  # of an item's text that a prompt shows
MOST_TOKENS = 24  # of a query
FRUITLESS = 5  # prompts in a row without a new query, after which to stop
NEAR = 0.9  # cosine from which on two queries are taken for the same


Example = tuple[str, str]  # the text of an item, or "", and a query


@dataclass
class QueryWriter:
    """Writes queries by continuing a list of examples.

    Each query of the list follows an item that belongs to it, so each new one is led by an item of the
    catalog: left alone, a small model writes the few queries that it knows best over and over.

    Args:
        lm: A pretrained language model and its tokenizer.
        label: Stands before each query of the prompt, as "Dish".
        item_label: Stands before each item, as "Ingredient".
        temperature: Of sampling, above 0.
    """

    lm: LanguageModel
    label: str = "Query"
    item_label: str = "Item"
    temperature: float = 0.5  # from .8 on a small model invents words

    def __post_init__(self) -> None:
        checks.ensure_pad_token(self.lm[1])

    def __call__(self, examples: Sequence[Example], items: Sequence[str], seed: int) -> list[str]:
        """Return the texts of lines that the model adds to the examples, in any quality.

        Args:
            examples: Each an item's text and a query.
            items: Texts, each of which leads a new query; "" for a query without one.
            seed: Of the texts.

        Raises:
            InputError: If the examples leave no room in the model's context.
        """
        model, tokenizer = self.lm[0].eval(), self.lm[1]
        shown = "".join(f"{self._open(item)} {one_line(query)}\n" for item, query in examples)
        prompts = [shown + self._open(item) for item in items]
        batch: Any = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        checks.check_length(model, mask.sum(1), items, MOST_TOKENS, "a new query")
        ends = torch.tensor(checks.end_ids(tokenizer, model.generation_config))
        seeds = [query_seed(str(seed), number) for number in range(len(items))]
        draw = SeededSampling(seeds, 1, self.temperature, MOST_TOKENS)

        def ended(ids: Tensor) -> Tensor:
            texts = tokenizer.batch_decode(ids[:, -1:])
            line_ends = torch.tensor(["\n" in text for text in texts])
            return line_ends | torch.isin(ids[:, -1], ends)

        padding = int(tokenizer.pad_token_id)
        written = write(model, (ids, mask), 1, MOST_TOKENS, draw, ended, padding)
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        return [one_line(text.split("\n")[0]) for text in texts if "\n" in text]

    def _open(self, item: str) -> str:
        words = " ".join(one_line(item).split()[:ITEM_WORDS])
        return f"{self.item_label}: {words}\n{self.label}:" if words else f"{self.label}:"


def more_queries(
    writer: Callable[[Sequence[Example], Sequence[str], int], Sequence[str]],
    training: Sequence[Query],
    held_out: Sequence[Query],
    items: Mapping[str, str],
    encode: Callable[[Sequence[str]], Tensor],
    count: int,
    seed: int = 0,
    logged: Sequence[Query] = (),
) -> tuple[list[Query], str]:
    """Let a writer add queries until ``count`` new ones are there.

    Each prompt shows ``EXAMPLES`` of the training queries, each after that of its reference items
    which is rarest among these queries, as the one that says most about it. A new query is led by an
    item of the catalog, all in turn; by none if the training queries have no references. What repeats
    a training query, a new one or an item (by normalized text), or a held-out query (by text, or with
    a cosine of ``NEAR`` or more), is left out: no test query is ever trained on, nor one like it.

    Args:
        writer: Examples, items and a seed → texts, as ``QueryWriter``.
        training: To be imitated; at least two.
        held_out: Validation and test queries.
        items: Id → text of the catalog's items.
        encode: n texts → (n, d) unit vectors.
        count: Number of new queries, at least 1.
        seed: Of examples, items and texts.
        logged: Further queries that are there already.

    Returns:
        Queries of kind ``written`` without references, fewer than ``count`` if ``FRUITLESS`` prompts in a
        row bring nothing new, and a note on what was left out.

    Raises:
        InputError: If there are too few examples, or nothing new comes at all.
    """
    check_least({"count": (count, 1), "training queries": (len(training), 2)})
    rng, examples = random.Random(seed), _examples(training, items)
    leads = _leads([*items.values()] if any(item for item, _ in examples) else [""], rng)
    sieve = _Sieve.against([*training, *logged], held_out, items, encode)
    found: list[Query] = []
    prompts = fruitless = 0
    with progress("writing queries", total=count) as bar:
        while len(found) < count and fruitless < FRUITLESS:
            shown = rng.sample(examples, min(EXAMPLES, len(examples)))
            texts = writer(shown, [*islice(leads, BATCH)], query_seed(str(seed), prompts))
            new = sieve(texts)[: count - len(found)]
            found += [Query(f"w{n:05d}", text, WRITTEN) for n, text in enumerate(new, len(found))]
            prompts, fruitless = prompts + 1, 0 if new else fruitless + 1
            bar.update(len(new))
    if not found:
        raise InputError(
            expected="queries that are new",
            found=f"none in {FRUITLESS} prompts",
            remedy="Take a larger model.",
        )
    note = sieve.left_out()
    if len(found) < count:
        note += f"; {FRUITLESS} prompts in a row brought nothing new after {len(found)} of {count}"
    return found, note


def logged_queries(
    texts: Sequence[str],
    training: Sequence[Query],
    held_out: Sequence[Query],
    items: Mapping[str, str],
    encode: Callable[[Sequence[str]], Tensor],
) -> tuple[list[Query], str]:
    """Take queries that users typed, as ``more_queries`` takes those of a writer.

    Args:
        texts: What users typed, in any quality; the first of equal ones counts.
        training: Queries with references.
        held_out: Validation and test queries.
        items: Id → text of the catalog's items.
        encode: n texts → (n, d) unit vectors.

    Returns:
        Queries of kind ``logged`` without references, and a note on what was left out.

    Raises:
        InputError: If none is new.
    """
    sieve = _Sieve.against(training, held_out, items, encode)
    new = sieve([one_line(text) for text in texts])
    if not new:
        raise InputError(
            expected="at least one query in the log that is new",
            found=f"none of {len(texts)}; {sieve.left_out()}",
            remedy="Add queries, or leave out --log.",
        )
    return [Query(f"l{n:05d}", text, LOGGED) for n, text in enumerate(new)], sieve.left_out()


@dataclass
class _Sieve:
    """Keeps texts that are new and not near a held-out query, and counts the others."""

    encode: Callable[[Sequence[str]], Tensor]
    held_out: Tensor | None  # (n, d) unit vectors
    known: set[str]  # normalized texts
    repeated: int = 0
    near: int = 0

    @classmethod
    def against(
        cls,
        known: Sequence[Query],
        held_out: Sequence[Query],
        items: Mapping[str, str],
        encode: Callable[[Sequence[str]], Tensor],
    ) -> "_Sieve":
        """Return one that refuses known and held-out queries, items, and what is near a held-out one."""
        vectors = encode([query.text for query in held_out]) if held_out else None
        texts = [*(query.text for query in (*known, *held_out)), *items.values()]
        return cls(encode, vectors, set(map(normalize_text, texts)))

    def left_out(self) -> str:
        """Return the counts in words."""
        near = f"{self.near} near a held-out query (cosine {NEAR} or more)"
        return f"{self.repeated} repeated or blank, {near}"

    def __call__(self, texts: Sequence[str]) -> list[str]:
        fresh: list[str] = []
        for text in texts:
            key = normalize_text(text)
            if key and key not in self.known:
                fresh.append(text)
                self.known.add(key)
        self.repeated += len(texts) - len(fresh)
        if self.held_out is None or not fresh:
            return fresh
        closest = (self.encode(fresh) @ self.held_out.T).amax(1).tolist()
        kept = [text for text, cosine in zip(fresh, closest) if cosine < NEAR]
        self.near += len(fresh) - len(kept)
        return kept


def _examples(training: Sequence[Query], items: Mapping[str, str]) -> list[Example]:
    """Return each query after the text of its rarest reference item, or after "" if it has none."""
    times = Counter(item for query in training for item in query.references)
    found = []
    for query in training:
        known = [item for item in query.references if item in items]
        rarest = min(known, key=lambda item: (times[item], item), default=None)
        found.append((items[rarest] if rarest is not None else "", query.text))
    return found


def _leads(items: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Yield all items in a drawn order, then all in another, without end."""
    while True:
        yield from rng.sample(items, len(items))
