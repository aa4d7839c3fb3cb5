"""Token ids of prompts → completions of a vLLM server, with their log-probabilities, over HTTP."""

import json
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from r4t.errors import InputError

TRIES = 4  # of a request that is lost on the way or fails within the server
PAUSE = 2.0  # seconds before the second try, twice as long before each further one
REQUESTS = 64  # at the same time; the server batches them
PROBE = 10.0  # seconds that a server may take to say that it is up


@dataclass(frozen=True)
class Written:
    """A completion.

    Attributes:
        ids: Its tokens.
        log_probs: Of each token, when it was sampled.
    """

    ids: list[int]
    log_probs: list[float]


@dataclass(frozen=True)
class Request:
    """What a server is asked to write.

    Attributes:
        prompt: Token ids.
        seed: Completion i is sampled from seed + i.
        number: How many completions.
        max_tokens: Longest completion.
    """

    prompt: list[int]
    seed: int
    number: int
    max_tokens: int


@dataclass(frozen=True)
class Served:
    """What a server says of its model.

    Attributes:
        names: What it may be called: as it is served, and where it was loaded from.
        context: Longest prompt and completion together, in tokens.
    """

    names: tuple[str, ...]
    context: int


class Server:
    """A vLLM server, asked through its OpenAI-compatible interface.

    Args:
        url: Such as http://localhost:8000.
        timeout: Seconds without an answer after which a request counts as lost.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self.timeout = timeout

    def wait(self, seconds: float) -> None:
        """Return once the server is up.

        Raises:
            InputError: It is not within so many seconds.
        """
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            try:
                self._once("/health", None, min(PROBE, max(left, 0.1)))
                return
            except (OSError, HTTPException) as error:
                if left <= 0:
                    raise InputError(
                        f"A vLLM server must answer at {self.url}, found none within {seconds:g} s "
                        f"({error}); start it with 'vllm serve', or correct host and port."
                    ) from error
            time.sleep(min(1.0, max(left, 0.0)))

    def served(self) -> Served:
        """Ask which model is served."""
        [row, *_] = self._ask("/v1/models", "data")
        return Served((row["id"], row.get("root") or row["id"]), row["max_model_len"])

    def tokens(self, text: str) -> list[int]:
        """Return the server's token ids of a text, none added."""
        asked = {"prompt": text, "add_special_tokens": False}
        found: list[int] = self._ask("/tokenize", "tokens", asked)
        return found

    def write(self, requests: Sequence[Request], sampling: dict[str, Any]) -> list[list[Written]]:
        """Return the completions of each request.

        Args:
            requests: Sent at the same time.
            sampling: Further fields of each.

        Raises:
            InputError: The server refuses a request, or does not answer it in several tries.
        """

        def one(request: Request) -> list[Written]:
            body = {
                "prompt": request.prompt,
                "seed": request.seed,
                "n": request.number,
                "max_tokens": request.max_tokens,
                "logprobs": 0,  # the sampled token's alone
                "return_token_ids": True,
                **sampling,
            }
            choices = self._ask("/v1/completions", "choices", body)
            choices.sort(key=lambda choice: choice["index"])
            return [_written(choice) for choice in choices]

        if not requests:
            return []
        with ThreadPoolExecutor(min(REQUESTS, len(requests))) as pool:
            return list(pool.map(one, requests))

    def _ask(self, path: str, part: str, body: dict[str, Any] | None = None) -> Any:
        """Return a part of an answer; a lost request is sent again, its answer is in its seed."""
        tried = 0
        while True:
            tried += 1
            try:
                return json.loads(self._once(path, body, self.timeout))[part]
            except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
                # HTTPError is an OSError too; below 500 the server says what is wrong with us.
                status = error.code if isinstance(error, HTTPError) else None
                lost = isinstance(error, (OSError, HTTPException)) and (status or 500) >= 500
                if not lost or tried == TRIES:
                    raise InputError(
                        f"A vLLM server must answer {path} with {part}, found {_said(error)} at "
                        f"{self.url} (try {tried} of {TRIES}); look into the server's log."
                    ) from error
            time.sleep(PAUSE * 2 ** (tried - 1))

    def _once(self, path: str, body: dict[str, Any] | None, timeout: float) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            found: bytes = answer.read()
        return found


def _written(choice: dict[str, Any]) -> Written:
    if not choice["token_ids"]:
        raise InputError(
            "A vLLM server must write at least one token a completion, found none "
            f"(finish_reason '{choice.get('finish_reason')}'); look into the server's log."
        )
    # A token without any probability left, which JSON has no number for, is told as null.
    told = choice["logprobs"]["token_logprobs"]
    return Written(choice["token_ids"], [float("nan") if p is None else p for p in told])


def _said(error: Exception) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, HTTPError):
        text = " ".join(error.read().decode(errors="replace").split())
        return f"status {error.code} {text[:300]}".rstrip()
    if isinstance(error, (OSError, HTTPException)):
        return str(getattr(error, "reason", error)) or type(error).__name__
    return "something else"
