"""r4t.chat against a local server: good, slow, busy, broken and dead."""

import copy
import json
import multiprocessing
import pickle
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from r4t.chat import Answer, Chat, Failure, Usage
from r4t.chat.request import send
from r4t.errors import InputError
from tests.chat_server import Reply, nobody, replies, retry_at_once, serving

pytest.importorskip("openai", reason="the extra eval is not installed")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    retry_at_once(monkeypatch)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def said(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def echo(number: int, text: str) -> Reply:
    return Reply(text.upper())


def test_answers_come_in_order_with_their_tokens(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " secret\n")
    with serving(echo) as seen:
        chat = Chat("tiny", seen.url, parameters={"temperature": 0, "top_k": 5})
        answers = chat.ask(said(*"abcdefghij"))
    assert [answer.text for answer in answers] == list("ABCDEFGHIJ")
    assert {answer.model for answer in answers} == {"tiny-0815"}
    assert {(a.prompt_tokens, a.completion_tokens, a.cached) for a in answers} == {(7, 3, False)}
    assert all(answer.seconds > 0 for answer in answers)
    # 10 answers of 7 + 3 tokens: 70 in, 30 out.
    assert chat.usage == Usage(calls=10, prompt_tokens=70, completion_tokens=30)
    request = seen.asked[0]
    assert (request["path"], request["key"]) == ("/v1/chat/completions", "Bearer secret")
    assert (request["model"], request["temperature"], request["top_k"]) == ("tiny", 0, 5)


def test_the_address_may_come_from_the_environment(monkeypatch):
    with serving(echo) as seen:
        monkeypatch.setenv("OPENAI_BASE_URL", seen.url + "/")
        assert Chat("tiny").ask(said("a"))[0].text == "A"
        assert Chat("tiny", key="mine").ask(said("a"))[0].text == "A"
    assert [row["key"] for row in seen.asked] == ["Bearer none", "Bearer mine"]


def test_calls_run_side_by_side_and_no_more_than_allowed():
    with serving(lambda number, text: Reply(text, seconds=0.3)) as seen:
        Chat("tiny", seen.url, concurrency=4).ask(said(*"abcdefgh"))
        assert 2 <= seen.busiest <= 4
    with serving(lambda number, text: Reply(text, seconds=0.01)) as seen:
        Chat("tiny", seen.url, concurrency=1).ask(said(*"abcd"))
        assert (seen.busiest, seen.prompts) == (1, list("abcd"))


def test_busy_and_broken_answers_are_retried():
    turns = [Reply(status=429), Reply(status=503), Reply(body="<html>proxy</html>"), Reply("fine")]
    with serving(replies(*turns)) as seen:
        chat = Chat("tiny", seen.url)
        assert chat.ask(said("a"))[0].text == "fine"
    assert len(seen.asked) == 4
    assert chat.usage == Usage(calls=1, retries=3, prompt_tokens=7, completion_tokens=3)


def test_the_endpoint_says_how_long_to_wait():
    with serving(replies(Reply(status=429, headers={"Retry-After": "0.3"}), "fine")) as seen:
        begin = time.monotonic()
        answer = Chat("tiny", seen.url).ask(said("a"))[0]
    assert time.monotonic() - begin >= 0.3
    assert answer.text == "fine"
    assert answer.seconds < 0.3  # the last attempt alone


def test_a_busy_server_is_not_a_dead_one():
    def reply(number, text):
        return Reply(status=429) if 0 < number <= 60 else Reply(text)

    with serving(reply) as seen:
        chat = Chat("tiny", seen.url, retries=100)
        texts = [str(n) for n in range(200)]
        assert chat.ask(said("first"))[0].text == "first"
        assert [answer.text for answer in chat.ask(said(*texts))] == texts
    assert chat.usage.retries == 60


@pytest.mark.parametrize("retries, first, later", [(8, 5, 9), (2, 3, 3)])
def test_patience_is_shorter_until_the_endpoint_has_answered_once(retries, first, later):
    with serving(replies(Reply(status=429))) as seen:
        chat = Chat("tiny", seen.url, retries=retries)
        assert chat.ask(said("a"))[0].kind == "RateLimitError"
        assert len(seen.asked) == first
    with serving(lambda number, text: Reply(text) if number == 0 else Reply(status=429)) as seen:
        chat = Chat("tiny", seen.url, retries=retries)
        chat.ask(said("a"))
        assert chat.ask(said("b"))[0].kind == "RateLimitError"
        assert len(seen.asked) == 1 + later


def test_a_server_that_stays_busy_is_left_alone_in_the_end():
    def reply(number, text):  # 2 calls of two attempts each, then one try, which is answered
        return Reply(status=429) if number < 4 else Reply(text)

    with serving(reply) as seen:
        chat = Chat("tiny", seen.url, concurrency=1, retries=1)
        kinds = [failure.kind for failure in chat.ask(said(*"abcd"))]
        assert kinds == ["RateLimitError"] * 2 + ["Silence"] * 2
        assert [answer.text for answer in chat.ask(said(*"abcd"))] == list("abcd")


def test_a_server_that_refuses_is_not_silent():
    turns = [Reply(status=500), Reply(status=400), Reply(status=500), Reply("fine")]
    with serving(replies(*turns)) as seen:
        chat = Chat("tiny", seen.url, concurrency=1, retries=0)
        kinds = [getattr(result, "kind", "") for result in chat.ask(said(*"abcd"))]
    # Two calls without an answer in a row would be silence.
    assert kinds == ["InternalServerError", "BadRequestError", "InternalServerError", ""]


def test_what_stays_broken_is_a_failure_in_its_place():
    def reply(number, text):
        return Reply(status=500) if text == "b" else Reply(text)

    with serving(reply) as seen:
        chat = Chat("tiny", seen.url, retries=2)
        first, second, third = chat.ask(said("a", "b", "c"))
    assert (first.text, third.text) == ("a", "c")
    assert second.kind == "InternalServerError"
    assert "status 500" in str(second)
    assert seen.prompts.count("b") == 3
    assert (chat.usage.calls, chat.usage.retries, chat.usage.failures) == (3, 2, 1)


def test_a_refused_conversation_is_not_retried():
    def reply(number, text):
        return Reply(status=400) if text == "b" else Reply(text)

    with serving(reply) as seen:
        failure = Chat("tiny", seen.url).ask(said("a", "b"))[1]
    assert failure.kind == "BadRequestError"
    assert len(seen.asked) == 2


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"choices": []}',
        '{"choices": null, "error": {"message": "upstream"}}',
        '{"choices": [{"message": "text"}]}',
        '{"choices": [{"message": {"content": "x"}}], "usage": "free"}',
        '{"choices": [{"mess',
    ],
)
def test_a_body_that_is_no_completion(body):
    with serving(replies(Reply(body=body))) as seen:
        failure = Chat("tiny", seen.url, retries=1).ask(said("a"))[0]
        assert failure == Failure("NoCompletion", body or "empty")
        assert len(seen.asked) == 2
        chat = Chat("tiny", seen.url)
        chat.ask(said("a"))
        assert (len(seen.asked), chat.usage.retries) == (5, 2)  # not more, whatever `retries` is


def test_an_endpoint_may_count_no_tokens_and_send_an_empty_answer():
    with serving(replies(Reply(content=None, usage=None))) as seen:
        chat = Chat("tiny", seen.url)
        answer = chat.ask(said("a"))[0]
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("", None, None)
    assert chat.usage == Usage(calls=1, unmetered=1)


def test_a_slow_answer_times_out():
    with serving(replies(Reply(seconds=5.0))) as seen:
        chat = Chat("tiny", seen.url, timeout=0.1, retries=1)
        assert chat.ask(said("a"))[0].kind == "APITimeoutError"
    assert chat.usage == Usage(calls=1, retries=1, failures=1)


def test_a_dead_server_is_tried_no_longer_than_needed():
    with nobody() as url:
        chat = Chat("tiny", url, concurrency=2, retries=1)
        failures = chat.ask(said(*(str(n) for n in range(50))))
        kinds = [failure.kind for failure in failures]
        # Two rounds of two calls, and one that had begun before the fourth was known.
        assert 4 <= kinds.count("APIConnectionError") <= 5
        assert kinds.count("Silence") == 50 - kinds.count("APIConnectionError")
        assert "refused" in str(next(f for f in failures if f.kind == "APIConnectionError"))
        assert chat.usage.failures == 50
        calls = chat.usage.calls
        assert [f.kind for f in chat.ask(said("a", "b"))] == ["APIConnectionError", "Silence"]
        assert chat.usage.calls == calls + 1


def test_a_server_that_comes_back_is_found():
    def reply(number, text):
        return Reply(status=500) if number < 2 else Reply(text)

    with serving(reply) as seen:
        chat = Chat("tiny", seen.url, concurrency=1, retries=0)
        assert [a.kind for a in chat.ask(said("a", "b", "c"))] == [
            "InternalServerError",
            "InternalServerError",
            "Silence",
        ]
        assert [answer.text for answer in chat.ask(said("a", "b", "c"))] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "status, name", [(401, "Authentication"), (403, "PermissionDenied"), (404, "NotFound")]
)
def test_wrong_settings_are_reported_at_once(status, name):
    with serving(replies(Reply(status=status))) as seen:
        chat = Chat("tiny", seen.url, concurrency=2)
        with pytest.raises(
            InputError,
            match=rf"found {name}Error \(.*\) at {seen.url}. Check the address, the model",
        ):
            chat.ask(said(*(str(n) for n in range(50))))
        assert len(seen.asked) <= 4


def test_an_empty_account_is_an_error():
    body = json.dumps({"error": {"message": "no credit", "code": "insufficient_quota"}})
    headers = {"x-should-retry": "false"}  # as OpenAI sends it
    with serving(replies(Reply(status=429, body=body, headers=headers))) as seen:
        with pytest.raises(InputError, match="found RateLimitError .*no credit"):
            Chat("tiny", seen.url).ask(said("a"))
        assert len(seen.asked) == 1


def test_a_parameter_that_is_always_refused_is_reported_before_long():
    with serving(replies(Reply(status=400))) as seen:
        chat = Chat("tiny", seen.url, concurrency=2)
        assert [f.kind for f in chat.ask(said("a", "b", "c"))] == ["BadRequestError"] * 3
        with pytest.raises(InputError, match=r"found BadRequestError .* the request's parameters"):
            chat.ask(said("d"))


def test_a_key_that_is_revoked_later_ends_nothing():
    with serving(lambda n, text: Reply(text) if n < 3 else Reply(status=401)) as seen:
        chat = Chat("tiny", seen.url, concurrency=1)
        answers = chat.ask(said(*"abcdef"))
    assert [type(answer) for answer in answers] == [Answer] * 3 + [Failure] * 3
    assert [f.kind for f in answers[3:]] == ["AuthenticationError"] * 2 + ["Silence"]


def test_an_answer_is_paid_for_once(tmp_path):
    with serving(echo) as seen:
        first = Chat("tiny", seen.url, cache=tmp_path)
        answers = first.ask(said("a", "b", "a"))
        assert [(answer.text, answer.cached) for answer in answers] == [
            ("A", False),
            ("B", False),
            ("A", True),
        ]
        again = Chat("tiny", seen.url, cache=tmp_path)
        assert [(answer.text, answer.cached) for answer in again.ask(said("b", "a"))] == [
            ("B", True),
            ("A", True),
        ]
        assert len(seen.asked) == 2
    assert first.usage == Usage(calls=2, cached=1, prompt_tokens=14, completion_tokens=6)
    assert again.usage == Usage(cached=2)  # what is on disk costs nothing


def test_memory_works_without_a_folder():
    with serving(echo) as seen:
        chat = Chat("tiny", seen.url, memory=2)
        answers = [chat.ask(said(text))[0] for text in "abacb"]
        # a, b; a is known; c replaces b, which went unused for longest; b is sent again.
        assert [answer.text for answer in answers] == list("ABACB")
        assert [answer.cached for answer in answers] == [False, False, True, False, False]
        assert seen.prompts == list("abcb")
        assert (chat.usage.calls, chat.usage.cached) == (4, 1)
        chat.forget(said("b")[0])
        assert not chat.ask(said("b"))[0].cached


def test_without_memory_or_folder_every_conversation_is_sent():
    with serving(echo) as seen:
        chat = Chat("tiny", seen.url, concurrency=1)
        chat.ask(said(*"aa"))
        chat.ask(said("a"))
        assert seen.prompts == list("aaa")


def test_the_cache_goes_by_content(tmp_path):
    with serving(echo) as seen:
        Chat("tiny", seen.url, cache=tmp_path).ask(said("a"))
        Chat("tiny", seen.url + "/", key="another", cache=tmp_path, retries=0).ask(said("a"))
        assert len(seen.asked) == 1
        Chat("large", seen.url, cache=tmp_path).ask(said("a"))
        Chat("tiny", seen.url, cache=tmp_path, parameters={"seed": 1}).ask(said("a"))
        Chat("tiny", f"{seen.url}/other", cache=tmp_path).ask(said("a"))
        assert len(seen.asked) == 4


@pytest.mark.parametrize("folder", [True, False])
def test_a_failure_is_not_kept_and_an_answer_can_be_forgotten(tmp_path, folder):
    with serving(replies(Reply(status=500), "first", "second")) as seen:
        keep = {"cache": tmp_path} if folder else {"memory": 9}
        chat = Chat("tiny", seen.url, retries=0, **keep)
        assert isinstance(chat.ask(said("a"))[0], Failure)
        assert chat.ask(said("a"))[0].text == "first"
        chat.forget(said("a")[0])
        assert chat.ask(said("a"))[0].text == "second"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"answer": {"text": 3}}', '{"answer": {}}', "\0"]
)
def test_a_corrupt_file_counts_as_missing(tmp_path, content):
    with serving(echo) as seen:
        Chat("tiny", seen.url, cache=tmp_path).ask(said("a"))
        (file,) = tmp_path.rglob("*.json")
        assert file.parent.name == file.name[:2]
        whole = json.loads(file.read_text(encoding="utf-8"))
        assert whole["request"]["messages"] == said("a")[0]
        file.write_text(content, encoding="utf-8")
        assert Chat("tiny", seen.url, cache=tmp_path).ask(said("a"))[0].cached is False
        assert json.loads(file.read_text(encoding="utf-8"))["answer"]["text"] == "A"
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # no partial file is left


def ask_all(url, folder, texts):
    return [answer.text for answer in Chat("tiny", url, cache=folder).ask(said(*texts))]


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_several_processes_share_a_cache(tmp_path):
    texts = [str(n) for n in range(20)]
    with serving(echo) as seen:
        with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
            calls = [pool.submit(ask_all, seen.url, tmp_path, texts) for _ in range(3)]
            assert [call.result() for call in calls] == [texts] * 3
        sent = len(seen.asked)
        assert ask_all(seen.url, tmp_path, texts) == texts
        assert 20 <= len(seen.asked) == sent <= 60
    assert len(list(tmp_path.rglob("*.json"))) == 20


def test_answers_of_an_interrupted_batch_are_kept(tmp_path, monkeypatch):
    def interrupted(client, request, retries):
        if request["messages"][0]["content"] == "b":
            raise KeyboardInterrupt
        return send(client, request, retries)

    with serving(echo) as seen:
        chat = Chat("tiny", seen.url, cache=tmp_path, concurrency=1)
        monkeypatch.setattr("r4t.chat.send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            chat.ask(said("a", "b"))
        monkeypatch.setattr("r4t.chat.send", send)
        assert [answer.cached for answer in chat.ask(said("a", "b"))] == [True, False]
        assert seen.prompts == ["a", "b"]


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    message = r"cache folder that can be written, but found .*(File exists|Not a directory).*file"
    with serving(echo) as seen:
        for folder in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(InputError, match=message):
                Chat("tiny", seen.url, cache=folder).ask(said("a"))
        assert seen.asked == []  # nothing was paid for


def test_half_a_surrogate_pair_harms_nothing(tmp_path):
    with serving(replies(Reply("x\ud83d"))) as seen:
        chat = Chat("tiny", seen.url, cache=tmp_path)
        assert [answer.text for answer in chat.ask(said("a\ud83d"))] == ["x?"]
        assert chat.ask(said("a?"))[0].cached
    assert seen.prompts == ["a?"]


def test_a_copy_of_a_chat_holds_no_key_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-the-environment")
    with serving(echo) as seen:
        chat = Chat("tiny", seen.url)
        chat.ask(said("a"))
        data = pickle.dumps(chat)
        assert b"secret" not in data
        for twin in (pickle.loads(data), copy.deepcopy(chat)):
            assert twin.ask(said("b"))[0].text == "B"
            assert twin.usage.calls == 2
    assert {row["key"] for row in seen.asked} == {"Bearer secret-of-the-environment"}


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"concurrency": 0}, r"concurrency.*at least 1.*found 0"),
        ({"retries": -1}, r"retries.*at least 0.*found -1"),
        ({"timeout": 0.0}, r"timeout above 0 s, but found 0.0\. Raise"),
        ({"memory": -1}, r"memory.*at least 0.*found -1"),
        ({"base_url": "localhost:8000"}, r"as http://local.*found 'localhost:8000'\. Correct"),
        ({"base_url": "http://["}, r"found 'http://\['"),
        ({"key": "schlüssel"}, r"key in plain ASCII text, but found other characters"),
    ],
)
def test_arguments_out_of_range(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        Chat(**{"model": "tiny", "base_url": "http://127.0.0.1:1", **arguments})


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hush@host/v1",
        "https://hush@host/v1",
        "user:hush@host/v1",
        "http://host/v1?key=hush",
        "http://u:hush@[",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_shown(monkeypatch, url):
    message = r"without user, password or query, but found one of .* the key in OPENAI_API_KEY\.$"
    with pytest.raises(InputError, match=message) as refused:
        Chat("tiny", url)
    assert "hush" not in str(refused.value)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(InputError, match=message):
        Chat("tiny")


def test_an_at_sign_further_on_is_no_secret():
    assert Chat("tiny", "http://host/@team/v1").base_url == "http://host/@team/v1"


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(
        InputError,
        match=r"openai to be installed, but found no openai\. Run pip install 'r4t\[eval\]'",
    ):
        Chat("tiny")
