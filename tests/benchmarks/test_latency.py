"""benchmarks.latency: numbers by hand, and both modes at a small size."""

import csv
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks import decoding, device, directions, latency, latency_paper, latency_run
from benchmarks.folm_4b import SMALL
from benchmarks.latency_report import Group, Timing, alternate, read, rows, table
from r4t.catalog import write_catalog
from r4t.data.queries import Query, write_queries
from r4t.data.source import Items
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.encoder.lsa import LsaEncoder
from r4t.fanout.formats import Full
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.run import Run


@pytest.fixture
def bare(monkeypatch):
    """Hide packages that the script must not import; modules that are already imported stay."""
    for name in ("trl", "vllm", "faiss", "jsonargparse"):
        monkeypatch.setitem(sys.modules, name, None)


def timing(method, batch, generate, search=0.0, variant=""):
    calls = [
        {"encode": 0.0, "generate": seconds, "search": search, "total": seconds + search}
        for seconds in generate
    ]
    return Timing(method, batch, variant, calls)


def test_floor_by_hand():
    """Qwen3-4B: 4.02e9 weights of 2 bytes, read 150 times at 3e12 bytes per second: 0.402 s."""
    assert device.floor(150, 2 * 4.02e9, 3e12) == pytest.approx(0.402)


def test_the_papers_network_has_53_9_million_parameters():
    with torch.device("meta"):
        network = SetTransformer(**directions.NETWORK)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == pytest.approx(53.9e6, rel=0.02)


def test_bandwidth_counts_bytes_read_and_written(monkeypatch):
    """Copies of 1000 bytes in half a second move 4000 bytes per second."""
    monkeypatch.setattr(device, "timed", lambda work: (work(), 0.5))
    assert device.bandwidth(1000, torch.device("cpu")) == 4000


@pytest.mark.parametrize("kind", decoding.WRITERS)
@pytest.mark.parametrize("parts", [1, 2])
def test_every_writer_writes_the_likeliest_tokens(kind, parts):
    """The same tokens as a slow loop that reads everything again for each token."""
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(Qwen3Config(**SMALL, tie_word_embeddings=True, eos_token_id=1)).eval()
    for weight in model.parameters():
        weight.data.mul_(3)  # so that tokens differ
    prompts = torch.randint(2, 512, (4, 7))
    ids = prompts
    with torch.no_grad():
        for _ in range(6):
            logits = model(input_ids=ids, use_cache=False).logits[:, -1]
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    first = torch.randint(2, 512, (4 // parts, 7))
    write = decoding.InParts(decoding.writer(kind, model, first, 6).write, parts)
    assert torch.equal(write(prompts), ids[:, 7:])
    assert torch.equal(write(prompts.flip(0)), ids[:, 7:].flip(0))
    assert len(ids[:, 7:].unique()) > 5


def test_a_batch_that_does_not_fit_into_memory_is_halved(monkeypatch):
    tried = []

    class Writer:
        def __init__(self, model, batch, prompt, tokens, compiled):
            tried.append(batch)
            if batch > 3:
                raise torch.cuda.OutOfMemoryError

        def __call__(self, prompts):
            return prompts + 1

    monkeypatch.setattr(decoding, "FixedWriter", Writer)
    prompts = torch.arange(24).view(8, 3)
    write = decoding.writer("graph", None, prompts, 3)
    assert (tried, write.parts) == ([8, 4, 2], 4)
    assert torch.equal(write(prompts), prompts + 1)


@pytest.mark.parametrize("setting", directions.SETTINGS)
def test_all_ways_give_the_same_directions(setting):
    """They agree to three digits, the precision of bfloat16."""
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    network = directions.NETWORK | {"dim": 16, "width": 32, "mlp_width": 32, "heads": 2}
    generator = directions.build_generator(network | {"layers": 1}, cpu)
    torch.nn.init.normal_(generator.network.rows_out.weight, std=0.02)
    query = torch.nn.functional.normalize(torch.randn(3, 16), dim=-1)
    results = []
    for way, network_of_way in directions.ways(generator).items():
        sampling = directions.with_setting(network_of_way, directions.SETTINGS[setting])
        assert sampling.sampler == directions.SETTINGS[setting].sampler
        if way == directions.DEPLOYED:
            generate = directions.deployed(sampling)
        else:
            generate = directions.graphed(sampling, 3, cpu)
            generate(query.flip(0), [7, 8, 9])  # an earlier call has no effect
        results.append(generate(query, [1, 2, 3]).clone())
    assert results[0].shape == (3, 12, 16)
    for other in results[1:]:
        assert torch.allclose(other, results[0], atol=0.02)


def test_rows_by_hand():
    """The faster writer counts; ratios compare calls of the same round."""
    slow = Group(timing("lm", 8, [9.0, 9.0, 9.0]), [timing("diffusion", 8, [1.0, 1.0, 1.0])])
    fast = Group(
        timing("lm", 8, [4.0, 6.0, 8.0], search=2.0),
        [
            timing("diffusion", 8, [2.0, 2.0, 2.0], variant="eager"),
            timing("diffusion", 8, [1.0, 1.0, 2.0], search=1.0, variant="graph"),
        ],
    )
    lm, diffusion = rows([slow, fast], floors={8: 0.5})
    assert (lm["generate"], lm["total"], lm["ratio_generate"]) == (6.0, 8.0, 1.0)
    assert (diffusion["variant"], diffusion["generate"]) == ("graph", 1.0)
    assert diffusion["ratio_generate"] == 4.0  # the median of 4/1, 6/1, 8/2
    assert diffusion["ratio_total"] == pytest.approx(10 / 3)  # the median of 6/2, 8/2, 10/3
    low, high = (diffusion[f"ratio_generate_{end}"] for end in ("low", "high"))
    assert (low, high) == (4.0, 6.0)
    assert (lm["ratio_floor"], diffusion["ratio_floor"]) == (0.5 / 6, 0.5)
    assert "| 8 | diffusion | 0 | 1000 | 1000 | 2000 | 4 (4 to 6) | 3.33 (3 to 4) | 0.5 | 3 |" in (
        table([lm, diffusion])
    )


def test_methods_alternate_until_the_budget_is_spent():
    seen = []

    def side(name):
        one = Timing(name, 1, "")
        return one, lambda: seen.append(name) or {"total": 1.0}

    sides = [side("a"), side("b")]
    alternate(sides, most=9, budget=0.0, least=2)
    assert seen == ["a", "b", "a", "b", "b", "a"]  # the first call of each does not count
    assert [len(one.calls) for one, _ in sides] == [2, 2]


def check(folder, methods, batches):
    """Check that parts add up in all calls and that CSV and figure exist; return the record."""
    record = json.loads((folder / "latency.json").read_text(encoding="utf-8"))
    for group in record["groups"]:
        for one in (group["baseline"], *group["others"]):
            assert len(one["calls"]) == len(group["baseline"]["calls"]) > 0
            for call in one["calls"]:
                parts = [call[part] for part in ("encode", "generate", "search")]
                assert min(parts) > 0
                assert sum(parts) == pytest.approx(call["total"])
    with (folder / "latency.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    expected = [(str(batch), method) for batch in batches for method in methods]
    assert [(line["batch"], line["method"]) for line in lines] == expected
    for line, row in zip(lines, record["rows"]):
        assert float(line["ratio_total"]) == pytest.approx(row["ratio_total"], rel=1e-5)
    assert (folder / "latency.png").read_bytes()[:4] == b"\x89PNG"
    return record


def test_small_runs_the_papers_code(tmp_path, bare, capsys):
    words = f"--paper --small --calls 2 --budget 0 --out {tmp_path}".split()
    latency.main([*words, "--batches", "2"])
    latency.main([*words, "--batches", "1", "--add", "--writers", "graph"])
    methods = [latency_paper.LANGUAGE, *list(directions.SETTINGS)[:2]]
    record = check(tmp_path, methods, [1, 2])
    assert len(record["groups"]) == 3 + 1
    assert len(record["groups"][0]["others"]) == 2 * 3  # settings, ways
    # Two layers of seven matrices, four norms, and the embeddings, which are also the output layer.
    layer = 64 * (2 * 64 + 2 * 32 + 3 * 128) + 2 * 64 + 2 * 16
    assert record["weight_bytes"] == 2 * (2 * layer + 512 * 64 + 64)
    lowest = 30 * record["weight_bytes"] / record["bytes_per_second"]
    assert record["floors"] == pytest.approx({"1": lowest, "2": lowest})
    for row in record["rows"]:
        assert row["ratio_floor"] == pytest.approx(lowest / row["generate"])
        assert row["variant"].startswith("bfloat16, ")
    printed = capsys.readouterr().out
    (tmp_path / "latency.png").unlink()
    latency.main(["--redraw", str(tmp_path)])
    assert capsys.readouterr().out.strip() in printed
    check(tmp_path, methods, [1, 2])


def test_results_of_other_hardware_are_not_extended(tmp_path):
    words = f"--paper --small --calls 1 --budget 0 --writers graph --out {tmp_path}".split()
    latency.main([*words, "--batches", "1"])
    record = json.loads((tmp_path / "latency.json").read_text())
    record["hardware"]["cpu"] = "another"
    (tmp_path / "latency.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="was measured on .*'another'.*Choose another --out"):
        latency.main([*words, "--batches", "1", "--add"])


@pytest.fixture
def run_folder(tmp_path):
    """A run with untrained models."""
    words = [f"{color} {thing}" for color in ("red", "blue", "green") for thing in ("hat", "coat")]
    texts = [f"{word} of {stuff}" for word in words for stuff in ("wool", "silk", "felt", "tweed")]
    encoder = LsaEncoder.fit(texts, dim=4)
    items = Items([f"i{row}" for row in range(len(texts))], texts)
    folder = tmp_path / "run"
    write_catalog(folder / "catalog", items, encoder.encode(texts), encoder)
    queries = [Query(f"q{row}", text, "set") for row, text in enumerate(words)]
    splits = {"train": queries[:4], "val": queries[4:5], "test": queries[5:]}
    write_queries(folder / "queries", splits)
    Run.begin(folder)
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(texts, folder)
    FanoutModel(lm, tokenizer, Full(), max_new_tokens=24).save(folder / "tune/model")
    sizes = {"width": 16, "mlp_width": 16, "heads": 2, "layers": 1, "set_size": 12}
    for place in ("distill/model", "accelerate/model"):
        DirectionGenerator(SetTransformer(4, **sizes), guidance=0.0).save(folder / place)
    return folder


def test_the_models_of_a_run_alternate(run_folder, tmp_path, capsys):
    out = tmp_path / "out"
    words = f"--run {run_folder} --batches 1 3 --calls 2 --budget 0 --steps 4 --sde 6 --out {out}"
    latency.main([*words.split(), "--model", f"again={run_folder}/distill/model"])
    methods = ["R4T-FOLM", "R4T-Diffusion", "R4T-Student", "again"]
    methods += ["Multistep(4), one draw", "ReverseSde(6), one draw"]
    record = check(out, methods, [1, 3])
    notes = [row["note"] for row in record["rows"][: len(methods)]]
    assert notes[1] == "Multistep(8), guidance 0, one draw"
    assert notes[5] == "ReverseSde(6), guidance 0, one draw"
    assert all(row["ratio_cpu"] > 0 for row in record["rows"])
    assert "float32, not compiled, 1 threads" in capsys.readouterr().out


def test_every_method_answers_the_same_queries_in_a_round(monkeypatch):
    batches, draws = [], []

    def time_call(method, searcher, queries, draw):
        batches.append(queries)
        draws.append(draw)
        return {}

    monkeypatch.setattr(latency_run, "time_call", time_call)
    one, call = latency_run.timed_method(Timing("a", 2, ""), None, None, ["p", "q", "r"])
    call()  # the warm-up, whose draw nobody may be timed with
    for _ in range(3):
        one.calls.append(call())
    assert batches[1:] == [["p", "q"], ["r", "p"], ["q", "r"]]
    assert len(set(draws)) == 4


def test_test_queries_come_first_and_no_query_repeats():
    splits = {"test": "a b", "val": "b c", "train": "unknown d"}
    by_split = {
        split: [Query(f"{split}{word}", word, "set") for word in text.split()]
        for split, text in splits.items()
    }
    searcher = SimpleNamespace(
        searchable=lambda some: ([q for q in some if q.text != "unknown"], [])
    )
    queries = latency_run.queries_of(SimpleNamespace(read_queries=by_split.get), searcher)
    assert [query.text for query in queries] == ["a", "b", "c", "d"]


def test_a_saved_measurement_is_read_unchanged(tmp_path):
    from benchmarks.latency_report import write

    groups = [Group(timing("lm", 2, [3.0]), [timing("diffusion", 2, [1.5], variant="graph")])]
    write(tmp_path, groups, {"hardware": {"cpu": "one"}}, {2: 0.5})
    assert read(tmp_path / "latency.json") == (groups, {"hardware": {"cpu": "one"}}, {2: 0.5})
