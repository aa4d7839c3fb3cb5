"""A reply for each request → a local server that speaks chat completions and records its requests."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the server sends; ``body`` replaces the completion."""

    content: str | None = "fine"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    usage: dict[str, int] | None = field(
        default_factory=lambda: {"prompt_tokens": 7, "completion_tokens": 3}
    )
    seconds: float = 0.0  # before the answer

    def encoded(self, model: str) -> bytes:
        """Return the body as bytes."""
        if self.body is not None:
            return self.body.encode()
        if self.status != 200:
            return json.dumps({"error": {"message": f"status {self.status}"}}).encode()
        message = {"role": "assistant", "content": self.content}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        row = {"id": "1", "object": "chat.completion", "created": 0, "model": f"{model}-0815"}
        return json.dumps({**row, "choices": [choice], "usage": self.usage}).encode()


class Seen:
    """The requests to a server, and the most that it had at a time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, Any]] = []
        self.busiest = self.busy = 0
        self.lock = threading.Lock()

    @property
    def prompts(self) -> list[str]:
        """Return the last message of each request."""
        return [row["messages"][-1]["content"] for row in self.asked]


@contextmanager
def serving(reply: Callable[[int, str], Reply]) -> Iterator[Seen]:
    """Serve ``reply(number from 0, last message)`` on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with seen.lock:
                number = len(seen.asked)
                seen.asked.append({"path": self.path, "key": self.headers["Authorization"], **row})
                seen.busy += 1
                seen.busiest = max(seen.busiest, seen.busy)
            answer = reply(number, row["messages"][-1]["content"])
            time.sleep(answer.seconds)
            with seen.lock:
                seen.busy -= 1
            data = answer.encoded(row["model"])
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Do nothing: some tests hang up on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    seen = Seen(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def replies(*contents: Reply | str) -> Callable[[int, str], Reply]:
    """Return replies in turn, the last for ever; a text is the content of a good reply."""
    turns = [Reply(turn) if isinstance(turn, str) else turn for turn in contents]
    return lambda number, _: turns[min(number, len(turns) - 1)]


def retry_at_once(monkeypatch: Any) -> None:
    """Let the openai client and ``r4t.chat`` repeat requests without a pause."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr("r4t.chat.request.PAUSE", 0.001)


@contextmanager
def nobody() -> Iterator[str]:
    """Give an address where no server listens."""
    with serving(replies("")) as seen:
        url = seen.url
    yield url
