"""A tiny model → a local server with vLLM's HTTP interface that writes with it and takes weights.

The weights come through TRL's own client; only its broadcast over NCCL is replaced, by a request to
this server, so that it also works between processes.
"""

import importlib
import io
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import torch
from transformers import LogitsProcessor, StoppingCriteria

from r4t.fanout import vllm
from r4t.fanout.backend import Prompts, Transformers
from r4t.fanout.sampling import SeededSampling
from r4t.support.seeds import query_seed

CONTEXT = 768
# Fields that vLLM 0.31 knows; it ignores others, which would hide typing errors.
FIELDS = {
    "model",
    "prompt",
    "n",
    "seed",
    "max_tokens",
    "logprobs",
    "return_token_ids",
    "temperature",
}
FIELDS |= {"top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty"}
FIELDS |= {"frequency_penalty", "stop", "stop_token_ids", "include_stop_str_in_output"}

Choice = tuple[list[int], list[float]]  # tokens and their log-probabilities


class Seen:
    """What a server received."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = urlsplit(url).port
        self.asked: list[dict[str, Any]] = []  # completions
        self.paths: list[str] = []  # of all requests, in the order in which they began
        self.announced: list[dict[str, Any]] = []  # description of each update of the weights
        self.received: list[dict[str, torch.Tensor]] = []  # its weights
        self.info: Any = {"weight_transfer_config": {"backend": "nccl"}}  # None: not in dev mode
        self.failures: list[int] = []  # status of the next completions, before one succeeds


@contextmanager
def serving(
    model: Any,
    write: Callable[[dict[str, Any]], list[Choice]] | None = None,
    names: tuple[str, str] = ("served", "/models/served"),
    slow: float = 0.0,
    answers: Mapping[str, bytes] = MappingProxyType({}),
) -> Iterator[Seen]:
    """Serve a ``FanoutModel``, whose weights change when some are sent.

    Args:
        model: Its language model and tokenizer.
        write: Completions of a request; sampled by the model by default.
        names: Name of the model, and its folder.
        slow: Seconds that an update takes.
        answers: Path → body that replaces the answer.
    """
    write = sampled(model) if write is None else write
    lock, writing = threading.Lock(), threading.Lock()

    def answer(path: str, row: Any) -> tuple[int, Any]:
        if path == "/health":
            return 200, None
        if path == "/v1/models":
            row = {"id": names[0], "root": names[1], "max_model_len": CONTEXT}
            return 200, {"data": [row]}
        if path == "/server_info":
            return (404, None) if seen.info is None else (200, {"vllm_config": seen.info})
        if path == "/get_world_size":
            return 200, {"world_size": 1}
        if path == "/tokenize":
            ids = model.tokenizer(row["prompt"], add_special_tokens=row["add_special_tokens"])
            return 200, {"tokens": ids["input_ids"]}
        if path == "/v1/completions":
            if unknown := set(row) - FIELDS:
                return 400, {"error": {"message": f"unknown {unknown}"}}
            if row["model"] != names[0]:
                return 404, {"error": {"message": f"no model {row['model']}"}}
            with lock:
                seen.asked.append(row)
                failure = seen.failures.pop() if seen.failures else None
            if failure is not None:
                return failure, {"error": {"message": "out of memory"}}
            with writing:  # one after the other is faster on a few cores
                choices = [_choice(*pair) for pair in enumerate(write(row))]
            return 200, {"choices": choices[::-1]}  # each has its index
        if path == "/update_weights":
            seen.announced.append(row["update_info"])
        if path == "/finish_weight_update":
            time.sleep(slow)
        return 200, {"success": True}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(*answer(urlsplit(self.path).path, None))

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"] or 0))
            with lock:
                seen.paths.append(self.path)
            if self.path == "/broadcast":
                sent = torch.load(io.BytesIO(data))
                seen.received.append(sent)
                model.lm.load_state_dict(sent, strict=False)  # a tied head is not sent
                self.reply(200, None)
            else:
                self.reply(*answer(self.path, json.loads(data) if data else None))

        def reply(self, status: int, content: Any) -> None:
            data = b"" if content is None else json.dumps(content).encode()
            data = answers.get(self.path, data)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128  # all may arrive together

    server = Server(("127.0.0.1", 0), Handler)
    seen = Seen(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _choice(index: int, choice: Choice) -> dict[str, Any]:
    ids, log_probs = choice
    logprobs = {"token_logprobs": log_probs}
    return {"index": index, "token_ids": ids, "logprobs": logprobs, "finish_reason": "stop"}


def sampled(model: Any) -> Callable[[dict[str, Any]], list[Choice]]:
    """Sample from the model's current weights; completion i from the request's seed + i."""

    def write(row: dict[str, Any]) -> list[Choice]:
        prompt = torch.tensor([row["prompt"]]).repeat(row["n"], 1)
        seeds = [row["seed"] + place for place in range(row["n"])]
        output = model.lm.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=row["max_tokens"],
            do_sample=False,
            logits_processor=[Drawn(seeds, row, prompt.shape[1])],
            eos_token_id=row["stop_token_ids"],
            pad_token_id=model.tokenizer.pad_token_id,
            stopping_criteria=[StopString(model.tokenizer, row, prompt.shape[1])],
        )
        with torch.no_grad():
            logits = model.lm(output).logits[:, prompt.shape[1] - 1 : -1] / row["temperature"]
        log_probs = logits.log_softmax(-1)
        choices = []
        for ids, policy in zip(output[:, prompt.shape[1] :], log_probs):
            kept = ids[: stopped(model.tokenizer, row, ids.tolist())]
            choices.append((kept.tolist(), policy[range(len(kept)), kept].tolist()))
        return choices

    return write


class SeedsOfServer(Transformers):
    """The model itself writes, from the seeds of a server's completions."""

    def generate(self, model: Any, prompts: Prompts) -> torch.Tensor:
        group = prompts.group_size
        first = [query_seed(str(seed), 0) for seed in prompts.seeds]
        seeds = [seed + place for seed in first for place in range(group)]
        ids, mask = (part.repeat_interleave(group, 0) for part in (prompts.ids, prompts.mask))
        alone = replace(prompts, ids=ids, mask=mask, seeds=seeds, group_size=1)
        return super().generate(model, alone)


def scripted(tokenizer: Any, texts: list[str]) -> Callable[[dict[str, Any]], list[Choice]]:
    """Write texts, one a completion of the first prompt; continue the text that a prompt begins.

    The log-probability of token i of a text is −i.
    """
    scripts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    first: list[int] = []

    def write(row: dict[str, Any]) -> list[Choice]:
        first.extend([] if first else row["prompt"])
        begun = row["prompt"][len(first) :]
        choices = []
        for script in scripts:
            if script[: len(begun)] == begun and len(choices) < row["n"]:
                rest = script[len(begun) :][: row["max_tokens"]]
                rest = rest[: stopped(tokenizer, row, rest)]
                choices.append((rest, [-float(len(begun) + i) for i in range(len(rest))]))
        return choices

    return write


def stopped(tokenizer: Any, row: dict[str, Any], ids: list[int]) -> int:
    """Return how many tokens vLLM keeps: up to an end token, or to the end of a stop string."""
    for place, token in enumerate(ids):
        text = tokenizer.decode(ids[: place + 1], skip_special_tokens=True)
        if token in row["stop_token_ids"] or any(end in text for end in row.get("stop", [])):
            return place + 1
    return len(ids)


class Drawn(LogitsProcessor):
    """Leaves only the token that is drawn."""

    def __init__(self, seeds: list[int], row: dict[str, Any], start: int) -> None:
        self.draw = SeededSampling(seeds, 1, row["temperature"], row["max_tokens"])
        self.start = start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(scores))
        tokens = self.draw(scores, rows, input_ids.shape[1] - self.start)
        return torch.full_like(scores, -1e9).scatter(1, tokens.unsqueeze(1), 0.0)


class StopString(StoppingCriteria):
    """Stops rows as vLLM does."""

    def __init__(self, tokenizer: Any, row: dict[str, Any], start: int) -> None:
        self.tokenizer, self.ends, self.start = tokenizer, row.get("stop", []), start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        rows = input_ids[:, self.start :]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return torch.tensor([any(end in text for end in self.ends) for text in texts])


def replace_broadcast(monkeypatch: Any) -> None:
    """Let TRL's client run without vLLM and GPUs, and send weights to the server in a request."""
    client = importlib.import_module("trl.generation.vllm_client")

    class Engine:
        @staticmethod
        def trainer_init(init_info: dict[str, Any]) -> Any:
            group = SimpleNamespace(store=None, socket=None)
            return SimpleNamespace(group=group, init_info=init_info)

        @staticmethod
        def trainer_send_weights(iterator: Any, trainer_args: Any) -> None:
            data = io.BytesIO()
            torch.save({name: weight.clone() for name, weight in iterator}, data)
            with urllib.request.urlopen(f"{url[0]}/broadcast", data.getvalue()):
                pass

    def reach(address: str, port: int, device: torch.device) -> Any:
        url.append(address)
        return connect(address, port, torch.device("cuda"))

    url: list[str] = []
    connect = vllm.weight_sender
    monkeypatch.setattr(vllm, "weight_sender", reach)
    monkeypatch.setattr(vllm, "NEEDED", ("trl", "requests"))
    for name, value in {
        "is_vllm_available": lambda **_: True,
        "get_ip": lambda: "127.0.0.1",
        "_HAS_STATEFUL_TRAINER_ENGINE": False,
        "NCCLWeightTransferEngine": Engine,
        "NCCLTrainerSendWeightsArgs": SimpleNamespace,
    }.items():
        monkeypatch.setattr(client, name, value, raising=False)
