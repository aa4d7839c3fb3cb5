"""Conversations → answers of a chat model behind any OpenAI-compatible endpoint."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cached_property
from pathlib import Path
from typing import Any

from r4t.chat.answers import Answer, AnswerCache, Failure, Request, Results, Usage
from r4t.chat.request import checked_key, checked_url, open_client, send, utf8
from r4t.errors import InputError, check_least
from r4t.support.packages import check_installed

__all__ = ["Answer", "Chat", "Conversation", "Failure", "Usage", "endpoint_error"]

Conversation = Sequence[Mapping[str, str]]  # messages with a "role" and a "content"

ROUNDS = 2  # of calls without an answer; then the rest of a batch is not sent
FIRST_RETRIES = 4  # at most, until the endpoint has answered once: a wrong address shows soon
SETTINGS = frozenset({401, 402, 403, 404, 405})  # wrong key, account, model or address
TEMPORARY = frozenset({408, 409, 425, 429})  # another call may succeed, as after any 5xx
_COUNTING = threading.Lock()


class Chat:
    """Sends many conversations at once, and none of them twice if answers are kept.

    The openai client retries temporary failures (timeouts, lost connections, 429, 5xx). A
    conversation that stays unanswered has a ``Failure`` in the place of its answer; ``usage`` counts
    both. Two rounds of calls in a row without answer or refusal end a batch: its rest fails as
    ``Silence`` without being sent, and each further batch begins with a single try.

    Args:
        model: Its name at the endpoint.
        base_url: Such as http://localhost:8000/v1; OPENAI_BASE_URL, or else OpenAI, by default.
        key: OPENAI_API_KEY by default; a local server usually accepts any.
        parameters: Further fields of each request (``temperature``, ``max_tokens``).
        concurrency: Calls that may run at the same time.
        retries: Attempts after the first; 8 take about half a minute, or as long as the endpoint
            asks for in ``Retry-After``. At most four until the endpoint has answered once.
        timeout: Seconds without a byte after which an attempt counts as lost.
        cache: Folder of answers by endpoint, model, messages and parameters (``AnswerCache``).
        memory: Answers kept in this object. Without ``cache`` and ``memory`` every call is sent.

    Raises:
        InputError: If an argument is out of range, or the openai package is not installed.
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
        limits = {"concurrency": (concurrency, 1), "retries": (retries, 0), "memory": (memory, 0)}
        check_least(limits)
        if not timeout > 0:
            raise InputError(expected="a timeout above 0 s", found=f"{timeout}", remedy="Raise it.")
        check_installed("openai", extra="eval")
        checked_key(key)
        self.model = model
        self.base_url = checked_url(base_url)
        self.parameters = dict(parameters or {})
        self.concurrency, self.retries, self.timeout = concurrency, retries, timeout
        folder = None if cache is None else Path(cache).expanduser()
        self._cache = AnswerCache(max(memory, 1), folder) if folder or memory else None
        self.usage = Usage()
        self._key = key  # the environment's key is read when it is needed, and never pickled
        self._answered, self._refused = False, 0
        self._unanswered = 0  # calls in a row without answer or refusal
        self._limit = ROUNDS * concurrency  # of refused and of unanswered calls

    @cached_property
    def _client(self) -> Any:
        key, timeout = checked_key(self._key), self.timeout
        return open_client(self.base_url, key, timeout=timeout, retries=self.retries, extra="eval")

    def __getstate__(self) -> dict[str, Any]:
        """Leave the client, which holds connections, out of copies."""
        return {name: value for name, value in vars(self).items() if name != "_client"}

    def ask(self, conversations: Sequence[Conversation]) -> list[Answer | Failure]:
        """Return an answer or a failure for each conversation, in order.

        Raises:
            InputError: If the endpoint has not answered yet and refuses the key, the model or the
                address, or two rounds of calls for any reason; or the cache cannot be written.
        """
        requests = [self._request(conversation) for conversation in conversations]
        cache = self._cache
        results = self._send(requests) if cache is None else cache.get(requests, self._send)
        self.usage.cached += sum(isinstance(r, Answer) and r.cached for r in results)
        self.usage.failures += sum(isinstance(r, Failure) for r in results)
        return results

    def forget(self, conversation: Conversation) -> None:
        """Remove the answer to a conversation from the cache, so that it is sent again."""
        if self._cache is not None:
            self._cache.forget(self._request(conversation))

    def _request(self, conversation: Conversation) -> Request:
        messages = [{name: utf8(text) for name, text in row.items()} for row in conversation]
        target = {"endpoint": self.base_url, "model": self.model}
        return {**target, "messages": messages, "parameters": self.parameters}

    def _send(self, requests: Sequence[Request]) -> Results:
        first: Results = []
        if requests and self._unanswered >= self._limit:
            self._unanswered = self._limit - 1  # room for one try; an answer clears the count
            first = [self._call(requests[0], retries=0)]
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            rest = requests[len(first) :]
            calls = [pool.submit(self._call, request, self.retries) for request in rest]
            for call in wait(calls, return_when=FIRST_EXCEPTION).done:
                call.result()  # raises what the call raised
            return first + [call.result() for call in calls]
        finally:
            pool.shutdown(cancel_futures=True)

    def _call(self, request: Request, retries: int) -> Answer | Failure:
        if self._unanswered >= self._limit:
            return Failure("Silence", f"{self._unanswered} calls in a row brought no answer")
        retries = retries if self._answered else min(retries, FIRST_RETRIES)
        result, retried = send(self._client, request, retries)
        with _COUNTING:
            self.usage.calls += 1
            self.usage.retries += retried
            self._count(result)
        if self._cache is not None and isinstance(result, Answer):
            self._cache.write(request, result)
        return result

    def _count(self, result: Answer | Failure) -> None:
        """Count a result; raise ``InputError`` if it shows that the settings are wrong."""
        if isinstance(result, Answer):
            self._answered = True
            self._unanswered = 0
            self.usage.add(result)
            return
        status = 500 if result.status is None else result.status
        refused = status < 500 and status not in SETTINGS | TEMPORARY
        self._refused += refused
        self._unanswered = 0 if refused else self._unanswered + 1
        if not self._answered and (status in SETTINGS or self._refused >= self._limit):
            raise endpoint_error(result, self.base_url)


def endpoint_error(failure: Failure, base_url: str) -> InputError:
    """Return the error for a user whose endpoint gives no answers."""
    return InputError(
        expected="an endpoint that answers chat completions",
        found=f"{failure} at {base_url}",
        remedy="Check the address, the model's name and OPENAI_API_KEY, and the request's parameters "
        "if it has any.",
    )
