"""Texts of a set → a score of 1 to 5 with its reason, from a language model that sees no more."""

import hashlib
import ipaddress
import json
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from r4t.chat import Answer, Chat, Failure
from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.rubrics import Rubric

THOUGHT = re.compile(r"\A.*</think>|<think>.*\Z", re.DOTALL)  # some begin without <think>
MEMORY = 10_000  # answers that an object keeps in memory
AGAIN = (
    "That was not in the form asked for. Answer with the JSON object alone: "
    '{"reason": "...", "score": N}, with N from 1 to 5.'
)


@dataclass(frozen=True)
class Verdict:
    """What the judge says of one set.

    Attributes:
        score: 1 to 5; NaN where there is none.
        reason: The model's, or why there is no score.
    """

    score: float
    reason: str


class Judge(Objective):
    """A language model's score of a set, 1 to 5 (paper, §7).

    The model sees a rubric with an anchor for each score and the texts of the set's items, in an
    order that depends on the seed and the set alone. It sees no method, no scores and no ids. It
    gives a reason, then a score.

    * ``diversity``: from 1 (copies) to 5 (every item adds something); the query is not shown.
    * ``alignment``: of the collection with the query, from 1 (nothing to do with it) to 5.
    * ``groundedness``: each item against its own sub-query, from 1 (no match) to 5; needs ``texts``.

    A set that got no answer, or twice one without a score from 1 to 5, scores NaN and is counted
    (``partial``); it is asked for again next time. Any other is asked for once: an object remembers
    its last 10,000 answers, so that the same set has the same score in every column. The key is
    read from OPENAI_API_KEY. On several ranks each keeps its own account of what it spent; the
    cache is common.

    Args:
        rubric: One of those above, or the path of a text file with ``{items}`` or ``{pairs}``, and
            ``{query}`` where it is to be shown.
        model: Its name at the endpoint; R4T_JUDGE_MODEL by default.
        base_url: OPENAI_BASE_URL, or else OpenAI's own, by default.
        seed: Of the order in which items are shown.
        concurrency: Calls at the same time.
        retries: Attempts after the first; see ``Chat``.
        timeout: Seconds without a byte after which an attempt counts as lost.
        cache: Folder of answers by content, with prompts and reasons to read, for later and for
            other processes; None for none.
        prices: Per million prompt and completion tokens, for the cost in ``facts``.
        parameters: Further fields of the request; ``{temperature: 0}`` by default (``{}`` for
            models that refuse it).

    Attributes:
        verdicts: Scores and reasons of the last call, one for each set.

    Raises:
        InputError: No model is named, the rubric is unknown or shows nothing, a price is below 0,
            or ``Chat`` refuses an argument.
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
        self.rubric = Rubric(rubric)
        self.needs = self.rubric.needs
        self.seed = seed
        self.prices = _checked_prices(prices)
        self.chat = Chat(
            _named(model),
            base_url,
            parameters={"temperature": 0} if parameters is None else parameters,
            concurrency=concurrency,
            retries=retries,
            timeout=timeout,
            cache=cache,
            memory=MEMORY,
        )
        self.verdicts: list[Verdict] = []
        self._unscored: Counter[str] = Counter()
        self._models: set[str] = set()

    @property
    def name(self) -> str:
        """``judge_`` and the rubric."""
        return f"judge_{self.rubric.name}"

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) scores, NaN where there is none; a set without a member is not shown.

        Raises:
            InputError: The endpoint refuses the key, the model or the address, or pairs are to be
                judged and a member has no sub-query.
        """
        shown = sets.mask.any(-1).nonzero().flatten().tolist()
        prompts = [self.rubric.prompt(sets, row, self.seed) for row in shown]
        self.verdicts = [Verdict(self.bounds[0], "no member")] * len(sets)
        for row, verdict in zip(shown, self._judge(prompts)):
            self.verdicts[row] = verdict
        scores = [verdict.score for verdict in self.verdicts]
        return torch.tensor(scores, dtype=torch.float32, device=sets.query.device)

    def reasons(self) -> list[str]:
        """Return the model's reason for each set of the last call; "" where it gave no score."""
        return ["" if math.isnan(v.score) else v.reason for v in self.verdicts]

    def facts(self) -> dict[str, Any]:
        """Return the model, the rubric and what this process has asked and spent so far.

        ``cost`` is None without prices, and too low where answers are ``unmetered``.
        """
        usage = self.chat.usage
        return {
            "model": self.chat.model,
            "answered_by": sorted(self._models),
            "endpoint": _whereabouts(self.chat.base_url),
            "parameters": self.chat.parameters,
            "rubric": self.rubric.name,
            "rubric_sha256": hashlib.sha256(self.rubric.text.encode()).hexdigest(),
            "seed": self.seed,
            **vars(usage),
            "cost": None if self.prices is None else round(usage.cost(self.prices), 6),
            "unscored": dict(sorted(self._unscored.items())),
        }

    def _judge(self, prompts: list[str]) -> list[Verdict]:
        """Ask once, and once more where the answer has no score."""
        asked = [[_said("user", prompt)] for prompt in prompts]
        answers = self.chat.ask(asked)
        again = {
            place: [
                *asked[place],
                _said("assistant", answer.text or "(nothing)"),
                _said("user", AGAIN),
            ]
            for place, answer in enumerate(answers)
            if isinstance(answer, Answer) and read_verdict(answer.text) is None
        }
        for place, answer in zip(again, self.chat.ask(list(again.values()))):
            answers[place] = answer
        verdicts = []
        for place, answer in enumerate(answers):
            verdict = self._verdict(answer)
            if math.isnan(verdict.score):  # nothing of it is to be kept
                self.chat.forget(asked[place])
                self.chat.forget(again.get(place, asked[place]))
            verdicts.append(verdict)
        return verdicts

    def _verdict(self, answer: Answer | Failure) -> Verdict:
        """Read the last answer to a set, or count it as missing."""
        if isinstance(answer, Answer):
            self._models.add(answer.model)
            verdict = read_verdict(answer.text)
            if verdict is not None:
                return verdict
            answer = Failure("Malformed", " ".join(answer.text.split())[:300])
        if not self._unscored:
            warnings.warn(
                f"{self.name} leaves sets without an answer unscored; the first: {answer}",
                stacklevel=2,
            )
        self._unscored[answer.kind] += 1
        return Verdict(float("nan"), str(answer))


def read_verdict(text: str) -> Verdict | None:
    """Read the JSON object with a reason and a score from 1 to 5 in an answer; None without one.

    Code fences, thoughts in ``<think>`` and prose around it do not matter. An object with a score
    alone counts where none has a reason too. Objects that disagree are no verdict: one of them may
    be what an item says.

    Examples:
        >>> read_verdict('Sure! ```json {"reason": "All hats.", "score": 2} ```')
        Verdict(score=2.0, reason='All hats.')
        >>> read_verdict('{"score": 7}') is None
        True
        >>> read_verdict('{"reason": "Bad.", "score": 1} Item 3: {"reason": "x", "score": 5}')
    """
    rows = [row for row in _objects(THOUGHT.sub("", text)) if "score" in row]
    whole = [row for row in rows if "reason" in row]
    verdicts = [_read_row(row) for row in whole or rows]
    agree = len({None if verdict is None else verdict.score for verdict in verdicts}) == 1
    return verdicts[0] if agree else None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, without those within others."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            row, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place += 1
        else:
            yield row
        place = text.find("{", place)


def _read_row(row: Mapping[str, Any]) -> Verdict | None:
    try:
        score = float("nan") if isinstance(row["score"], bool) else float(row["score"])
    except (TypeError, ValueError, OverflowError):
        return None
    return Verdict(score, str(row.get("reason", ""))) if 1 <= score <= 5 else None


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _named(model: str | None) -> str:
    model = model or os.environ.get("R4T_JUDGE_MODEL")
    if not model:
        raise InputError(
            "A judge needs the name of a model — found none in its arguments or R4T_JUDGE_MODEL — "
            "give one that the endpoint (base_url or OPENAI_BASE_URL) serves."
        )
    return model


def _checked_prices(prices: tuple[float, float] | None) -> tuple[float, float] | None:
    if prices is None:
        return None
    if len(prices) != 2 or not all(price >= 0 for price in prices):
        raise InputError(
            "Prices are two numbers of at least 0, per million prompt and completion tokens — found "
            f"{list(prices)} — write them as [0.25, 2.0]."
        )
    return float(prices[0]), float(prices[1])


def _whereabouts(url: str) -> str:
    """Where an endpoint runs, without its host: results are passed on, addresses should not be."""
    host = urlsplit(url).hostname or ""
    try:
        near = ipaddress.ip_address(host).is_private
    except ValueError:
        near = "." not in host or host.endswith((".local", ".internal", ".localhost"))
    return f"OpenAI-compatible, {'local' if near else 'remote'}"
