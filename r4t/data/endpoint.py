"""Texts of a catalog → broad queries, written by a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from typing import Any

from r4t.data.kinds import KINDS
from r4t.data.phrases import WORDS
from r4t.data.queries import Query, normalized
from r4t.errors import InputError

BATCH = 40
FRUITLESS = 3

PROMPT = """You write broad search queries for the catalog that these items are taken from:
{examples}

Write {count} broad queries of {least} to {most} words that each call for a varied set of items, not
for \ one item. Spread them evenly over these kinds: {kinds} (hybrid joins two of the others). \
Answer with one JSON object a line and nothing else, like this:
{{"kind": "mood", "query": "cozy evening at home"}}"""


def ask_queries(
    texts: Sequence[str], endpoint: str, model: str, count: int, seed: int = 0
) -> tuple[list[Query], str]:
    """Ask the model until it has given ``count`` different queries.

    The key is read from OPENAI_API_KEY; a local server usually takes any.

    Args:
        texts: N item texts; thirty random ones go into each prompt.
        endpoint: Base address, such as http://localhost:8000/v1.
        model: Its name there.
        count: How many queries.
        seed: Of the examples shown.

    Returns:
        Queries, and a note of the lines that were left out.

    Raises:
        InputError: The client is not installed, the endpoint does not answer, or three answers in a
            row bring no new query.
    """
    client = _client(endpoint)
    rng = random.Random(seed)
    made: dict[str, Query] = {}
    dropped = fruitless = 0
    while len(made) < count and fruitless < FRUITLESS:
        prompt = PROMPT.format(
            examples="\n".join(f"- {t}" for t in rng.sample(list(texts), min(30, len(texts)))),
            count=min(BATCH, count - len(made)),
            least=WORDS[0],
            most=WORDS[1],
            kinds=", ".join(KINDS),
        )
        before = len(made)
        for line in _ask(client, endpoint, model, prompt).splitlines():
            if not line.strip() or line.strip().startswith("```"):
                continue
            kind, text = _parse(line)
            if not text or normalized(text) in made or len(made) == count:
                dropped += 1
            else:
                made[normalized(text)] = Query(f"q{len(made):05d}", text, kind)
        fruitless = fruitless + 1 if len(made) == before else 0
    if len(made) < count:
        raise InputError(
            f"The model must answer with JSON lines of a kind and a query of {WORDS[0]} to "
            f"{WORDS[1]} words — found nothing new in {FRUITLESS} answers of {model!r} after "
            f"{len(made)} of {count} queries — ask for fewer or use another model."
        )
    note = f"{dropped} malformed, repeated or surplus lines left out" if dropped else ""
    return list(made.values()), note


def _client(endpoint: str) -> Any:
    try:
        import openai
    except ImportError as error:
        raise InputError(
            "Asking an endpoint needs the openai client — found none installed — install the extra "
            "eval (pip install 'r4t[eval]') or leave out --endpoint."
        ) from error
    return openai.OpenAI(base_url=endpoint, api_key=os.environ.get("OPENAI_API_KEY") or "none")


def _ask(client: Any, endpoint: str, model: str, prompt: str) -> str:
    import openai

    try:
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}]
        )
    except openai.OpenAIError as error:
        raise InputError(
            f"The endpoint must answer chat completions — found {type(error).__name__} ({error}) "
            f"at {endpoint} — check the address, the model's name and OPENAI_API_KEY."
        ) from error
    return answer.choices[0].message.content or ""


def _parse(line: str) -> tuple[str, str]:
    """One line of an answer → kind and query, or two empty strings where it is neither."""
    try:
        row = json.loads(line.strip().rstrip(","))
        kind, text = row["kind"], " ".join(row["query"].split())
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
    fits = kind in KINDS and WORDS[0] <= len(text.split()) <= WORDS[1]
    return (kind, text) if fits else ("", "")
