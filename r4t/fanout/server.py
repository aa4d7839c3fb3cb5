"""Token ids of prompts → completions of a vLLM server, with their log-probabilities, over HTTP."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import NoneType
from typing import Any

from r4t.chat.request import failure_of, open_client
from r4t.errors import InputError

RETRIES = 5  # of a request that is lost or fails within the server: about 15 seconds
REQUESTS = 64  # at the same time; the server batches them
PROBE = 10.0  # seconds after which a health check counts as failed


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


@dataclass(frozen=True)
class ServedModel:
    """What a server says about its model."""

    name: str  # in requests
    folder: str  # from which it was loaded
    context: int  # longest prompt and completion together, in tokens


class Server:
    """The OpenAI-compatible interface of a vLLM server at ``url``.

    Each method raises ``InputError`` if the server does not answer, or not as vLLM does; a request
    counts as lost after ``timeout`` seconds without a byte.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self._client = open_client(
            f"{url}/v1", "none", timeout=timeout, retries=RETRIES, extra="vllm"
        )

    def wait(self, seconds: float) -> None:
        """Return once the server is up; raise ``InputError`` after so many seconds."""
        import openai

        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            probe = self._client.with_options(timeout=min(PROBE, max(left, 0.1)), max_retries=0)
            try:
                return probe.get(f"{self.url}/health", cast_to=NoneType)
            except openai.APIError as error:
                if left <= 0:
                    raise InputError(
                        expected=f"a vLLM server at {self.url}",
                        found=f"none within {seconds:g} s: {failure_of(error)}",
                        remedy="Start it with 'vllm serve', or correct host and port.",
                    ) from error
            time.sleep(min(1.0, left))

    def served(self) -> ServedModel:
        """Return which model is served."""
        with self._reading("/v1/models"):
            row = self._client.models.list().data[0]
            return ServedModel(row.id, getattr(row, "root", None) or row.id, row.max_model_len)

    def tokens(self, text: str) -> list[int]:
        """Return the server's token ids of a text, without special tokens."""
        body = {"prompt": text, "add_special_tokens": False}
        with self._reading("/tokenize"):
            answer = self._client.post(f"{self.url}/tokenize", cast_to=object, body=body)
            return list(answer["tokens"])

    def write(
        self, model: str, requests: Sequence[CompletionRequest], sampling: dict[str, Any]
    ) -> list[list[Completion]]:
        """Return the completions of each request; ``sampling`` are further fields of all requests."""

        def one(request: CompletionRequest) -> list[Completion]:
            with self._reading("/v1/completions"):
                more = {"return_token_ids": True, **sampling}
                # logprobs 0: of the sampled token alone
                answer = create(model=model, logprobs=0, **vars(request), extra_body=more)
                choices = sorted(answer.choices, key=lambda choice: choice.index)
                return [_completion(choice) for choice in choices]

        create = self._client.completions.create
        with ThreadPoolExecutor(REQUESTS) as pool:
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


def _completion(choice: Any) -> Completion:
    if not choice.token_ids:
        raise InputError(
            expected="at least one token in each completion of a vLLM server",
            found=f"none (finish_reason '{choice.finish_reason}')",
            remedy="Read the server's log.",
        )
    # JSON has no number for the log-probability of an impossible token: it arrives as null.
    log_probs = [float("nan") if p is None else p for p in choice.logprobs.token_logprobs]
    return Completion(choice.token_ids, log_probs)
