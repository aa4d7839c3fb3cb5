"""r4t.chat against a local server: good, slow, busy, broken and dead."""

import copy
import json
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import r4t.chat
from r4t.chat import Answer, Chat, Failure, Usage
from r4t.chat.request import LostError, attempt
from r4t.errors import InputError
from tests.chat_server import Reply, nobody, replies, serving

pytest.importorskip("openai", reason="the extra eval is not installed")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(r4t.chat, "BACKOFF", 0.001)
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


def pauses_of(monkeypatch, retries: int, asked: float = 0.0, busy: bool = True) -> list[float]:
    """Seconds that a chat waits between attempts at a server that never answers."""
    waited: list[float] = []

    def no_answer(client, request):
        raise LostError(Failure("No", ""), passing=True, busy=busy, wait=asked)

    class Clock(threading.Event):
        def wait(self, timeout=None):
            waited.append(timeout)
            return False

    monkeypatch.setattr(r4t.chat, "attempt", no_answer)
    chat = Chat("tiny", "http://127.0.0.1:1", retries=retries)
    chat._persist({}, chat.retries, Clock())
    return waited


def test_back_off_doubles_with_jitter_and_has_an_end(monkeypatch):
    monkeypatch.setattr(r4t.chat, "BACKOFF", 0.5)
    pauses = pauses_of(monkeypatch, retries=2000)
    # 0.5 · 2^i up to 20 s, of which half to all is waited: 0.5 · 2^5 = 16, and 32 is cut to 20.
    assert all(2**i / 4 <= pause <= 2**i / 2 for i, pause in enumerate(pauses[:6]))
    assert all(10 <= pause <= 20 for pause in pauses[6:])
    assert len(pauses) == 2000


def test_a_busy_server_is_given_about_a_minute_and_a_silent_one_less(monkeypatch):
    monkeypatch.setattr(r4t.chat, "BACKOFF", 0.5)
    # 0.5 + 1 + 2 + 4 + 8 + 16 + 20 + 20 = 71.5 s, of which half to all is waited.
    assert 71.5 / 2 <= sum(pauses_of(monkeypatch, Chat("tiny").retries)) <= 71.5
    # 0.5 + 1 + 2 + 4 = 7.5 s, and up to five timeouts.
    assert 7.5 / 2 <= sum(pauses_of(monkeypatch, Chat("tiny").retries, busy=False)) <= 7.5


@pytest.mark.parametrize("asked, kept", [(5.0, 5.0), (600.0, 60.0)])
def test_a_pause_asked_for_is_kept_within_limits_with_jitter(monkeypatch, asked, kept):
    monkeypatch.setattr(r4t.chat, "BACKOFF", 0.5)
    pauses = [pauses_of(monkeypatch, 1, asked)[0] for _ in range(20)]
    assert all(kept + 0.25 <= pause <= kept + 0.5 for pause in pauses)
    assert len(set(pauses)) == 20  # all that were put off do not come back at once


def test_a_busy_server_is_not_a_dead_one():
    def reply(number, text):  # with five attempts each, a dozen would fail and silence the rest
        return Reply(status=429) if number < 60 else Reply(text)

    with serving(reply) as seen:
        chat = Chat("tiny", seen.url, retries=100)
        texts = [str(n) for n in range(200)]
        assert [answer.text for answer in chat.ask(said(*texts))] == texts
    assert chat.usage.retries == 60


def test_a_server_that_is_busy_for_ever_is_left_alone_in_the_end():
    def reply(number, text):  # 4 calls of two attempts each, then one try, which is answered
        return Reply(status=429) if number < 8 else Reply(text)

    with serving(reply) as seen:
        chat = Chat("tiny", seen.url, concurrency=1, retries=1)
        kinds = [failure.kind for failure in chat.ask(said(*"abcdef"))]
        assert kinds == ["RateLimitError"] * 4 + ["Busy"] * 2
        assert [answer.text for answer in chat.ask(said(*"abcdef"))] == list("abcdef")


def test_who_is_busy_is_not_silent():
    turns = [Reply(status=500), Reply(status=429), Reply(status=500), Reply("fine")]
    with serving(replies(*turns)) as seen:
        chat = Chat("tiny", seen.url, concurrency=1, retries=0)
        kinds = [getattr(result, "kind", "") for result in chat.ask(said(*"abcd"))]
    # Two calls without an answer in a row would be silence.
    assert kinds == ["InternalServerError", "RateLimitError", "InternalServerError", ""]


@pytest.mark.parametrize(
    "header, wait", [("0.2", 0.2), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("-1", 0)]
)
def test_retry_after_is_read(header, wait):
    import openai

    with serving(replies(Reply(status=429, headers={"Retry-After": header}))) as seen:
        client = openai.OpenAI(base_url=seen.url, api_key="none", max_retries=0)
        with pytest.raises(LostError) as lost:
            attempt(client, Chat("tiny", seen.url)._request(said("a")[0]))
    assert (lost.value.wait, lost.value.passing) == (wait, True)


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


def test_an_endpoint_that_counts_no_tokens_and_says_nothing():
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
def test_wrong_settings_are_told_at_once(status, name):
    with serving(replies(Reply(status=status))) as seen:
        chat = Chat("tiny", seen.url, concurrency=2)
        with pytest.raises(
            InputError, match=rf"found {name}Error \(.*\) at {seen.url} — check the"
        ):
            chat.ask(said(*(str(n) for n in range(50))))
        assert len(seen.asked) <= 4


def test_an_empty_account_is_told_at_once():
    body = json.dumps({"error": {"message": "no credit", "code": "insufficient_quota"}})
    with serving(replies(Reply(status=429, body=body))) as seen:
        with pytest.raises(InputError, match="found RateLimitError .*no credit"):
            Chat("tiny", seen.url).ask(said("a"))
        assert len(seen.asked) == 1


def test_a_parameter_that_is_always_refused_is_told_before_long():
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


def test_an_answer_is_asked_for_once(tmp_path):
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


def test_without_a_folder_memory_does(monkeypatch):
    with serving(echo) as seen:
        chat = Chat("tiny", seen.url, memory=2)
        asked = [chat.ask(said(text))[0] for text in "abacb"]
        # a, b; a is known; c takes the place of b, which went unused for longest; b is asked anew.
        assert [answer.text for answer in asked] == list("ABACB")
        assert [answer.cached for answer in asked] == [False, False, True, False, False]
        assert seen.prompts == list("abcb")
        assert (chat.usage.calls, chat.usage.cached) == (4, 1)
        chat.forget(said("b")[0])
        assert not chat.ask(said("b"))[0].cached
        assert not pickle.loads(pickle.dumps(chat)).ask(said("b"))[0].cached


def test_without_memory_or_folder_all_is_asked_anew():
    with serving(echo) as seen:
        chat = Chat("tiny", seen.url, concurrency=1)
        chat.ask(said(*"aa"))
        chat.ask(said("a"))
        assert seen.prompts == list("aaa")


@pytest.mark.parametrize("folder", [True, False])
def test_threads_with_the_same_question_share_a_call(tmp_path, folder):
    def reply(number, text):
        return Reply(text.upper(), seconds=0.2)

    with serving(reply) as seen:
        chat = Chat("tiny", seen.url, **({"cache": tmp_path} if folder else {"memory": 9}))
        found = in_threads(4, lambda number: chat.ask(said("a", str(number), "a")))
        assert sorted(seen.prompts) == ["0", "1", "2", "3", "a"]
    assert [[answer.text for answer in row] for row in found] == [
        ["A", str(n), "A"] for n in range(4)
    ]
    paid = [answer for row in found for answer in row if not answer.cached]
    assert len(paid) == 5
    assert (chat.usage.calls, chat.usage.cached) == (5, 7)


def test_threads_share_a_failure_and_a_refusal():
    with serving(lambda number, text: Reply(status=400, seconds=0.2)) as seen:
        chat = Chat("tiny", seen.url, memory=9)
        found = in_threads(3, lambda _: chat.ask(said("a"))[0])
        assert [failure.kind for failure in found] == ["BadRequestError"] * 3
        assert len(seen.asked) == 1
        assert chat.ask(said("a"))[0].kind == "BadRequestError"
        assert len(seen.asked) == 2  # a failure is not kept

    def refused(_):
        with pytest.raises(InputError, match="found AuthenticationError"):
            chat.ask(said("a"))

    with serving(lambda number, text: Reply(status=401, seconds=0.2)) as seen:
        chat = Chat("tiny", seen.url, memory=9)
        in_threads(3, refused)
        assert len(seen.asked) == 1
        refused(0)  # and nobody waits for what was given up
        assert len(seen.asked) == 2


def in_threads(number, call):
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(call, range(number)))


def test_the_cache_goes_by_content(tmp_path):
    with serving(echo) as seen:
        Chat("tiny", seen.url, cache=tmp_path).ask(said("a"))
        Chat("tiny", seen.url + "/", key="another", cache=tmp_path, retries=0).ask(said("a"))
        assert len(seen.asked) == 1
        Chat("large", seen.url, cache=tmp_path).ask(said("a"))
        Chat("tiny", seen.url, cache=tmp_path, parameters={"seed": 1}).ask(said("a"))
        Chat("tiny", f"{seen.url}/other", cache=tmp_path).ask(said("a"))
        assert len(seen.asked) == 4


def test_a_failure_is_not_kept_and_an_answer_can_be_forgotten(tmp_path):
    with serving(replies(Reply(status=500), "first", "second")) as seen:
        chat = Chat("tiny", seen.url, cache=tmp_path, retries=0)
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
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # no draft is left


def test_several_share_a_cache(tmp_path):
    texts = [str(n) for n in range(20)]
    with serving(echo) as seen:
        chats = [Chat("tiny", seen.url, cache=tmp_path) for _ in range(3)]
        threads = [threading.Thread(target=chat.ask, args=[said(*texts)]) for chat in chats]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(list(tmp_path.rglob("*.json"))) == 20
    assert [a.text for a in Chat("tiny", seen.url, cache=tmp_path).ask(said(*texts))] == texts


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    message = r"folder that can be written — found .*(File exists|Not a directory)"
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


def test_a_chat_can_be_copied_and_takes_no_key_from_the_environment_along(monkeypatch):
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
        ({"concurrency": 0}, r"concurrency of at least 1.*found 0, 8, 0 and 60.0"),
        ({"retries": -1}, r"at least 0 and a timeout.*found 8, -1, 0 and"),
        ({"timeout": 0.0}, r"timeout above 0 s — found 8, 8, 0 and 0.0"),
        ({"memory": -1}, r"retries and memory of at least 0.*found 8, 8, -1 and"),
        ({"base_url": "localhost:8000"}, r"begins with http.*found 'localhost:8000' — write"),
        ({"base_url": "http://["}, r"found 'http://\['"),
        ({"key": "schlüssel"}, r"key is plain ASCII text — found other characters"),
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
    message = r"address holds no user, password or query — .* the key in OPENAI_API_KEY\.$"
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
    with pytest.raises(InputError, match=r"needs the openai client .* 'r4t\[eval\]'"):
        Chat("tiny")
