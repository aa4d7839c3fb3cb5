"""Conversations → answers of a chat model behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import importlib.util
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from r4t.chat.answer import Answer, AnswerFolder, Failure, Usage, content_key, utf8
from r4t.chat.answer_cache import Kept
from r4t.chat.request import LostError, attempt, checked_key, checked_url
from r4t.errors import InputError

__all__ = ["Answer", "Chat", "Conversation", "Failure", "Usage", "endpoint_error"]

Conversation = Sequence[Mapping[str, str]]  # messages with a "role" and a "content"

BACKOFF = 0.5  # seconds before the first retry; each further one waits twice as long
LONGEST_PAUSE = 20.0  # seconds: there the doubling ends
LONGEST_WAIT = 60.0  # seconds, whatever the endpoint asks for
SILENT_RETRIES = 4  # at most, where nobody answers
ROUNDS = {"Silence": 2, "Busy": 4}  # calls in vain, by why, for each that may run at a time


class Chat:
    """Asks a model many things at once, patiently and, where answers are kept, nothing twice.

    Timeouts, lost connections, 429, 5xx and bodies that are no completion are retried with
    exponential back-off and jitter, after what a ``Retry-After`` asks for; other refusals are not.
    What stays unanswered is a ``Failure`` in the place of its answer.

    Two things are not left to be discovered failure by failure. Wrong settings are told at once: a
    key, model or address that is refused before any answer came, or as many refusals of whatever
    kind as two rounds of calls before the first answer. And nobody waits for the dead: after two
    rounds of silent calls in a row (``Silence``), or four that were put off by 429 to the end of
    their patience (``Busy``: minutes without a single answer), the rest fails without being sent,
    and each further batch tries one call, once, before it sends the others.

    Args:
        model: Its name at the endpoint.
        base_url: Such as http://localhost:8000/v1; OPENAI_BASE_URL, or else OpenAI, by default.
        key: OPENAI_API_KEY by default; a local server usually takes any.
        parameters: Further fields of each request (``temperature``, ``max_tokens``).
        concurrency: Calls that may run at the same time.
        retries: Attempts after the first; the default is patient for about a minute. No more than
            four are spent on calls that nobody answers (timeouts, lost connections, 5xx).
        timeout: Seconds without a byte after which a call counts as lost.
        cache: Folder of answers by endpoint, model, messages and parameters (``AnswerFolder``).
        memory: Answers to keep in this object, by the same. Without both, all is asked anew.

    Attributes:
        usage: Calls, failures and tokens so far.

    Raises:
        InputError: An argument is out of range, or the client is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        key: str | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        concurrency: int = 8,
        retries: int = 8,
        timeout: float = 60.0,
        cache: str | Path | None = None,
        memory: int = 0,
    ) -> None:
        _check_limits(concurrency, retries, timeout, memory)
        if importlib.util.find_spec("openai") is None:
            raise InputError(
                "Asking an endpoint needs the openai client — found none installed — install the "
                "extra eval (pip install 'r4t[eval]') or leave the endpoint out."
            )
        checked_key(key)
        self.model = model
        self.base_url = checked_url(base_url)
        self.parameters = dict(parameters or {})
        self.concurrency = concurrency
        self.retries = retries
        self.timeout = timeout
        folder = None if cache is None else AnswerFolder(Path(cache).expanduser())
        self._kept = None if folder is None and memory == 0 else Kept(memory, folder)
        self.usage = Usage()
        self._key = key  # the environment's is read when it is needed, and never pickled
        self._answered = False
        self._limits = {kind: rounds * concurrency for kind, rounds in ROUNDS.items()}
        self._in_vain: Counter[str] = Counter()  # calls in a row, by kind
        self._refused = 0  # refusals before the first answer
        self._connect()

    def _connect(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_client")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    def ask(self, conversations: Sequence[Conversation]) -> list[Answer | Failure]:
        """Return an answer or a failure for each conversation, in order.

        Where answers are kept, of equal conversations only one is sent, whichever threads ask.

        Raises:
            InputError: The endpoint refuses the key, the model, the address or the parameters, or
                the cache cannot be written.
        """
        requests = [self._request(conversation) for conversation in conversations]
        results = self._send(requests) if self._kept is None else self._recall(self._kept, requests)
        with self._lock:
            self.usage.cached += sum(isinstance(r, Answer) and r.cached for r in results)
            self.usage.failures += sum(isinstance(r, Failure) for r in results)
        return results

    def forget(self, conversation: Conversation) -> None:
        """Remove an answer that is kept, so that it is asked for again."""
        if self._kept is not None:
            self._kept.forget(self._request(conversation))

    def _request(self, conversation: Conversation) -> dict[str, Any]:
        return {
            "endpoint": self.base_url,
            "model": self.model,
            "messages": [
                {name: utf8(value) for name, value in message.items()} for message in conversation
            ],
            "parameters": self.parameters,
        }

    def _recall(self, kept: Kept, requests: Sequence[dict[str, Any]]) -> list[Answer | Failure]:
        """Send what is not kept and what no other thread is asking for."""
        keys = [content_key(request) for request in requests]
        asked = dict(zip(keys, requests))
        claim = kept.claim(asked)
        found: dict[str, Answer | Failure] = dict(claim.known)
        try:
            found |= zip(claim.mine, self._send([asked[key] for key in claim.mine]))
        except BaseException as error:
            kept.abandon(claim.mine, error)
            raise
        found |= {key: _free(future.result()) for key, future in claim.others.items()}
        results = []
        for key in keys:
            results.append(found[key])
            found[key] = _free(found[key])  # the next one with this question
        return results

    def _send(self, requests: Sequence[dict[str, Any]]) -> list[Answer | Failure]:
        """Send all, ``concurrency`` at a time."""
        stop = threading.Event()
        first: list[Answer | Failure] = []
        if requests and self._hopeless():
            for kind, most in self._limits.items():  # room for one try; an answer clears them
                self._in_vain[kind] = min(self._in_vain[kind], most - 1)
            first = [self._settled(requests[0], 0, stop)]
        with ThreadPoolExecutor(self.concurrency) as pool:
            calls = [
                pool.submit(self._settled, request, self.retries, stop)
                for request in requests[len(first) :]
            ]
            try:
                for call in wait(calls, return_when=FIRST_EXCEPTION).done:
                    call.result()  # raises what the call raised
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return first + [call.result() for call in calls]

    def _settled(
        self, request: dict[str, Any], retries: int, stop: threading.Event
    ) -> Answer | Failure:
        """Persist, and keep what came."""
        result = self._persist(request, retries, stop)
        if self._kept is not None:
            self._kept.settle(request, result)
        return result

    def _persist(
        self, request: dict[str, Any], retries: int, stop: threading.Event
    ) -> Answer | Failure:
        """Try until there is an answer, no hope, or no attempt left."""
        tried: Counter[bool] = Counter()  # in vain, by whether the endpoint was busy
        most = {True: retries, False: min(retries, SILENT_RETRIES)}
        while True:
            kind = self._hopeless()
            if kind is not None:
                return Failure(kind, f"{self._limits[kind]} calls in a row brought no answer")
            with self._lock:
                self.usage.calls += not tried
                self.usage.retries += bool(tried)
                if self._client is None:
                    self._client = self._new_client()
            try:
                answer = attempt(self._client, request)
            except LostError as lost:
                tried[lost.busy] += 1
                more = lost.passing and tried[lost.busy] <= most[lost.busy]
                if more and not stop.wait(_pause(tried.total(), lost.wait)):
                    continue
                self._note_lost(lost)
                return lost.failure
            self._note_answer(answer)
            return answer

    def _hopeless(self) -> str | None:
        """Why a call would be in vain, as far as one can tell."""
        over = (kind for kind, most in self._limits.items() if self._in_vain[kind] >= most)
        return next(over, None)

    def _new_client(self) -> Any:
        import openai

        return openai.OpenAI(
            base_url=self.base_url,
            api_key=checked_key(self._key),
            timeout=self.timeout,
            max_retries=0,  # one policy, ours
        )

    def _note_answer(self, answer: Answer) -> None:
        with self._lock:
            self._answered = True
            self._in_vain.clear()
            self.usage.add(answer)

    def _note_lost(self, lost: LostError) -> None:
        """Count a conversation without answer.

        Raises:
            InputError: It shows that the settings are wrong.
        """
        with self._lock:
            if lost.busy:  # somebody is there
                self._in_vain["Silence"] = 0
                self._in_vain["Busy"] += 1
            elif lost.passing or lost.settings:
                self._in_vain["Silence"] += 1
            else:  # somebody is there and refuses this conversation
                self._in_vain.clear()
                self._refused += not self._answered
            hopeless = lost.settings or self._refused >= 2 * self.concurrency
            if hopeless and not self._answered:
                raise endpoint_error(lost.failure, self.base_url)


def _pause(tried: int, asked: float) -> float:
    """Seconds to wait after ``tried`` attempts: what the endpoint asks, and then the usual.

    Jitter is from the clock's own seed: threads and processes should not come back together.
    """
    usual = min(BACKOFF * 2 ** min(tried - 1, 10), LONGEST_PAUSE)
    return min(asked, LONGEST_WAIT) + usual * random.uniform(0.5, 1.0)


def _free(result: Answer | Failure) -> Answer | Failure:
    """A result to somebody else's call."""
    return replace(result, cached=True) if isinstance(result, Answer) else result


def endpoint_error(failure: Failure, base_url: str) -> InputError:
    """Return what to tell a user whose endpoint gives no answers."""
    return InputError(
        f"The endpoint must answer chat completions — found {failure} at {base_url} — check the "
        "address, the model's name and OPENAI_API_KEY, and the request's parameters if it has any."
    )


def _check_limits(concurrency: int, retries: int, timeout: float, memory: int) -> None:
    if concurrency < 1 or retries < 0 or not timeout > 0 or memory < 0:
        raise InputError(
            "An endpoint is asked with a concurrency of at least 1, retries and memory of at least "
            f"0 and a timeout above 0 s — found {concurrency}, {retries}, {memory} and {timeout} — "
            "correct them."
        )
