"""What a vLLM server writes is what the model would write, with the model's current weights.

The server here samples from a tiny model; it is reached over HTTP, and through TRL's own client.
"""

import copy
import inspect
import pickle
import sys
import time

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from r4t.errors import InputError
from r4t.fanout import vllm
from r4t.fanout.formats import Expand, Full, JsonList
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.fanout.vllm import VllmServer
from r4t.fanout.weights import ADAPTER, plain_weights
from r4t.support.seeds import query_seed
from tests.chat_server import nobody
from tests.vllm_server import SeedsOfServer, replace_broadcast, scripted, serving

pytest.importorskip("openai", reason="the extra vllm is not installed")

QUERIES = ["red linen", "beach day in green", "wool"]
SEEDS = [5, 6, 7]
# A template that begins a thought for the model, as those of some reasoning models do.
BEGUN = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n"


pytestmark = pytest.mark.filterwarnings("ignore:No completion of the first rollout")


@pytest.fixture(scope="module")
def parts():
    texts = ["red linen shirt", "blue wool coat", "green silk dress", "beach day"] * 3
    lm, tokenizer = TinyQwen3(width=32, layers=2, vocabulary=400).build(texts, None)
    with torch.no_grad():  # so that it prefers some tokens to others
        for parameter in lm.parameters():
            parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
    return lm, tokenizer


@pytest.fixture
def make(parts):
    """A model whose weights and tokenizer are its own."""

    def fanout(form=None, max_new_tokens=12, backend=None):
        lm, tokenizer = copy.deepcopy(parts)
        form = Expand(set_size=3) if form is None else form
        return FanoutModel(lm, tokenizer, form, max_new_tokens, backend)

    return fanout


@pytest.fixture
def linked(monkeypatch):
    pytest.importorskip("trl")
    replace_broadcast(monkeypatch)


def backend(seen, **arguments):
    settings = {"host": "127.0.0.1", "port": seen.port, "start_timeout": 0.0}
    return VllmServer(**{**settings, "send_weights": False, **arguments})


@pytest.fixture
def frozen(make):
    """Connects a model to a server that was started with its folder."""

    def connect(seen, form=None, max_new_tokens=12, template=None):
        model = make(form, max_new_tokens, backend(seen))
        model.lm.config._name_or_path = model.lm.name_or_path = "served"
        model.tokenizer.chat_template = template
        return model

    return connect


def test_a_server_writes_what_the_model_would_write(make, frozen):
    with serving(make()) as seen:
        model = frozen(seen)
        fanouts = model.sample(QUERIES, SEEDS, group_size=4, temperature=0.8)
    expected = make(backend=SeedsOfServer()).sample(QUERIES, SEEDS, 4, 0.8)
    assert torch.equal(fanouts.completion_ids, expected.completion_ids)  # row b·G + g
    assert torch.equal(fanouts.completion_mask, expected.completion_mask)
    assert len(set(fanouts.texts)) == 12
    served, own = model.backend.log_probs, make().log_probs(fanouts, 0.8)
    real = fanouts.completion_mask > 0
    assert torch.allclose(served[real], own[real], atol=1e-4)
    assert (served[real] < 0).all()
    assert served.shape == real.shape
    # The requests hold the prompts' own tokens alone, and ask for the whole softmax.
    by_seed = {row["seed"]: row for row in seen.asked}
    for query, seed in zip(QUERIES, SEEDS):
        row = by_seed[query_seed(str(seed), 0)]
        assert row["prompt"] == model.tokenizer(f"{query}\n")["input_ids"]
        assert {name: value for name, value in row.items() if name not in ("prompt", "seed")} == {
            "model": "served",
            "n": 4,
            "max_tokens": 12,
            "temperature": 0.8,
            "top_k": 0,
            "top_p": 1.0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stop_token_ids": [model.tokenizer.eos_token_id],
            "logprobs": 0,
            "return_token_ids": True,
        }


def test_queries_with_neighboring_seeds_share_no_noise(make, frozen):
    with serving(make()) as seen:
        fanouts = frozen(seen).sample(["red linen"] * 3, [1, 2, 3], group_size=8)
    assert len(set(fanouts.texts)) == 24


def test_lines_are_cut_where_the_list_is_complete(make, frozen):
    texts = ["red\nwool\ncoat\n and more", "red\nwool" + " x" * 30, "red\n<eos>"]
    model = make()
    with serving(model, scripted(model.tokenizer, texts)) as seen:
        model = frozen(seen, max_new_tokens=20)
        found = model.sample(["linen"], [0], group_size=3)
    assert "stop" not in seen.asked[0]
    assert [text.replace(" ", "") for text in found.texts[::2]] == ["red\nwool\ncoat\n", "red\n"]
    limit = model.tokenizer(texts[1])["input_ids"][:20]
    assert found.completion_ids[1].tolist() == limit
    assert found.subqueries[0] == ["linen red", "linen wool", "linen coat"]
    length = len(model.tokenizer("red\nwool\ncoat\n")["input_ids"])
    assert found.completion_mask.sum(1).tolist() == [length, 20, 3]
    log_probs = [-float(place) for place in range(length)] + [0.0] * (20 - length)
    assert model.backend.log_probs[0].tolist() == log_probs
    assert len(seen.asked) == 1


LISTS = [
    '<queries>["a"]</queries>',
    '<think>in <queries>["b"]</queries> then</think><queries>["red linen", "wool"]</queries>',
    '<queries>["c", "d"],]</queries>',
    "I cannot.<eos>",
]


@pytest.mark.parametrize("pads_with_end", [False, True])
def test_the_server_stops_at_the_list_and_continues_within_a_thought(make, frozen, pads_with_end):
    model = make()
    with serving(model, scripted(model.tokenizer, [f"{text} x x x" for text in LISTS])) as seen:
        model = frozen(seen, Full(JsonList(), 2), 120)
        if pads_with_end:
            model.tokenizer.pad_token = model.tokenizer.eos_token
        found = model.sample(["linen"], [3], group_size=4)
    assert found.subqueries == [["a"], ["red linen", "wool"], ["c", "d"], []]
    assert found.texts[:3] == [f" {text}" for text in LISTS[:3]]  # this tokenizer's space
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in LISTS]
    assert found.completion_mask.sum(1).tolist() == lengths
    assert model.truncated(found).tolist() == [False] * 4
    first, second = seen.asked
    assert first["stop"] == second["stop"] == ["</queries>"]
    assert first["include_stop_str_in_output"]
    begun = LISTS[1][: LISTS[1].index("</queries>") + len("</queries>")]
    written = model.tokenizer(begun)["input_ids"]
    assert second["prompt"] == first["prompt"] + written
    assert (second["n"], second["max_tokens"]) == (1, 120 - len(written))
    # Completion 1 of the query continues from noise of its own.
    assert second["seed"] == query_seed("3/1", len(written))
    assert second["seed"] not in range(first["seed"], first["seed"] + 4)
    row = model.backend.log_probs[1, : lengths[1]]
    assert row.tolist() == [-float(place) for place in range(lengths[1])]


def test_a_thought_that_the_template_begins_is_skipped(make, frozen):
    script = 'inside <queries>["no"]</queries> then</think><queries>["a"]</queries>'
    model = make()
    with serving(model, scripted(model.tokenizer, [script + " x"])) as seen:
        found = frozen(seen, Full(JsonList(), 2), 120, BEGUN).sample(["linen"], [0])
    assert found.texts == [f"<think> {script}"]
    assert found.subqueries == [["a"]]
    assert len(seen.asked) == 2


def test_a_thought_without_end_ends_at_the_limit(make, frozen):
    model = make()
    with serving(model, scripted(model.tokenizer, ["<think>" + "</queries> " * 20])) as seen:
        model = frozen(seen, Full(JsonList(), 2), 40)
        found = model.sample(["linen"], [0])
    assert found.completion_mask.sum() == 40
    assert model.truncated(found).tolist() == [True]
    assert sum(row["max_tokens"] == 40 for row in seen.asked) == 1
    assert len(seen.asked) > 3


def test_weights_are_sent_before_the_first_completion_and_when_asked(make, linked):
    with serving(make()) as seen:
        model = make(backend=backend(seen, send_weights=True))
        with torch.no_grad():  # not what the server was started with
            for parameter in model.lm.parameters():
                parameter.add_(0.01)
        with torch.inference_mode():  # as validation is
            first = model.sample(QUERIES, SEEDS, 2)
        seen.paths[3:5] = sorted(seen.paths[3:5])  # announced and sent at the same time
        assert seen.paths == [
            "/tokenize",
            "/init_weight_transfer_engine",
            "/start_weight_update",
            "/broadcast",
            "/update_weights",
            "/finish_weight_update",
            "/reset_prefix_cache",
            *["/v1/completions"] * 3,
        ]
        own = copy.deepcopy(model)
        own.backend = SeedsOfServer()
        assert first.texts == own.sample(QUERIES, SEEDS, 2).texts
        assert make(backend=SeedsOfServer()).sample(QUERIES, SEEDS, 2).texts != first.texts
        model.sample(QUERIES, SEEDS, 2)
        assert len(seen.received) == 1
        with torch.no_grad():
            model.lm.model.norm.weight.mul_(3.0)
        model.backend.sync(model)
        assert model.sample(QUERIES, SEEDS, 2).texts != first.texts
    assert seen.paths.count("/init_weight_transfer_engine") == 1
    sent, expected = seen.received[1], dict(model.lm.named_parameters())
    assert sent.keys() == expected.keys()
    assert all(torch.equal(sent[name], expected[name]) for name in expected)
    info = seen.announced[1]
    assert info["names"] == list(expected)
    assert info["shapes"] == [list(weight.shape) for weight in expected.values()]
    assert set(info["dtype_names"]) == {"float32"}


def test_adapted_weights_are_sent_merged_under_plain_names(make, linked):
    peft = pytest.importorskip("peft")
    with serving(make()) as seen:
        model = make(backend=backend(seen, send_weights=True))
        plain = [name for name, _ in model.lm.named_parameters()]
        torch.manual_seed(0)
        config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
        bare = copy.deepcopy(model.lm)
        peft.inject_adapter_in_model(config, model.lm, ADAPTER)
        with torch.no_grad():
            for name, parameter in model.lm.named_parameters():
                parameter.add_(0.1 if "lora_B" in name else 0.0)
        found = model.sample(QUERIES, SEEDS, 2)
        log_probs = model.backend.log_probs
    expected = dict(plain_weights(model.lm))
    assert seen.announced[0]["names"] == plain == list(expected)
    assert all(torch.equal(seen.received[0][name], expected[name]) for name in plain)
    # What wrote is the adapted model.
    real = found.completion_mask > 0
    assert torch.allclose(log_probs[real], model.log_probs(found, 0.9)[real], atol=1e-4)
    model.lm = bare
    assert (log_probs - model.log_probs(found, 0.9))[real].abs().mean() > 0.05


def test_copies_open_their_own_connections(make, linked):
    with serving(make()) as seen:
        model = make(backend=backend(seen, send_weights=True))
        found = model.sample(QUERIES, SEEDS, 2)
        pickle.loads(pickle.dumps(model.backend))
        other = copy.deepcopy(model)
        assert other.sample(QUERIES, SEEDS, 2).texts == found.texts
    assert seen.paths.count("/init_weight_transfer_engine") == 2
    assert len(seen.received) == 2


def test_our_calls_match_trls_client():
    client = pytest.importorskip("trl.generation.vllm_client").VLLMClient
    for name, *arguments in [
        ("__init__", {"base_url": "http://localhost:8000", "group_port": 51216}),
        ("init_communicator", {"device": torch.device("cuda", 0)}),
        ("update_named_params", [("name", "float32", [2])], iter([("name", torch.ones(2))])),
        ("reset_prefix_cache",),
    ]:
        named = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
        positional = [] if named else arguments
        inspect.signature(getattr(client, name)).bind(None, *positional, **named)


def test_a_server_that_does_not_fit_is_refused_before_it_writes(make, frozen, linked):
    with (
        serving(make(), names=("other", "/models/other")) as seen,
        pytest.raises(
            InputError, match="serves 'served', because no weights .*found 'other'. Start"
        ),
    ):
        frozen(seen).sample(QUERIES, SEEDS)
    with serving(make(), names=("other", "served")) as seen:
        frozen(seen).sample(QUERIES, SEEDS)
        with pytest.raises(
            InputError,
            match="takes the weights of the model.*found send_weights: false. Leave it out",
        ):
            backend(seen).sync(make())
    other = copy.deepcopy(make())
    other.tokenizer = TinyQwen3(width=32, layers=1).build(["grey hat"] * 3, None)[1]
    with serving(other) as seen:
        message = r"model's vocabulary, but found \d+ tokens at .* and \d+ here .*from token \d+ on"
        with pytest.raises(InputError, match=message):
            frozen(seen).sample(QUERIES, SEEDS)
    with serving(make()) as seen:
        model = frozen(seen, max_new_tokens=765)
        prompt = len(model.tokenizer(f"{QUERIES[1]}\n")["input_ids"])
        message = (
            rf"768 tokens of the vLLM server, but found {prompt} of a prompt and 765 of max_new"
        )
        with pytest.raises(InputError, match=message):
            model.sample(QUERIES[:2], SEEDS[:2])
        assert seen.asked == []
        seen.info = None
        message = "weights over NCCL, but found '.*VLLM_SERVER_DEV_MODE=1.*Start it with VLLM_SER"
        with pytest.raises(InputError, match=message):
            make(backend=backend(seen, send_weights=True)).sample(QUERIES, SEEDS)
        seen.info = {"weight_transfer_config": None}
        with pytest.raises(InputError, match="no weight-transfer engine.*--weight-transfer-config"):
            make(backend=backend(seen, send_weights=True)).sample(QUERIES, SEEDS)
    with nobody() as url:
        port = int(url.removesuffix("/v1").rpartition(":")[2])
        away = VllmServer("127.0.0.1", port, start_timeout=0.0, send_weights=False)
        with pytest.raises(
            InputError, match=f"vLLM server at http://127.0.0.1:{port}, but found none"
        ):
            make(backend=away).sample(QUERIES, SEEDS)


def test_sending_weights_needs_packages_and_a_gpu(make, monkeypatch):
    with serving(make()) as seen:
        monkeypatch.setattr(vllm, "NEEDED", ("torch", "no_such_package"))
        message = (
            r"torch, no_such_package to be .*but found no no_such_package\. Run .*'r4t\[vllm\]'"
        )
        with pytest.raises(InputError, match=message):
            make(backend=backend(seen, send_weights=True)).sample(QUERIES, SEEDS)
        pytest.importorskip("trl")
        monkeypatch.setattr(vllm, "NEEDED", ("trl",))
        with pytest.raises(
            InputError, match="model on a GPU, .* over NCCL, but found it on 'cpu'. Train on"
        ):
            make(backend=backend(seen, send_weights=True)).sample(QUERIES, SEEDS)


def wait_for_each_other(rank, model, folder):
    """Rank of two: the second writes late, and what it writes is not overtaken by new weights."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model.backend.sync(model)
    time.sleep(0.5 * rank)
    model.sample(["red linen"], [rank])
    model.backend.sync(model)
    model.sample(["red linen"], [rank])
    dist.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_ranks_wait_before_and_after_weights_are_sent(make, linked, tmp_path):
    with serving(make(), slow=0.3) as seen:
        model = make(backend=backend(seen, send_weights=True))
        mp.start_processes(wait_for_each_other, (model, tmp_path), nprocs=2, start_method="fork")
    update, writing = ["/broadcast", "/reset_prefix_cache"], ["/v1/completions"] * 2
    paths = [path for path in seen.paths if path in update + writing]
    assert paths == [*update, *writing, *update, *writing]
