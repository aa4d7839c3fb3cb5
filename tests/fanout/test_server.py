import json
import time

import pytest

from r4t.errors import InputError
from r4t.fanout import server
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.server import Request, Served, Server, Written
from tests.chat_server import nobody
from tests.chat_server import serving as chatting
from tests.vllm_server import serving

SAMPLING = {"temperature": 1.0, "stop_token_ids": []}


class Words:
    """Stands where a model stands."""

    lm = None
    tokenizer = TinyQwen3(width=32, layers=1).build(["red linen shirt", "blue coat"] * 3, None)[1]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(server, "PAUSE", 0.0)


def counted(row):
    """Completion i of a request: its seed + i, as one token more than the completion before."""
    return [([row["seed"] + i] * (i + 1), [-0.5] * (i + 1)) for i in range(row["n"])]


def test_each_request_keeps_its_own_completions_in_order():
    with serving(Words, counted) as seen:
        asked = [Request([7, 8], seed, 2, 9) for seed in range(0, 800, 10)]
        found = Server(seen.url, 5).write(asked, SAMPLING)
    assert found == [
        [Written([seed], [-0.5]), Written([seed + 1] * 2, [-0.5] * 2)] for seed in range(0, 800, 10)
    ]
    assert {json.dumps(row["prompt"]) for row in seen.asked} == {"[7, 8]"}
    assert sorted(row["seed"] for row in seen.asked) == list(range(0, 800, 10))
    expected = {"n": 2, "max_tokens": 9, "logprobs": 0, "return_token_ids": True, **SAMPLING}
    assert {**seen.asked[0], **expected} == seen.asked[0]


def test_nothing_asked_nothing_sent():
    assert Server("http://nowhere", 1).write([], SAMPLING) == []


def test_what_is_served_and_how_it_reads_a_text():
    with serving(Words, counted, names=("name", "/folder")) as seen:
        found = Server(seen.url, 5)
        found.wait(0.0)
        assert found.served() == Served(("name", "/folder"), 768)
        ids = Words.tokenizer("red coat")["input_ids"]
        assert found.tokens("red coat") == ids


def test_a_lost_request_is_sent_again(impatient):
    with serving(Words, counted) as seen:
        seen.failures = [500, 503, 502]
        found = Server(seen.url, 5).write([Request([1], 4, 1, 9)], SAMPLING)
        assert found == [[Written([4], [-0.5])]]
        assert len(seen.asked) == 4
        seen.failures = [500] * 4
        said = r"answer /v1/completions with choices, found status 500 .*so it is.*\(try 4 of 4\)"
        with pytest.raises(InputError, match=said):
            Server(seen.url, 5).write([Request([1], 4, 1, 9)], SAMPLING)


def test_a_refusal_is_told_at_once():
    said = r"found status 400 .*unknown.*'wish'.*\(try 1 of 4\)"
    with serving(Words, counted) as seen, pytest.raises(InputError, match=said):
        Server(seen.url, 5).write([Request([1], 4, 1, 9)], {**SAMPLING, "wish": 1})
    assert seen.asked == []


def test_nobody_and_strangers_are_named(impatient):
    with nobody() as url:
        address = url.removesuffix("/v1")
        said = rf"must answer at {address}, found none within 0 s \(.*refused.*start it with 'vllm"
        with pytest.raises(InputError, match=said):
            Server(address, 5).wait(0.0)
        with pytest.raises(
            InputError, match=r"answer /v1/models with data, found .*refused.*try 4"
        ):
            Server(address, 5).served()
    with chatting(lambda number, _: None) as seen:  # it has no GET at all
        address = seen.url.removesuffix("/v1")
        with pytest.raises(InputError, match=r"found none within 0 s \(HTTP Error 501"):
            Server(address, 5).wait(0.0)
    with serving(Words, lambda row: []) as seen, pytest.raises(InputError, match="something else"):
        Server(seen.url, 5)._ask("/reset_prefix_cache", "tokens", {})


def test_waiting_ends_when_the_server_is_up(monkeypatch):
    found, tries, pauses = Server("http://nowhere", 5), [], []

    def once(path, body, timeout):
        tries.append((path, timeout))
        if len(tries) < 3:
            raise ConnectionRefusedError("not yet")

    monkeypatch.setattr(found, "_once", once)
    monkeypatch.setattr(time, "sleep", pauses.append)
    found.wait(60.0)
    assert tries == [("/health", 10.0)] * 3
    assert pauses == [1.0, 1.0]


def test_an_empty_completion_is_an_error():
    said = "one token a completion, found none .*'stop'.*log"
    with serving(Words, lambda row: [([], [])]) as seen, pytest.raises(InputError, match=said):
        Server(seen.url, 5).write([Request([1], 4, 1, 9)], SAMPLING)


def test_a_token_without_probability_has_none():
    with serving(Words, lambda row: [([3, 4], [None, -1.0])]) as seen:
        [[found]] = Server(seen.url, 5).write([Request([1], 4, 1, 9)], SAMPLING)
    assert found.ids == [3, 4]
    assert found.log_probs[0] != found.log_probs[0]
    assert found.log_probs[1] == -1.0
