"""benchmarks.real_latency: numbers by hand, every side of a run, and a small run of it all."""

import json
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from benchmarks import real_latency
from benchmarks.latency_report import Timing
from benchmarks.real_latency import (
    FORMATS,
    NO_LLAMA,
    counted,
    main,
    markdown,
    repeated,
    rows,
    tiny_run,
    worth,
)
from r4t.errors import InputError
from r4t.fanout.backend import Transformers
from r4t.methods import NoFanout
from r4t.run import MODELS


def timing(method, batch, seconds, **more):
    parts = {"encode": 0.0, "generate": 0.0, "search": 0.0}
    return Timing(method, batch, "", [parts | {"total": s, "cpu": 2 * s} | more for s in seconds])


def test_rows_by_hand():
    """4 queries in 2, 4 and 9 s: 1000 ms a query; in a round 2/1, 4/1 and 9/3 times as long."""
    slow = timing("model", 4, [2.0, 4.0, 9.0], tokens=5.0)
    fast = timing("retriever", 4, [1.0, 1.0, 3.0])
    first, second = rows([[slow, fast]], ["retriever"])
    assert first["ms per query"]["total"] == 1000.0
    assert first["ms per query"]["cpu"] == 2000.0
    assert first["tokens per query"] == 5.0
    assert first["times as long as"]["retriever"]["total"] == [3.0, 2.0, 4.0]
    assert second["times as long as"]["retriever"]["total"] == [1.0, 1.0, 1.0]
    assert "tokens per query" not in second
    record = {
        "command": "python",
        "hardware": {"cpu": "one", "threads": 2, "load": 0.25},
        "remarks": ["A remark."],
        "rows": [first, second],
        "worth": {"model": {"recall": 0.25, "vendi": 6.0}},
    }
    lines = markdown(record).splitlines()
    assert "| 4 | model | 0 | 0 | 0 | 1000 | 5.0 | 3 (2 … 4) |" in lines
    assert "| 4 | retriever | 0 | 0 | 0 | 250 |  | 1 (1 … 1) |" in lines
    assert "| method | recall in the pool | Vendi of ten |" in lines
    assert "| model | 0.250 | 6.000 |" in lines
    assert lines[-3:] == ["one, 2 threads, load 0.2", "A remark.", "`python`"]


def test_tokens_are_counted_per_query_and_the_median_of_calls_counts():
    writer = SimpleNamespace(tokens=100)

    def call():
        writer.tokens += 30
        return {"total": 1.0}

    assert counted(Timing("a", 3, ""), call, writer)() == {"total": 1.0, "tokens": 10.0}
    seconds = iter([9.0, 1.0, 2.0])
    assert repeated(lambda: {"total": next(seconds)}, 3)() == {"total": 2.0}


def test_worth_is_the_mean_over_all_queries(small_run):
    searcher, queries = small_run.searcher(), small_run.read_queries("train")
    method = NoFanout(searcher, set_size=5, pool_size=9)
    found = worth({"plain": method}, searcher, queries, batch=7)["plain"]
    in_five, in_pool = [], []
    for query in queries:
        sets = method([query], searcher.encode_queries([query.text]))
        references = {*searcher.catalog.rows(query.references)}
        in_five.append(len(references & {*sets.items[0].tolist()}) / len(references))
        in_pool.append(len(references & {*sets.pool[0].tolist()}) / len(references))
    assert 0 < sum(in_five) < len(queries)
    assert found["set recall"] == pytest.approx(sum(in_five) / len(queries))
    assert found["recall"] == pytest.approx(sum(in_pool) / len(queries))
    assert 1 < found["vendi"] <= 5


def test_the_smoke_run_times_all_sides_but_llama_cpp_and_writes_nothing(tmp_path, capsys):
    main(["--smoke", "--threads", "1", "--results", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    for batch in (1, 3):
        for name in ("Zero-shot, float32", "Zero-shot, bfloat16", "R4T-Student"):
            assert f"| {batch} | {name} | " in printed
    assert NO_LLAMA in printed
    assert not (tmp_path / "out").exists()


def test_a_run_has_a_row_for_llama_cpp_if_it_is_installed(tmp_path, monkeypatch, capsys):
    folder = tiny_run(tmp_path / "run").folder
    asked = []

    def quantized(model, kind, options):
        asked.append((kind, options.threads))
        return Transformers()

    monkeypatch.setattr(real_latency, "quantized", quantized)
    monkeypatch.setattr(real_latency, "find_spec", lambda name: name)
    monkeypatch.setattr(real_latency, "version", lambda name: version("torch"))
    words = ["--run", str(folder), "--threads", "1", "--rounds", "2", "--budget", "0"]
    words += ["--batches", "2", "--results", str(tmp_path / "out")]
    main([*words, "--model", f"again={folder / MODELS['student']}"])
    record = json.loads((tmp_path / "out" / "latency.json").read_text(encoding="utf-8"))
    names = ["Zero-shot, float32", "Zero-shot, bfloat16", *(f"Zero-shot, {how}" for how in FORMATS)]
    assert [row["method"] for row in record["rows"]] == [*names, "R4T-Student", "again"]
    assert asked == [(None, 1), ("Q8_0", 1)]
    assert record["hardware"]["llama_cpp"] == version("torch")
    first, _, third = record["rounds"][:3]
    assert [call["tokens"] for call in first["calls"]] == [
        call["tokens"] for call in third["calls"]
    ]
    for side in record["rounds"]:
        assert len(side["calls"]) == 2
        assert all(call["total"] > 0 for call in side["calls"])
    for row in record["rows"]:
        assert row["times as long as"].keys() == {"R4T-Student", "again"}
    text = (tmp_path / "out" / "latency.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert "answers the queries of a batch one after another" in text
    assert record["command"].startswith(f"python -m benchmarks.real_latency --run {folder}")


def test_a_run_without_models_is_refused(small_run, monkeypatch):
    words = ["--run", str(small_run.folder), "--threads", "1"]
    with pytest.raises(
        InputError, match=r"tune/model or warm_start/model, but found none in .*Run"
    ):
        main(words)
    monkeypatch.setattr(real_latency, "language_methods", lambda *rest: {})
    with pytest.raises(InputError, match=r"refine/model, or --model, but found none in .*add"):
        main(words)
