"""r4t.data.endpoint: against a local server that speaks the protocol, well and badly."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from r4t.data.endpoint import ask_queries
from r4t.errors import InputError

pytest.importorskip("openai", reason="the extra eval is not installed")

TEXTS = [f"item {n}" for n in range(50)]


@contextmanager
def served(answers: list[str], status: int = 200) -> Iterator[tuple[str, list[dict]]]:
    """A server that gives the answers in turn (the last for ever) and records what it was asked."""
    asked: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
            content = answers[min(len(asked), len(answers)) - 1]
            message = {"role": "assistant", "content": content}
            reply = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
            reply["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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
    with served([first, "I would rather not.", second]) as (url, asked):
        queries, note = ask_queries(TEXTS, url, "tiny", count=2)
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


def test_a_model_that_never_answers_in_form_is_refused():
    with served(["no queries today"]) as (url, asked):
        with pytest.raises(
            InputError, match=r"nothing new in 3 answers of 'tiny' after 0 of 5 quer"
        ):
            ask_queries(TEXTS, url, "tiny", count=5)
        assert len(asked) == 3


def test_an_endpoint_that_refuses():
    message = r"found AuthenticationError .* check the address"
    with served([""], status=401) as (url, _), pytest.raises(InputError, match=message):
        ask_queries(TEXTS, url, "tiny", count=5)


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"needs the openai client .* 'r4t\[eval\]'"):
        ask_queries(TEXTS, "http://127.0.0.1:1/v1", "tiny", count=5)
