import json
import sys
import time

import pytest

from r4t.errors import InputError
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.server import Completion, CompletionRequest, Server
from tests.chat_server import nobody, retry_at_once
from tests.chat_server import serving as chatting
from tests.vllm_server import serving

openai = pytest.importorskip("openai", reason="the extra vllm is not installed")

SAMPLING = {"temperature": 1.0, "stop_token_ids": []}
ONE = CompletionRequest([1], 4, 1, 9)


class Words:
    """What a server needs of a model here."""

    lm = None
    tokenizer = TinyQwen3(width=32, layers=1).build(["red linen shirt", "blue coat"] * 3, None)[1]


@pytest.fixture
def impatient(monkeypatch):
    retry_at_once(monkeypatch)


def counted(row):
    """Completion i of a request: its seed + i, as one token more than the completion before."""
    return [([row["seed"] + i] * (i + 1), [-0.5] * (i + 1)) for i in range(row["n"])]


def test_each_request_keeps_its_own_completions_in_order():
    with serving(Words, counted) as seen:
        requests = [CompletionRequest([7, 8], seed, 2, 9) for seed in range(0, 800, 10)]
        answers = Server(seen.url, 5).write(requests, SAMPLING)
    assert answers == [
        [Completion([seed], [-0.5]), Completion([seed + 1] * 2, [-0.5] * 2)]
        for seed in range(0, 800, 10)
    ]
    assert {json.dumps(row["prompt"]) for row in seen.asked} == {"[7, 8]"}
    assert sorted(row["seed"] for row in seen.asked) == list(range(0, 800, 10))
    expected = {"n": 2, "max_tokens": 9, "logprobs": 0, "return_token_ids": True, **SAMPLING}
    assert {**seen.asked[0], **expected} == seen.asked[0]


def test_without_requests_nothing_is_sent():
    with serving(Words, counted) as seen:
        assert Server(seen.url, 5).write([], SAMPLING) == []
        assert seen.paths == []


def test_a_server_says_what_it_serves_and_how_it_reads_a_text():
    with serving(Words, counted, names=("name", "/folder")) as seen:
        server = Server(seen.url, 5)
        assert (server.name, server.folder, server.context) == ("name", "/folder", 768)
        assert server.tokens("red coat") == Words.tokenizer("red coat")["input_ids"]


def test_a_lost_request_is_sent_again(impatient):
    with serving(Words, counted) as seen:
        seen.failures = [500, 503, 429]
        assert Server(seen.url, 5).write([ONE], SAMPLING) == [[Completion([4], [-0.5])]]
        assert len(seen.asked) == 4
        seen.failures = [500] * 6
        message = (
            rf"answer to /v1/completions from the vLLM server at {seen.url}, but found "
            r"InternalServerError \(.*out of memory.*\)\. Read the server's log\."
        )
        with pytest.raises(InputError, match=message):
            Server(seen.url, 5).write([ONE], SAMPLING)
        assert len(seen.asked) == 4 + 6


def test_a_refusal_is_reported_at_once():
    with serving(Words, counted) as seen:
        with pytest.raises(InputError, match=r"found BadRequestError \(.*unknown.*'wish'.*\)"):
            Server(seen.url, 5).write([ONE], {**SAMPLING, "wish": 1})
        assert seen.paths == ["/v1/completions"]


def test_a_missing_server_and_one_that_is_not_vllm_are_named(impatient):
    with nobody() as url:
        address = url.removesuffix("/v1")
        message = (
            rf"a vLLM server at {address}, but found none within 0 s: .*refused.*Start it with"
        )
        with pytest.raises(InputError, match=message):
            Server(address, 5)
    with chatting(lambda number, _: None) as seen:  # it has no GET at all
        address = seen.url.removesuffix("/v1")
        message = r"found none within 0 s: InternalServerError \(Error code: 501"
        with pytest.raises(InputError, match=message):
            Server(address, 5)


@pytest.mark.parametrize("answer", [b"{}", b'{"tokens": 3, "data": []}', b"[]", b"{", b"<html>"])
@pytest.mark.parametrize("path", ["/tokenize", "/v1/models"])
def test_an_answer_that_cannot_be_read_is_an_error(path, answer):
    with (
        serving(Words, counted, answers={path: answer}) as seen,
        pytest.raises(InputError, match=f"answer to {path} .* found one that cannot be read"),
    ):
        Server(seen.url, 5).tokens("red")


def test_waiting_ends_when_the_server_is_up(monkeypatch):
    tries, pauses = [], []

    class Probe:
        def get(self, url, cast_to):
            tries.append(url)
            if len(tries) < 3:
                raise openai.APIConnectionError(request=None)

    def probe(client, **settings):
        assert settings == {"timeout": 10.0, "max_retries": 0}
        return Probe()

    monkeypatch.setattr(openai.OpenAI, "with_options", probe)
    monkeypatch.setattr(time, "sleep", pauses.append)
    with serving(Words, counted) as seen:
        assert Server(seen.url, 5, start_timeout=60.0).name == "served"
    assert tries == [f"{seen.url}/health"] * 3
    assert pauses == [1.0, 1.0]


def test_an_empty_completion_is_an_error():
    message = r"one token in each completion .*found none \(finish_reason 'stop'\).*log"
    with (
        serving(Words, lambda row: [([], [])]) as seen,
        pytest.raises(InputError, match=message),
    ):
        Server(seen.url, 5).write([ONE], SAMPLING)


def test_a_token_without_probability_has_none():
    with serving(Words, lambda row: [([3, 4], [None, -1.0])]) as seen:
        [[completion]] = Server(seen.url, 5).write([ONE], SAMPLING)
    assert completion.ids == [3, 4]
    assert completion.log_probs[0] != completion.log_probs[0]
    assert completion.log_probs[1] == -1.0


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(
        InputError,
        match=r"openai to be installed, but found no openai\. Run pip install 'r4t\[vllm\]'",
    ):
        Server("http://nowhere", 1)
