"""Requests to an endpoint → what it answered, from memory, from a folder, or sent and then kept."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from r4t.errors import InputError
from r4t.support.cache import Cache
from r4t.support.files import write_text
from r4t.support.fingerprints import fingerprint

Request = Mapping[str, Any]  # see ``send``


@dataclass(frozen=True)
class Answer:
    """What the model wrote."""

    text: str  # empty if the model refused to write
    model: str  # the endpoint's own name for the model, often with a date
    prompt_tokens: int | None  # None if the endpoint does not count them
    completion_tokens: int | None  # None if the endpoint does not count them
    seconds: float  # duration of the call, without earlier attempts and waits
    cached: bool = False  # whether it needed no call


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    kind: str  # a short name, the same for all failures of its kind, such as RateLimitError
    detail: str  # the endpoint's own words, at most 300 characters
    status: int | None = None  # of HTTP, 402 for an empty account; None if no status came back

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})"


@dataclass
class Usage:
    """What a ``Chat`` has sent and spent so far; cached answers cost nothing."""

    calls: int = 0  # conversations sent to the endpoint
    retries: int = 0  # further attempts at those
    cached: int = 0  # answers that needed no call
    failures: int = 0  # conversations without an answer
    unmetered: int = 0  # answers whose tokens the endpoint did not count
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, answer: Answer) -> None:
        """Count the tokens of an answer that was paid for."""
        self.unmetered += None in (answer.prompt_tokens, answer.completion_tokens)
        self.prompt_tokens += answer.prompt_tokens or 0
        self.completion_tokens += answer.completion_tokens or 0

    def cost(self, prices: tuple[float, float]) -> float:
        """Return the cost at ``prices`` per million prompt and completion tokens.

        Examples:
            >>> Usage(prompt_tokens=2_000_000, completion_tokens=500_000).cost((0.25, 2.0))
            1.5
        """
        return (self.prompt_tokens * prices[0] + self.completion_tokens * prices[1]) / 1e6


Results = list[Answer | Failure]


class AnswerCache:
    """Answers by the content of their requests.

    Args:
        memory: Answers kept in memory, at least 1.
        folder: Holds all answers, if not None, and several processes may share it. A readable file
            ``folder/ab/ab12….json``, named after the SHA-256 of the request, has request and answer.
    """

    def __init__(self, memory: int, folder: Path | None = None) -> None:
        self._memory = Cache[str, Answer | Failure](memory)
        self._folder = folder

    def get(self, requests: Sequence[Request], send: Callable[[list[Request]], Results]) -> Results:
        """Return the result of each request; only answers are kept, and equal requests share one.

        Args:
            requests: Any number.
            send: Returns the results of requests that have no answer yet, and passes each answer to
                ``write`` as soon as it arrives.

        Raises:
            InputError: If the folder cannot be written; nothing has been sent by then.
        """
        if self._folder is not None:
            with self._writing():
                self._folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self._folder):
                    pass
        keys = [fingerprint(request) for request in requests]
        by_key = dict(zip(keys, requests))
        sent: set[str] = set()

        def make(missing: list[str]) -> Results:
            results: dict[str, Any] = {key: self._read(key) for key in missing}
            unknown = [key for key in missing if results[key] is None]
            sent.update(unknown)
            results.update(zip(unknown, send([by_key[key] for key in unknown])))
            return list(results.values())

        results = self._memory.get(keys, make)
        for place, (key, result) in enumerate(zip(keys, results)):
            if isinstance(result, Failure):
                self._memory.forget(key)
            elif key in sent:
                sent.remove(key)  # paid for once
            else:
                results[place] = replace(result, cached=True)
        return results

    def write(self, request: Request, answer: Answer) -> None:
        """Write an answer into the folder, if there is one."""
        if path := self._path(fingerprint(request)):
            row = {"request": request, "answer": asdict(answer)}
            with self._writing():
                write_text(path, json.dumps(row, indent=1, ensure_ascii=False))

    def forget(self, request: Request) -> None:
        """Remove an answer, so that the next equal request is sent again."""
        key = fingerprint(request)
        self._memory.forget(key)
        if path := self._path(key):
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path | None:
        return None if self._folder is None else self._folder / key[:2] / f"{key}.json"

    def _read(self, key: str) -> Answer | None:
        try:
            path = self._path(key)
            row = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
            answer = Answer(**row["answer"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return answer if isinstance(answer.text, str) else None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                expected="a cache folder that can be written",
                found=f"{error} at {self._folder}",
                remedy="Name another folder as cache, or none.",
            ) from error
