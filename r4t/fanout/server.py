"""Token ids of prompts → completions of a vLLM server, with their log-probabilities, over HTTP."""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import NoneType
from typing import Any

from r4t.chat.request import failure_of, open_client
from r4t.errors import InputError

RETRIES = 5  # of a request that is lost on the way or fails within the server: about 15 seconds
REQUESTS = 64  # at the same time; the server batches them
PROBE = 10.0  # seconds that a server may take to say that it is up


@dataclass(frozen=True)
class Completion:
    """What a server wrote."""

    ids: list[int]  # its tokens
    log_probs: list[float]  # of each token, when it was sampled


@dataclass(frozen=True)
class CompletionRequest:
    """What a server should write; the names are vLLM's."""

    prompt: list[int]  # token ids
    seed: int  # completion i is sampled from seed + i
    n: int  # number of completions
    max_tokens: int  # of the longest completion


class Server:
    """A vLLM server, asked through its OpenAI-compatible interface; made as soon as it is up.

    Each method raises ``InputError`` if the server does not answer, or not as vLLM does.

    Args:
        url: Such as http://localhost:8000.
        timeout: Seconds without a byte after which a request counts as lost.
        start_timeout: Seconds that the server may take to come up.
    """

    def __init__(self, url: str, timeout: float, start_timeout: float = 0.0) -> None:
        self.url = url
        self._client = open_client(
            f"{url}/v1", "none", timeout=timeout, retries=RETRIES, extra="vllm"
        )

        self._wait(start_timeout)
        with self._reading("/v1/models"):
            served = self._client.models.list().data[0]
            self.name: str = served.id  # of the model
            self.folder: str = getattr(served, "root", None) or served.id  # that it was loaded from
            self.context: int = served.max_model_len  # longest prompt and completion, in tokens

    def _wait(self, seconds: float) -> None:
        import openai

        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            probe = self._client.with_options(timeout=min(PROBE, max(left, 0.1)), max_retries=0)
            try:
                probe.get(f"{self.url}/health", cast_to=NoneType)
                return
            except openai.APIError as error:
                if left <= 0:
                    raise InputError(
                        expected=f"a vLLM server at {self.url}",
                        found=f"none within {seconds:g} s: {failure_of(error)}",
                        remedy="Start it with 'vllm serve', or correct host and port.",
                    ) from error
            time.sleep(min(1.0, max(left, 0.0)))

    def tokens(self, text: str) -> list[int]:
        """Return the server's token ids of a text, none added."""
        body = {"prompt": text, "add_special_tokens": False}
        with self._reading("/tokenize"):
            answer = self._client.post(f"{self.url}/tokenize", cast_to=object, body=body)
            return list(answer["tokens"])

    def write(
        self, requests: Sequence[CompletionRequest], sampling: dict[str, Any]
    ) -> list[list[Completion]]:
        """Return the completions of requests, in order; ``sampling`` are further fields of each."""

        def one(request: CompletionRequest) -> list[Completion]:
            with self._reading("/v1/completions"):
                more = {"return_token_ids": True, **sampling}
                # logprobs 0: of the sampled token alone
                answer = create(model=self.name, logprobs=0, **vars(request), extra_body=more)
                choices = json.loads(answer.text)["choices"]
                return [_completion(row) for row in sorted(choices, key=lambda row: row["index"])]

        if not requests:
            return []
        # Raw, because the client's classes take 10 µs a token to build, one thread at a time.
        create = self._client.completions.with_raw_response.create
        with ThreadPoolExecutor(min(REQUESTS, len(requests))) as pool:
            return list(pool.map(one, requests))

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """Turn a missing or unreadable answer into an ``InputError``."""
        import openai

        try:
            yield
        except InputError:
            raise
        except (openai.APIError, AttributeError, LookupError, TypeError, ValueError) as error:
            lost = isinstance(error, openai.APIError)
            raise InputError(
                expected=f"an answer to {path} from the vLLM server at {self.url}",
                found=str(failure_of(error)) if lost else "one that cannot be read",
                remedy="Read the server's log.",
            ) from error


def _completion(choice: dict[str, Any]) -> Completion:
    if not choice["token_ids"]:
        raise InputError(
            expected="at least one token in each completion of a vLLM server",
            found=f"none (finish_reason '{choice['finish_reason']}')",
            remedy="Read the server's log.",
        )
    # JSON has no number for the log-probability of an impossible token: it arrives as null.
    log_probs = [float("nan") if p is None else p for p in choice["logprobs"]["token_logprobs"]]
    return Completion(choice["token_ids"], log_probs)
