"""Requests → answers that are known, that somebody is asking for, or that are still to be had."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from r4t.chat.answer import Answer, AnswerFolder, Failure, content_key


@dataclass
class Claim:
    """What becomes of the questions that someone has.

    Attributes:
        known: Answers by key.
        mine: Keys that the claimant now asks for, and settles or abandons.
        others: Results by key that another thread is asking for.
    """

    known: dict[str, Answer] = field(default_factory=dict)
    mine: list[str] = field(default_factory=list)
    others: dict[str, Future[Answer | Failure]] = field(default_factory=dict)


class Kept:
    """Answers by content in memory and, where there is one, in a folder.

    Threads that have the same question at the same time share one call. Copies begin with an empty
    memory.

    Args:
        most: Answers in memory; beyond, the least recently used go.
        folder: Of answers on disk.
    """

    def __init__(self, most: int, folder: AnswerFolder | None = None) -> None:
        self._most = most
        self._folder = folder
        self._begin()

    def _begin(self) -> None:
        self._memory: OrderedDict[str, Answer] = OrderedDict()
        self._asked: dict[str, Future[Answer | Failure]] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_most": self._most, "_folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def claim(self, requests: Mapping[str, Mapping[str, Any]]) -> Claim:
        """Sort requests, given by key, into known, mine and others'.

        Raises:
            InputError: The folder cannot be made or written: told before anything is paid for.
        """
        if self._folder is not None:
            self._folder.open()
        claim = Claim()
        with self._lock:
            for key, request in requests.items():
                answer = self._read(key, request)
                if answer is not None:
                    claim.known[key] = answer
                elif key in self._asked:
                    claim.others[key] = self._asked[key]
                else:
                    self._asked[key] = Future()
                    claim.mine.append(key)
        return claim

    def settle(self, request: Mapping[str, Any], result: Answer | Failure) -> None:
        """Keep an answer, and hand what came to those who wait for it.

        Raises:
            InputError: The folder cannot be written.
        """
        key = content_key(request)
        if self._folder is not None and isinstance(result, Answer):
            self._folder.write(request, result)
        with self._lock:
            if isinstance(result, Answer):
                self._remember(key, result)
            future = self._asked.pop(key, None)  # None: abandoned while the call ran
        if future is not None:
            future.set_result(result)

    def abandon(self, keys: Iterable[str], error: BaseException) -> None:
        """Raise ``error`` for those who wait for what of ``keys`` is not settled."""
        with self._lock:
            futures = [self._asked.pop(key) for key in keys if key in self._asked]
        for future in futures:
            future.set_exception(error)

    def forget(self, request: Mapping[str, Any]) -> None:
        """Remove an answer, so that it is asked for again."""
        with self._lock:
            self._memory.pop(content_key(request), None)
        if self._folder is not None:
            self._folder.forget(request)

    def _read(self, key: str, request: Mapping[str, Any]) -> Answer | None:
        answer = self._memory.get(key)
        if answer is None and self._folder is not None:
            answer = self._folder.read(request)
        if answer is not None:
            self._remember(key, answer)
        return answer

    def _remember(self, key: str, answer: Answer) -> None:
        self._memory[key] = replace(answer, cached=True)
        self._memory.move_to_end(key)
        if len(self._memory) > self._most:
            self._memory.popitem(last=False)
