"""One request to an endpoint → an answer, or what its absence means."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from r4t.chat.answer import Answer, Failure, utf8
from r4t.errors import InputError

BUSY = frozenset({429, 529})  # somebody is there, and asks for patience
PASSING = frozenset({408, 409, 425}) | BUSY  # and all of 5xx: another try may do
SETTINGS = frozenset({401, 402, 403, 404, 405})  # wrong key, account, model or address
OPENAI = "https://api.openai.com/v1"


class LostError(Exception):
    """An attempt that brought no answer.

    Attributes:
        failure: Why.
        passing: Whether another try may do.
        settings: Whether every other request would be refused for the same reason.
        busy: Whether the endpoint is there and puts the request off (429).
        wait: Seconds that the endpoint asks to wait.
    """

    def __init__(
        self,
        failure: Failure,
        *,
        passing: bool,
        settings: bool = False,
        busy: bool = False,
        wait: float = 0.0,
    ) -> None:
        super().__init__(failure)
        self.failure = failure
        self.passing = passing
        self.settings = settings
        self.busy = busy
        self.wait = wait


def attempt(client: Any, request: Mapping[str, Any]) -> Answer:
    """Send one request, once.

    Args:
        client: Of the openai package.
        request: ``model``, ``messages`` and ``parameters``, further fields of the request.

    Raises:
        LostError: There is no answer.
    """
    import openai

    begin = time.perf_counter()
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=request["model"],
            messages=request["messages"],
            extra_body=request["parameters"],
        )
    except openai.APIStatusError as error:
        raise _refusal(error) from error
    except openai.OpenAIError as error:
        cause = "" if error.__cause__ is None else f" {error.__cause__}"
        failure = _failure(type(error).__name__, f"{error}{cause}")
        raise LostError(failure, passing=True) from error
    return _read(raw.text, round(time.perf_counter() - begin, 3))


def _refusal(error: Any) -> LostError:
    """What a status of 4xx or 5xx means."""
    failure = _failure(type(error).__name__, str(error))
    if error.status_code in SETTINGS or error.code == "insufficient_quota":
        return LostError(failure, passing=False, settings=True)
    try:
        wait = float(error.response.headers.get("retry-after", 0))
    except ValueError:  # a date; the usual pause will do
        wait = 0.0
    busy = error.status_code in BUSY
    passing = error.status_code in PASSING or error.status_code >= 500
    return LostError(failure, passing=passing, busy=busy, wait=wait if wait > 0 else 0.0)


def _read(body: str, seconds: float) -> Answer:
    """Read the body of a 200; one that is no completion may be a proxy's, so another try may do."""
    try:
        row = json.loads(body)
        content = row["choices"][0]["message"].get("content")
        usage = row.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise LostError(_failure("NoCompletion", body or "empty"), passing=True) from error
    prompt, completion = (count if isinstance(count, int) else None for count in counts)
    text = utf8(content) if isinstance(content, str) else ""
    return Answer(text, str(row.get("model", "")), prompt, completion, seconds)


def _failure(kind: str, detail: str) -> Failure:
    return Failure(kind, " ".join(detail.split())[:300])


def checked_url(url: str | None) -> str:
    """Return an endpoint's address: ``url``, or OPENAI_BASE_URL, or OpenAI's.

    Raises:
        InputError: It is no http address, or holds what should stay secret: addresses are written
            into caches, configs and messages.

    Examples:
        >>> checked_url("http://localhost:8000/v1/")
        'http://localhost:8000/v1'
    """
    url = url or os.environ.get("OPENAI_BASE_URL") or OPENAI
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if "@" in (parts.netloc if good else url) or (good and parts.query):
        raise InputError(
            "An endpoint's address holds no user, password or query — found one in it — leave it "
            "out and give the key in OPENAI_API_KEY."
        )
    if not good:
        raise InputError(
            "An endpoint's address begins with http:// or https:// and names a host — found "
            f"{url!r} — write it as in http://localhost:8000/v1."
        )
    return url.rstrip("/")


def checked_key(key: str | None) -> str:
    """Return the endpoint's key: ``key``, or OPENAI_API_KEY, or "none".

    Raises:
        InputError: No HTTP header can carry it.
    """
    key = (key or os.environ.get("OPENAI_API_KEY") or "none").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            "An endpoint's key is plain ASCII text — found other characters in it — copy it into "
            "OPENAI_API_KEY again."
        )
    return key
