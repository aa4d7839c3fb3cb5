"""One request to an OpenAI-compatible endpoint → an answer, or why there is none."""

import json
import os
import time
from typing import Any
from urllib.parse import urlsplit

from r4t.chat.answers import Answer, Failure, Request
from r4t.errors import InputError
from r4t.support.packages import check_installed

OPENAI = "https://api.openai.com/v1"
UNREADABLE = 2  # most repetitions of a request whose answer could not be read
PAUSE = 0.5  # seconds before the first of them, twice as long before the second


def open_client(url: str, key: str, *, timeout: float, retries: int, extra: str) -> Any:
    """Return an ``openai.OpenAI`` client of the endpoint at ``url``, an address with ``/v1``.

    It retries timeouts, lost connections, 429 and 5xx ``retries`` times, with exponential back-off or
    as ``Retry-After`` asks. ``extra`` installs the openai package.
    """
    check_installed("openai", extra=extra)
    import openai

    return openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)


def send(client: Any, request: Request, retries: int) -> tuple[Answer | Failure, int]:
    """Return the answer to a request, or why there is none, and the number of retries.

    A request has a ``model``, ``messages`` and ``parameters``, its further fields. The client accepts
    any body with a good status. A body that is no completion may be a proxy's, so ``send`` repeats
    that request.
    """
    import openai

    create = client.with_options(max_retries=retries).chat.completions.with_raw_response.create
    retried, fields = 0, {name: request[name] for name in ("model", "messages")}
    for repetition in range(1 + min(retries, UNREADABLE)):
        time.sleep(PAUSE * repetition)
        retried += repetition > 0
        try:
            raw = create(**fields, extra_body=request["parameters"])
        except openai.APIError as error:
            count = error.request.headers.get("x-stainless-retry-count", "0")
            return failure_of(error), retried + int(count)
        retried += raw.retries_taken
        result = _read_completion(raw.text, round(raw.elapsed.total_seconds(), 3))
        if isinstance(result, Answer):
            break
    return result, retried


def failure_of(error: Any) -> Failure:
    """Return why a call failed, from an exception of the client."""
    cause = "" if error.__cause__ is None else f" {error.__cause__}"
    status = getattr(error, "status_code", None)
    if getattr(error, "code", None) == "insufficient_quota":
        status = 402  # sent as 429, but an empty account does not fill by waiting
    return Failure(type(error).__name__, _shortened(f"{error}{cause}"), status)


def _read_completion(body: str, seconds: float) -> Answer | Failure:
    try:
        row = json.loads(body)
        content = row["choices"][0]["message"].get("content")
        usage = row.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Failure("NoCompletion", _shortened(body or "empty"))
    prompt, completion = (count if isinstance(count, int) else None for count in counts)
    text = utf8(content) if isinstance(content, str) else ""
    return Answer(text, str(row.get("model", "")), prompt, completion, seconds)


def _shortened(text: str) -> str:
    return " ".join(text.split())[:300]


def utf8(text: str) -> str:
    """Return a text with "?" for what UTF-8 cannot encode: half a surrogate pair, from JSON."""
    return text.encode("utf-8", "replace").decode()


def checked_url(url: str | None) -> str:
    """Return an endpoint's address: ``url``, or else OPENAI_BASE_URL, or else OpenAI's.

    Raises:
        InputError: If it is not an http address, or holds a secret: addresses are written into
            caches, configs and messages.

    Examples:
        >>> checked_url("http://localhost:8000/v1/")
        'http://localhost:8000/v1'
    """
    url = url or os.environ.get("OPENAI_BASE_URL") or OPENAI
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        secret = "@" in (parts.netloc if valid else url) or (valid and bool(parts.query))
    except ValueError:
        valid, secret = False, "@" in url
    if secret or not valid:
        raise InputError(
            expected="an endpoint's address such as http://localhost:8000/v1, without user, password "
            "or query",
            found="one of these" if secret else repr(url),
            remedy="Correct the address and give the key in OPENAI_API_KEY.",
        )
    return url.rstrip("/")


def checked_key(key: str | None) -> str:
    """Return an endpoint's key, which a header must carry: ``key``, or OPENAI_API_KEY, or "none"."""
    key = (key or os.environ.get("OPENAI_API_KEY") or "none").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            expected="an endpoint's key in plain ASCII text",
            found="other characters in it",
            remedy="Copy it into OPENAI_API_KEY again.",
        )
    return key
