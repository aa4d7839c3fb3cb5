"""Texts of a catalog → broad queries, written by a model behind an OpenAI-compatible endpoint."""

import json
import random
from collections.abc import Sequence

from r4t.chat import Chat, Failure, endpoint_error
from r4t.data.phrases import KINDS, WORDS
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.support.progress import progress
from r4t.support.text import normalize_text

BATCH = 40  # queries an answer
EXAMPLES = 30  # item texts a prompt
FRUITLESS = 3  # answers in a row without a new query, after which to stop
TIMEOUT = 600.0  # seconds: a small machine's model needs time for forty queries

PROMPT = """You write broad search queries for the catalog that these items are taken from:
{examples}

Write {count} broad queries of {least} to {most} words that each call for a varied set of items, \
not for one item. Spread them evenly over these kinds: {kinds} (hybrid joins two of the others). \
Answer with one JSON object a line and nothing else, like this:
{{"kind": "mood", "query": "cozy evening at home"}}"""


def ask_queries(
    texts: Sequence[str], endpoint: str, model: str, count: int, seed: int = 0
) -> tuple[list[Query], str]:
    """Ask the model until it has written ``count`` different queries; note the lines left out.

    The key is read from OPENAI_API_KEY; a local server usually accepts any. Each prompt shows
    `EXAMPLES` of the item texts, which ``seed`` decides. ``endpoint`` is the base address, such as
    http://localhost:8000/v1.

    Raises:
        InputError: If the client is not installed, the endpoint does not answer, or `FRUITLESS`
            answers in a row bring no new query.
    """
    chat = Chat(model, endpoint, timeout=TIMEOUT)
    rng = random.Random(seed)
    queries: dict[str, Query] = {}
    dropped = fruitless = 0
    with progress("writing queries", total=count) as bar:
        while len(queries) < count and fruitless < FRUITLESS:
            examples = rng.sample(list(texts), min(EXAMPLES, len(texts)))
            before = len(queries)
            for line in _ask(chat, examples, min(BATCH, count - before)):
                kind, text = _parse(line)
                key = normalize_text(text)
                if text and key not in queries and len(queries) < count:
                    queries[key] = Query(f"q{len(queries):05d}", text, kind)
                else:
                    dropped += 1
            fruitless = fruitless + 1 if len(queries) == before else 0
            bar.update(len(queries) - before)
    if len(queries) < count:
        raise InputError(
            expected=f"JSON lines with a kind and a query of {WORDS[0]} to {WORDS[1]} words",
            found=f"nothing new in {FRUITLESS} answers of {model!r} after {len(queries)} of {count} "
            "queries",
            remedy="Ask for fewer or use another model.",
        )
    note = f"{dropped} malformed, repeated or surplus lines left out" if dropped else ""
    return list(queries.values()), note


def _ask(chat: Chat, examples: Sequence[str], count: int) -> list[str]:
    """The lines of one answer that may hold a query."""
    prompt = PROMPT.format(
        examples="\n".join(f"- {text}" for text in examples),
        count=count,
        least=WORDS[0],
        most=WORDS[1],
        kinds=", ".join(KINDS),
    )
    answer = chat.ask([[{"role": "user", "content": prompt}]])[0]
    if isinstance(answer, Failure):
        raise endpoint_error(answer, chat.base_url)
    lines = map(str.strip, answer.text.splitlines())
    return [line for line in lines if line and not line.startswith("```")]


def _parse(line: str) -> tuple[str, str]:
    """Kind and query of a line of an answer, or two empty strings if it is malformed."""
    try:
        row = json.loads(line.rstrip(","))
        kind, text = row["kind"], " ".join(row["query"].split())
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
    valid = kind in KINDS and WORDS[0] <= len(text.split()) <= WORDS[1]
    return (kind, text) if valid else ("", "")
