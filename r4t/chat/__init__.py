"""Conversations → answers of a chat model behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import importlib.util
import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from r4t.chat.answer import Answer, AnswerFolder, Failure, Usage, utf8
from r4t.chat.attempt import LostError, attempt, checked_key, checked_url
from r4t.errors import InputError

__all__ = ["Answer", "Chat", "Conversation", "Failure", "Usage", "endpoint_error"]

Conversation = Sequence[Mapping[str, str]]  # messages with a "role" and a "content"

BACKOFF = 0.5  # seconds before the first retry; each further one waits twice as long
LONGEST_WAIT = 60.0  # seconds, whatever the endpoint asks for


class Chat:
    """Asks a model many things at once, patiently and, with a cache, nothing twice.

    Timeouts, lost connections, 429, 5xx and bodies that are no completion are retried with
    exponential back-off and jitter, at least as late as a ``Retry-After`` asks for; other refusals
    are not. What stays unanswered is a ``Failure`` in the place of its answer.

    Two things are not left to be discovered failure by failure. Wrong settings are told at once: a
    key, model or address that is refused before any answer came, or as many refusals of whatever
    kind as two rounds of calls before the first answer. And after as many silent calls in a row
    the endpoint counts as dead: the rest fails without being sent, and each further batch tries
    one call, once, before it sends the others.

    Args:
        model: Its name at the endpoint.
        base_url: Such as http://localhost:8000/v1; OPENAI_BASE_URL, or else OpenAI, by default.
        key: OPENAI_API_KEY by default; a local server usually takes any.
        parameters: Further fields of each request (``temperature``, ``max_tokens``).
        concurrency: Calls that may run at the same time.
        retries: Attempts after the first.
        timeout: Seconds without a byte after which a call counts as lost.
        cache: Folder of answers by endpoint, model, messages and parameters (``AnswerFolder``);
            None asks anew each time.

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
        retries: int = 4,
        timeout: float = 60.0,
        cache: str | Path | None = None,
    ) -> None:
        _check_limits(concurrency, retries, timeout)
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
        self.cache = None if cache is None else AnswerFolder(Path(cache).expanduser())
        self.usage = Usage()
        self._key = key  # the environment's is read when it is needed, and never pickled
        self._limit = 2 * concurrency
        self._answered = False
        self._silent = 0  # calls in a row to which nobody was there
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

        With a cache, of equal conversations only one is sent.

        Raises:
            InputError: The endpoint refuses the key, the model, the address or the parameters, or
                the cache cannot be written.
        """
        requests = [self._request(conversation) for conversation in conversations]
        if self.cache is None:
            results = self._send(requests)
        else:
            self.cache.open()
            keys = [self.cache.path(request) for request in requests]
            asked = dict(zip(keys, requests))
            hits = {key: self.cache.read(request) for key, request in asked.items()}
            new = [key for key, hit in hits.items() if hit is None]
            found: dict[Path, Answer | Failure] = {key: hit for key, hit in hits.items() if hit}
            found |= zip(new, self._send([asked[key] for key in new]))
            results = []
            for key in keys:
                result = found[key]
                results.append(result)
                if isinstance(result, Answer):
                    found[key] = replace(result, cached=True)
        self.usage.cached += sum(isinstance(r, Answer) and r.cached for r in results)
        self.usage.failures += sum(isinstance(r, Failure) for r in results)
        return results

    def forget(self, conversation: Conversation) -> None:
        """Remove an answer from the cache, so that it is asked for again."""
        if self.cache is not None:
            self.cache.forget(self._request(conversation))

    def _request(self, conversation: Conversation) -> dict[str, Any]:
        return {
            "endpoint": self.base_url,
            "model": self.model,
            "messages": [
                {name: utf8(value) for name, value in message.items()} for message in conversation
            ],
            "parameters": self.parameters,
        }

    def _send(self, requests: Sequence[dict[str, Any]]) -> list[Answer | Failure]:
        """Send all, ``concurrency`` at a time."""
        stop = threading.Event()
        first: list[Answer | Failure] = []
        if requests and self._silent >= self._limit:
            self._silent = self._limit - 1  # room for one try; an answer sets it to 0
            first = [self._persist(requests[0], 1, stop)]
        with ThreadPoolExecutor(self.concurrency) as pool:
            calls = [
                pool.submit(self._persist, request, self.retries + 1, stop)
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

    def _persist(
        self, request: dict[str, Any], attempts: int, stop: threading.Event
    ) -> Answer | Failure:
        """Try until there is an answer, no hope, or no attempt left."""
        tried = 0
        while True:
            if self._silent >= self._limit:
                return Failure("Silence", f"{self._limit} calls in a row brought no answer")
            with self._lock:
                self.usage.calls += tried == 0
                self.usage.retries += tried > 0
                if self._client is None:
                    self._client = self._new_client()
            tried += 1
            try:
                answer = attempt(self._client, request)
            except LostError as lost:
                if lost.passing and tried < attempts:
                    # Jitter from the clock's own seed: processes should not wake together.
                    pause = BACKOFF * 2 ** (tried - 1) * random.uniform(0.5, 1.0)
                    if not stop.wait(min(max(pause, lost.wait), LONGEST_WAIT)):
                        continue
                self._note_lost(lost)
                return lost.failure
            self._note_answer(answer)
            if self.cache is not None:
                self.cache.write(request, answer)
            return answer

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
            self._answered, self._silent = True, 0
            self.usage.add(answer)

    def _note_lost(self, lost: LostError) -> None:
        """Count a conversation without answer.

        Raises:
            InputError: It shows that the settings are wrong.
        """
        with self._lock:
            if lost.passing or lost.settings:
                self._silent += 1
            else:  # somebody is there and refuses this conversation
                self._silent = 0
                self._refused += not self._answered
            hopeless = lost.settings or self._refused >= self._limit
            if hopeless and not self._answered:
                raise endpoint_error(lost.failure, self.base_url)


def endpoint_error(failure: Failure, base_url: str) -> InputError:
    """Return what to tell a user whose endpoint gives no answers."""
    return InputError(
        f"The endpoint must answer chat completions — found {failure} at {base_url} — check the "
        "address, the model's name and OPENAI_API_KEY, and the request's parameters if it has any."
    )


def _check_limits(concurrency: int, retries: int, timeout: float) -> None:
    if concurrency < 1 or retries < 0 or not timeout > 0:
        raise InputError(
            "An endpoint is asked with a concurrency of at least 1, retries of at least 0 and a "
            f"timeout above 0 s — found {concurrency}, {retries} and {timeout} — correct them."
        )
