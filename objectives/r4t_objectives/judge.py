"""Texts of a set → a language model's score from 1 to 5, with its reason."""

import hashlib
import ipaddress
import json
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from r4t.catalog import Catalog
from r4t.chat import Answer, Chat, Failure
from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.rubrics import Rubric

THOUGHT = re.compile(r"\A.*</think>|<think>.*\Z", re.DOTALL)  # some models omit the first <think>
MEMORY = 10_000  # answers that an object keeps in memory
AGAIN = (
    "That was not in the form asked for. Answer with the JSON object alone: "
    '{"reason": "...", "score": N}, with N from 1 to 5.'
)


@dataclass(frozen=True)
class Verdict:
    """A judge's score of one set, 1 to 5, and its reason; NaN and why there is no score."""

    score: float
    reason: str


class Judge(Objective):
    """A language model's score of a set, 1 to 5 (paper, §7).

    The model sees a rubric with an anchor for each score, and the texts of the set's items in an
    order that depends only on the seed and the set; no method, scores or ids. It gives a reason,
    then a score.

    * ``diversity``: from 1 (copies) to 5 (every item adds something); the query is not shown.
    * ``alignment``: of the collection with the query, from 1 (unrelated) to 5 (every item fits).
    * ``groundedness``: each item against its own sub-query, from 1 (no match) to 5; needs ``texts``.
    * ``fit``: of one item with the query, for ``grades`` and the objective ``fit``.

    A set without an answer, or with two answers that hold no score from 1 to 5, scores NaN, is
    counted (``partial``) and is asked about again next time. All other answers are remembered, the
    last 10,000 by each object, so that equal sets have equal scores in every column. The key comes
    from OPENAI_API_KEY. Each rank counts what it spends; all ranks share the cache.

    Args:
        rubric: One of these, or the path of a text file with ``{items}`` or ``{pairs}``, and with
            ``{query}`` to show the query.
        model: Its name at the endpoint; R4T_JUDGE_MODEL by default.
        base_url: Address; OPENAI_BASE_URL, or else OpenAI, by default.
        seed: Seed of the order in which items are shown.
        concurrency: Number of simultaneous calls.
        retries: Attempts after the first; see ``Chat``.
        timeout: Seconds without a byte after which a call counts as lost.
        cache: Folder of answers, with prompts and reasons, shared with other processes; None for none.
        prices: Prices per million prompt and completion tokens, for the cost in ``facts``.
        parameters: Further fields of the request; ``{temperature: 0}`` by default (``{}`` for
            models that refuse it).

    Raises:
        InputError: If no model is named, the rubric is unknown or does not show the set, a price is
            below 0, or ``Chat`` refuses an argument.
    """

    bounds = (1.0, 5.0)
    needs = frozenset({"catalog"})  # of the default rubric; each object has its own
    partial = True
    costly = True

    def __init__(
        self,
        rubric: str = "diversity",
        model: str | None = None,
        base_url: str | None = None,
        seed: int = 0,
        concurrency: int = 8,
        retries: int = 8,
        timeout: float = 60.0,
        cache: str | None = "~/.cache/r4t/judge",
        prices: tuple[float, float] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        model = model or os.environ.get("R4T_JUDGE_MODEL")
        if not model:
            raise InputError(
                expected="the name of a model for the judge",
                found="none in its arguments or in R4T_JUDGE_MODEL",
                remedy="Name one that the endpoint (base_url or OPENAI_BASE_URL) serves.",
            )
        if prices is not None and (len(prices) != 2 or not all(price >= 0 for price in prices)):
            raise InputError(
                expected="two prices of at least 0, per million prompt and completion tokens",
                found=str(list(prices)),
                remedy="Write them as [0.25, 2.0].",
            )
        self.rubric = Rubric(rubric)
        self.needs = self.rubric.needs
        self.seed = seed
        self.prices = prices
        self.chat = Chat(
            model,
            base_url,
            parameters={"temperature": 0} if parameters is None else parameters,
            concurrency=concurrency,
            retries=retries,
            timeout=timeout,
            cache=cache,
            memory=MEMORY,
        )
        self.verdicts: list[Verdict] = []  # of the last call, one for each set
        self._paid = 0
        self._unscored: Counter[str] = Counter()
        self._models: set[str] = set()

    @property
    def name(self) -> str:
        """``judge_`` and the rubric."""
        return f"judge_{self.rubric.name}"

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) scores, NaN where there is none; a set without a member is not shown.

        Raises:
            InputError: If the endpoint refuses the key, the model or the address, or the rubric has
                pairs and a member has no sub-query.
        """
        rows = sets.mask.any(-1).nonzero().flatten().tolist()
        prompts = [self.rubric.prompt(sets, row, self.seed) for row in rows]
        self.verdicts = [Verdict(self.bounds[0], "no member")] * len(sets)
        for row, verdict in zip(rows, self._judge(prompts)):
            self.verdicts[row] = verdict
        scores = [verdict.score for verdict in self.verdicts]
        return torch.tensor(scores, dtype=torch.float32, device=sets.query.device)

    def grades(self, query_texts: Sequence[str], catalog: Catalog, items: Tensor) -> Tensor:
        """Return grades (B, k) in [0, 1] of catalog rows (B, k): (score − 1) / 4 of each item alone.

        Each distinct pair of a query and an item is one question, and its answer is remembered like
        any other, so that a set costs only its new items. Unreadable answers are kept too, and not
        followed by another question. NaN for −1, and where there is no readable answer.

        Raises:
            InputError: As ``score`` does, or if the rubric shows more or less than query and items.
        """
        if self.needs != {"catalog", "query_texts"}:
            raise InputError(
                expected="a rubric that shows {query} and {items}, for grades of single items",
                found=f"the rubric {self.rubric.name}",
                remedy="Use fit, which is written for this.",
            )
        asked = [(text, row) for text, rows in zip(query_texts, items.tolist()) for row in rows]
        pairs = list(dict.fromkeys(pair for pair in asked if pair[1] >= 0))
        prompts = [self.rubric.item_prompt(text, catalog.texts[row]) for text, row in pairs]
        answers = self.chat.ask([[{"role": "user", "content": prompt}] for prompt in prompts])
        self._paid += sum(isinstance(a, Answer) and not a.cached for a in answers)
        scores = {pair: self._verdict(answer).score for pair, answer in zip(pairs, answers)}
        known = torch.tensor([scores.get(pair, math.nan) for pair in asked])
        return ((known - 1) / 4).view(items.shape).to(items.device)

    @property
    def paid(self) -> int:
        """Answers to questions about single items that needed a call, so far."""
        return self._paid

    @property
    def identity(self) -> dict[str, Any]:
        """What its grades depend on."""
        return {"model": self.chat.model, **self._protocol}

    @property
    def _protocol(self) -> dict[str, Any]:
        return {
            "parameters": self.chat.parameters,
            "rubric": self.rubric.name,
            "rubric_sha256": hashlib.sha256(self.rubric.text.encode()).hexdigest(),
        }

    def reasons(self) -> list[str]:
        """Return the model's reason for each set of the last call; "" where it gave no score."""
        return ["" if math.isnan(v.score) else v.reason for v in self.verdicts]

    def facts(self) -> dict[str, Any]:
        """Return the model, the rubric, and what this process has requested and spent so far.

        ``cost`` is None without prices, and too low if answers are ``unmetered``.
        """
        usage = self.chat.usage
        return {
            "model": self.chat.model,
            "answered_by": sorted(self._models),
            "endpoint": _location(self.chat.base_url),
            **self._protocol,
            "seed": self.seed,
            **vars(usage),
            "cost": None if self.prices is None else round(usage.cost(self.prices), 6),
            "unscored": dict(sorted(self._unscored.items())),
        }

    def _judge(self, prompts: list[str]) -> list[Verdict]:
        """Ask about each set, and once more if the answer has no score."""
        questions = [[{"role": "user", "content": prompt}] for prompt in prompts]
        answers = self.chat.ask(questions)
        repeats = {}
        for place, answer in enumerate(answers):
            if isinstance(answer, Answer) and read_verdict(answer.text) is None:
                reply = {"role": "assistant", "content": answer.text or "(nothing)"}
                repeats[place] = [*questions[place], reply, {"role": "user", "content": AGAIN}]
        for place, answer in zip(repeats, self.chat.ask(list(repeats.values()))):
            answers[place] = answer
        verdicts = [self._verdict(answer) for answer in answers]
        for place, verdict in enumerate(verdicts):
            if math.isnan(verdict.score):
                self.chat.forget(questions[place])
                self.chat.forget(repeats.get(place, questions[place]))
        return verdicts

    def _verdict(self, answer: Answer | Failure) -> Verdict:
        """Read the last answer about a set, or count the set as unscored."""
        if isinstance(answer, Answer):
            self._models.add(answer.model)
            verdict = read_verdict(answer.text)
            if verdict is not None:
                return verdict
            answer = Failure("Malformed", " ".join(answer.text.split())[:300])
        if not self._unscored:
            message = f"{self.name} could not score all sets; the first: {answer}"
            warnings.warn(message, stacklevel=2)
        self._unscored[answer.kind] += 1
        return Verdict(float("nan"), str(answer))


def read_verdict(text: str) -> Verdict | None:
    """Read the JSON object with a reason and a score from 1 to 5 in an answer; None without one.

    Code fences, thoughts in ``<think>`` and prose around it are ignored. Objects with only a score
    count if no object has a reason too. Objects that disagree give no verdict, because one of them
    may be quoted from an item.

    Examples:
        >>> read_verdict('Sure! ```json {"reason": "All hats.", "score": 2} ```')
        Verdict(score=2.0, reason='All hats.')
        >>> read_verdict('{"score": 7}') is None
        True
        >>> read_verdict('{"reason": "Bad.", "score": 1} Item 3: {"reason": "x", "score": 5}')
    """
    rows = [row for row in _objects(THOUGHT.sub("", text)) if "score" in row]
    rows = [row for row in rows if "reason" in row] or rows
    scores = {_valid_score(row["score"]) for row in rows}
    score = scores.pop() if len(scores) == 1 else None
    return None if score is None else Verdict(score, str(rows[0].get("reason", "")))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost JSON objects in a text."""
    place = 0
    while (place := text.find("{", place)) >= 0:
        try:
            row, place = json.JSONDecoder().raw_decode(text, place)
            yield row
        except (ValueError, RecursionError):
            place += 1


def _valid_score(value: Any) -> float | None:
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return score if 1 <= score <= 5 and not isinstance(value, bool) else None


def _location(url: str) -> str:
    """Return whether an endpoint is local, without its address: results may be published."""
    host = urlsplit(url).hostname or ""
    try:
        is_local = ipaddress.ip_address(host).is_private
    except ValueError:
        is_local = "." not in host or host.endswith((".local", ".internal", ".localhost"))
    return f"OpenAI-compatible, {'local' if is_local else 'remote'}"
