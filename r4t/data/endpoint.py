"""Texts of a catalog → broad queries, written by a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from r4t.chat import Chat, Failure, endpoint_error
from r4t.data.kinds import KINDS
from r4t.data.phrases import WORDS
from r4t.data.queries import Query, normalized
from r4t.errors import InputError
from r4t.support.progress import progress

BATCH = 40
FRUITLESS = 3
TIMEOUT = 600.0  # seconds: forty queries from a small machine's model take their time

PROMPT = """You write broad search queries for the catalog that these items are taken from:
{examples}

Write {count} broad queries of {least} to {most} words that each call for a varied set of items, \
not for one item. Spread them evenly over these kinds: {kinds} (hybrid joins two of the others). \
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
    chat = Chat(model, endpoint, timeout=TIMEOUT)
    rng = random.Random(seed)
    made: dict[str, Query] = {}
    dropped = fruitless = 0
    with progress("writing queries", total=count) as bar:
        while len(made) < count and fruitless < FRUITLESS:
            prompt = PROMPT.format(
                examples="\n".join(f"- {t}" for t in rng.sample(list(texts), min(30, len(texts)))),
                count=min(BATCH, count - len(made)),
                least=WORDS[0],
                most=WORDS[1],
                kinds=", ".join(KINDS),
            )
            before = len(made)
            for line in _ask(chat, prompt).splitlines():
                if not line.strip() or line.strip().startswith("```"):
                    continue
                kind, text = _parse(line)
                if not text or normalized(text) in made or len(made) == count:
                    dropped += 1
                else:
                    made[normalized(text)] = Query(f"q{len(made):05d}", text, kind)
            fruitless = fruitless + 1 if len(made) == before else 0
            bar.update(len(made) - before)
    if len(made) < count:
        raise InputError(
            f"The model must answer with JSON lines of a kind and a query of {WORDS[0]} to "
            f"{WORDS[1]} words — found nothing new in {FRUITLESS} answers of {model!r} after "
            f"{len(made)} of {count} queries — ask for fewer or use another model."
        )
    note = f"{dropped} malformed, repeated or surplus lines left out" if dropped else ""
    return list(made.values()), note


def _ask(chat: Chat, prompt: str) -> str:
    answer = chat.ask([[{"role": "user", "content": prompt}]])[0]
    if isinstance(answer, Failure):
        raise endpoint_error(answer, chat.base_url)
    return answer.text


def _parse(line: str) -> tuple[str, str]:
    """One line of an answer → kind and query, or two empty strings where it is neither."""
    try:
        row = json.loads(line.strip().rstrip(","))
        kind, text = row["kind"], " ".join(row["query"].split())
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
    fits = kind in KINDS and WORDS[0] <= len(text.split()) <= WORDS[1]
    return (kind, text) if fits else ("", "")
