"""Requests → their answers: from memory, from a folder, or sent and then kept in both."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from r4t.chat.answer import Answer, Failure
from r4t.chat.request import Request
from r4t.errors import InputError
from r4t.support.cache import Cache
from r4t.support.files import write_text
from r4t.support.fingerprints import fingerprint

Results = list[Answer | Failure]


class AnswerCache:
    """Answers by the content of their requests.

    On disk an answer is ``folder/ab/ab12….json``, named after the SHA-256 of its request. It holds
    request and answer, for people to read. Several processes may share the folder.

    Args:
        memory: Answers kept in memory, at least 1.
        folder: Holds all answers; if None, they are kept in memory only.
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
        """Return an answer from the folder; None if no file holds one."""
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
