"""r4t.data.endpoint against a local server that speaks the protocol, well and badly."""

import json
import sys

import pytest

from r4t.data.endpoint import ask_queries
from r4t.errors import InputError
from tests.chat_server import Reply, nobody, replies, retry_at_once, serving

pytest.importorskip("openai", reason="the extra eval is not installed")

TEXTS = [f"item {n}" for n in range(50)]


def line(kind: str, query: str) -> str:
    return json.dumps({"kind": kind, "query": query})


def test_answers_become_queries_and_bad_lines_are_counted(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    first = "\n".join(
        [
            "```json",
            line("mood", "cozy  evening at home") + ",",
            "Sure, here are some!",
            line("color", "red things"),  # no such kind
            line("mood", "cozy"),  # too short
            line("mood", "one two three four five six seven"),  # too long
            "```",
        ]
    )
    second = "\n".join(
        [
            line("season", "Cozy evening, at home"),
            line("season", "summer picnic"),
            line("trend", "a b"),
        ]
    )
    with serving(replies(first, "I would rather not.", second)) as seen:
        queries, note = ask_queries(TEXTS, seen.url, "tiny", count=2)
    asked = seen.asked
    assert [(q.id, q.text, q.kind) for q in queries] == [
        ("q00000", "cozy evening at home", "mood"),
        ("q00001", "summer picnic", "season"),
    ]
    # four faulty lines, one refusal, one repeat and one beyond the count
    assert note == "7 malformed, repeated or surplus lines left out"
    assert len(asked) == 3
    assert asked[0]["path"] == "/v1/chat/completions"
    assert (asked[0]["key"], asked[0]["model"]) == ("Bearer secret", "tiny")
    prompt = asked[0]["messages"][0]["content"]
    assert "Write 2 broad queries of 2 to 6 words" in prompt
    assert all(kind in prompt for kind in ("aesthetic", "activity", "lifestyle", "hybrid"))
    assert sum(row.startswith("- item ") for row in prompt.splitlines()) == 30


def test_a_model_that_never_writes_json_lines():
    with serving(replies("no queries today")) as seen:
        with pytest.raises(
            InputError, match=r"found nothing new in 3 answers of 'tiny' after 0 of 5 queries\. A"
        ):
            ask_queries(TEXTS, seen.url, "tiny", count=5)
        assert len(seen.asked) == 3


def test_an_endpoint_that_refuses():
    message = r"found AuthenticationError .* Check the address, the model's name and OPENAI_API_KEY"
    with serving(replies(Reply(status=401))) as seen, pytest.raises(InputError, match=message):
        ask_queries(TEXTS, seen.url, "tiny", count=5)


def test_an_endpoint_that_hiccups_and_one_that_is_dead(monkeypatch):
    retry_at_once(monkeypatch)
    with serving(replies(Reply(status=503), line("trend", "a b"))) as seen:
        queries, _ = ask_queries(TEXTS, seen.url, "tiny", count=1)
    assert [query.text for query in queries] == ["a b"]
    with nobody() as url, pytest.raises(InputError, match=r"found APIConnectionError .* Check the"):
        ask_queries(TEXTS, url, "tiny", count=1)


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(
        InputError,
        match=r"openai to be installed, but found no openai\. Run pip install 'r4t\[eval\]'",
    ):
        ask_queries(TEXTS, "http://127.0.0.1:1/v1", "tiny", count=5)
