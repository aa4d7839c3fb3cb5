"""What a model said, or why it did not; what it cost; a folder that keeps it by content."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from r4t.errors import InputError


@dataclass(frozen=True)
class Answer:
    """What the model said.

    Attributes:
        text: Empty where the model gave none (a refusal).
        model: The name that the endpoint itself gives, often with a date.
        prompt_tokens: As counted by the endpoint; None where it does not count.
        completion_tokens: Likewise.
        seconds: That the call took, without earlier attempts and waits.
        cached: Whether it needed no call: it was kept, or somebody asked the same at that time.
    """

    text: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    cached: bool = False


@dataclass(frozen=True)
class Failure:
    """Why there is no answer.

    Attributes:
        kind: A short name, the same for all failures of its kind, such as ``RateLimitError``.
        detail: The endpoint's own words, at most 300 characters.
    """

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})"


@dataclass
class Usage:
    """What has been asked and spent since the object was made.

    Attributes:
        calls: Conversations sent to the endpoint.
        retries: Further attempts at those.
        cached: Answers that needed no call.
        failures: Conversations without an answer.
        unmetered: Answers of which the endpoint did not count the tokens.
        prompt_tokens: Of the calls; answers from the cache cost nothing.
        completion_tokens: Likewise.
    """

    calls: int = 0
    retries: int = 0
    cached: int = 0
    failures: int = 0
    unmetered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, answer: Answer) -> None:
        """Count the tokens of an answer that was paid for."""
        self.unmetered += None in (answer.prompt_tokens, answer.completion_tokens)
        self.prompt_tokens += 0 if answer.prompt_tokens is None else answer.prompt_tokens
        self.completion_tokens += (
            0 if answer.completion_tokens is None else answer.completion_tokens
        )

    def cost(self, prices: tuple[float, float]) -> float:
        """Return the cost at ``prices`` per million prompt and completion tokens.

        Examples:
            >>> Usage(prompt_tokens=2_000_000, completion_tokens=500_000).cost((0.25, 2.0))
            1.5
        """
        return (self.prompt_tokens * prices[0] + self.completion_tokens * prices[1]) / 1e6


class AnswerFolder:
    """Answers on disk, ``folder/ab/ab12….json``, each written whole or not at all.

    A file is named after the SHA-256 of the request and holds request and answer, for people to
    read. Several processes may share the folder.

    Args:
        folder: Where; made when it is opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> None:
        """Make the folder, before anything is paid for that it should keep.

        Raises:
            InputError: It cannot be made or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise self._unfit(error) from error

    def path(self, request: Mapping[str, Any]) -> Path:
        """Return where the answer to ``request`` lies."""
        key = content_key(request)
        return self.folder / key[:2] / f"{key}.json"

    def read(self, request: Mapping[str, Any]) -> Answer | None:
        """Return an answer; None where there is no file, or one that holds none."""
        try:
            row = json.loads(self.path(request).read_text(encoding="utf-8"))
            answer = Answer(**row["answer"], cached=True)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return answer if isinstance(answer.text, str) else None

    def write(self, request: Mapping[str, Any], answer: Answer) -> None:
        """Write an answer beside what was asked.

        Raises:
            InputError: The folder cannot be written.
        """
        row = asdict(answer)
        del row["cached"]
        text = json.dumps({"request": request, "answer": row}, indent=1, ensure_ascii=False)
        path = self.path(request)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
                file.write(text.encode())
            os.replace(file.name, path)
        except OSError as error:
            raise self._unfit(error) from error

    def forget(self, request: Mapping[str, Any]) -> None:
        """Remove an answer, so that it is asked for again."""
        self.path(request).unlink(missing_ok=True)

    def _unfit(self, error: OSError) -> InputError:
        return InputError(
            f"Answers are kept in a folder that can be written — found {error} at {self.folder} — "
            "name another folder as cache, or none."
        )


def content_key(request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a request in hexadecimal digits.

    Examples:
        >>> content_key({"model": "tiny"})[:8]
        '39421ca3'
    """
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def utf8(text: str) -> str:
    """Return a text with "?" for what UTF-8 cannot carry: half a surrogate pair, from JSON.

    Examples:
        >>> utf8("fine" + chr(0xD83D))
        'fine?'
    """
    return text.encode("utf-8", "replace").decode()
