"""Time from text to set with a real language model: own writing, llama.cpp, diffusion retrievers (CPU).

    OMP_NUM_THREADS=2 PYTHONPATH=FOLDER python -m benchmarks.real_latency --run runs/real/recipes-fold0
    python -m benchmarks.real_latency --smoke    # tiny models, without llama.cpp, seconds; writes no file

FOLDER is where llama-cpp-python was built (see benchmarks/requirements.txt); else its rows are left out.

Timed from text to set: encode the queries, fan out, encode the sub-queries if there are any, search. All
sides encode with the run's encoder, in ``--dtype``; the items stay as the catalog has them. The language
model is RUN/tune/model, or RUN/warm_start/model before tuning. It writes

* by ``Transformers``, the product's own backend, in float32 and in bfloat16;
* by llama.cpp, the same weights in the number formats of SmolLM2's GGUF file (Q4_1, embeddings Q8_0),
  and all of them in Q8_0. What a short training adds to a weight is less than a step of Q4_1: in it,
  the lists are those of the untrained model, with other lengths.

All write for the same prompts, at the same temperature, to the same ends and limit. llama.cpp keeps what
the previous prompt shares with the next, and answers a batch one query after another: llama-cpp-python
offers no more. The retrievers are RUN/distill/model, RUN/accelerate/model, RUN/refine/model, whichever
exist, and every ``--model NAME=FOLDER``, with the settings that they were exported with.

In a round each side answers the same queries once, in an order that changes from round to round; a
retriever answers ``--repeats`` times in a row, and the median counts. A ratio is the median over rounds
of the ratio within a round, with its 95 % bootstrap interval. A second table has the recall and Vendi of
each side's sets for all test queries. On busy cores the threads of llama.cpp and torch wait for each other:
time on idle ones, or with ``--threads 1``. Writes latency.json (every round) and latency.md to RESULTS.
"""

import argparse
import copy
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from benchmarks.device import hardware
from benchmarks.latency_report import PARTS, Call, Timing, alternate
from benchmarks.latency_run import described, queries_of, timed_method
from benchmarks.made_up import small_world
from benchmarks.models import SMOLLM2
from benchmarks.ratios import interval, quotients
from benchmarks.real_tables import MEASURES
from r4t.data.queries import Query
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.encoder.transformer import DTYPES, PretrainedEncoder
from r4t.errors import InputError
from r4t.evaluation.measures import of_items
from r4t.fanout.backend import Backend
from r4t.fanout.few_shot import FewShot
from r4t.fanout.formats import Full
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.methods import DiffusionMethod, LanguageMethod, Method, SubqueryWriter
from r4t.methods.registry import entries
from r4t.run import MODELS, Run
from r4t.search import Searcher
from r4t.support.files import write_text

RESULTS = Path(__file__).parent / "results/real_latency"
LANGUAGE, RETRIEVERS = ("folm", "zero-shot"), ("diffusion", "student", "refined")
FORMATS = {"llama.cpp Q4_1": None, "llama.cpp Q8_0": "Q8_0"}  # None: those of the GGUF file
SIZE = 10
NO_LLAMA = "llama.cpp is left out: llama_cpp cannot be imported (benchmarks/requirements.txt)."


class CountingWriter(SubqueryWriter):
    """Counts the tokens that it writes."""

    tokens = 0

    def _write(self, keys: list[tuple[str, int]]) -> list[list[str]]:
        texts, seeds = [text for text, _ in keys], [seed for _, seed in keys]
        fanouts = self.model.sample(texts, seeds, 1, self.temperature)
        self.tokens += int(fanouts.completion_mask.sum())
        return fanouts.subqueries


def language_methods(
    run: Run, searcher: Searcher, options: argparse.Namespace
) -> dict[str, LanguageMethod]:
    """Return the run's language model by each of the ways to write.

    Raises:
        InputError: If the run has no language model.
    """
    key = next((key for key in LANGUAGE if key in run.models()), None)
    if key is None:
        raise InputError(
            expected=f"a run with a language model in {' or '.join(MODELS[key] for key in LANGUAGE)}",
            found=f"none in {run.folder}",
            remedy="Run python -m benchmarks.real_models first.",
        )
    model = FanoutModel.load(run.folder / MODELS[key])
    form, longest = model.form, model.max_new_tokens
    low = FanoutModel(copy.deepcopy(model.lm).bfloat16(), model.tokenizer, form, longest)
    models = {"float32": model, "bfloat16": low}
    if not options.smoke and find_spec("llama_cpp") is not None:
        for how, kind in FORMATS.items():
            backend = quantized(model, kind, options)
            models[how] = FanoutModel(model.lm, model.tokenizer, form, longest, backend)
    return {
        f"{entries()[key].name}, {how}": LanguageMethod(
            searcher, CountingWriter(each, options.temperature), options.pool, name=how
        )
        for how, each in models.items()
    }


def quantized(model: FanoutModel, kind: str | None, options: argparse.Namespace) -> Backend:
    """Return llama.cpp with the model's weights in a number format, by default the file's."""
    from benchmarks.quantized import LlamaCpp, write_gguf

    template = options.gguf or SMOLLM2.source() / SMOLLM2.weights
    with tempfile.TemporaryDirectory() as folder:
        file = write_gguf(template, model.lm, Path(folder) / template.name, kind)
        return LlamaCpp(file, options.threads)  # reads it whole: the mapped file may go


def retrievers(
    run: Run, searcher: Searcher, options: argparse.Namespace
) -> dict[str, DiffusionMethod]:
    """Return the run's retrievers and those that were named.

    Raises:
        InputError: If there are none.
    """
    own = {entries()[key].name: MODELS[key] for key in RETRIEVERS if key in run.models()}
    folders = {name: run.folder / place for name, place in own.items()}
    named = (text.partition("=") for text in options.model)
    folders |= {name: Path(folder) for name, _, folder in named}
    if not folders:
        raise InputError(
            expected=f"a retriever in {', '.join(MODELS[key] for key in RETRIEVERS)}, or --model",
            found=f"none in {run.folder}",
            remedy="Run a later step first, or add --model NAME=FOLDER.",
        )
    sizes = (SIZE, options.pool)
    return {
        name: DiffusionMethod.load(searcher, *sizes, folder=folder, key=name, name=name)
        for name, folder in folders.items()
    }


def counted(timing: Timing, call: Call, writer: CountingWriter) -> Call:
    """Add the tokens that a call writes per query."""

    def count() -> dict[str, float]:
        before = writer.tokens
        seconds = call()
        return seconds | {"tokens": (writer.tokens - before) / timing.batch}

    return count


def repeated(call: Call, times: int) -> Call:
    """Call several times in a row; the median of each part counts."""

    def repeat() -> dict[str, float]:
        calls = [call() for _ in range(times)]
        return {part: median(each[part] for each in calls) for part in calls[0]}

    return repeat


def time_sides(
    sides: dict[str, Method], searcher: Searcher, queries: Sequence[Query], options: Any
) -> list[list[Timing]]:
    """Time all sides, alternating, at each batch size."""
    found = []
    for batch in options.batches:
        calls = []
        for name, method in sides.items():
            timing, call = timed_method(Timing(name, batch, ""), method, searcher, queries)
            if isinstance(method, LanguageMethod) and isinstance(method.writer, CountingWriter):
                calls.append((timing, counted(timing, call, method.writer)))
            else:
                timing.note = described(method)
                calls.append((timing, repeated(call, options.repeats)))
        alternate(calls, options.rounds, options.budget)
        found.append([timing for timing, _ in calls])
        seconds = ", ".join(f"{one.method} {one.median('total'):.4g} s" for one in found[-1])
        print(f"batch {batch}, {len(found[-1][0].calls)} rounds: {seconds}", flush=True)
    return found


def rows(groups: Sequence[Sequence[Timing]], fast: Sequence[str]) -> list[dict[str, Any]]:
    """Medians of every side, and how many times as long as each retriever it takes.

    Args:
        groups: Timings of the sides at one batch size, call i of each in the same round.
        fast: The retrievers' names.
    """
    lines = []
    for group in groups:
        by_name = {timing.method: timing for timing in group}
        for timing in group:
            parts = {part: timing.median(part) for part in (*PARTS, "cpu")}
            ms = {part: 1000 * seconds / timing.batch for part, seconds in parts.items()}
            row = {"batch": timing.batch, "method": timing.method, "ms per query": ms}
            if "tokens" in timing.calls[0]:
                row["tokens per query"] = mean(call["tokens"] for call in timing.calls)
            row["times as long as"] = {
                name: {part: ratio(timing, by_name[name], part) for part in ("total", "cpu")}
                for name in fast
            }
            lines.append(row | {"rounds": len(timing.calls), "note": timing.note})
    return lines


def ratio(slow: Timing, fast: Timing, part: str) -> list[float]:
    """Return the median over rounds of the ratio of the seconds, and its interval."""
    values = quotients(*([call[part] for call in one.calls] for one in (slow, fast)))
    return [median(values), *interval(values)]


@torch.no_grad()
def worth(
    sides: dict[str, Method], searcher: Searcher, queries: Sequence[Query], batch: int = 32
) -> dict[str, dict[str, float]]:
    """Return the means of the measures of each side's first draw on all queries."""
    found: dict[str, dict[str, float]] = {}
    for name, method in sides.items():
        values: dict[str, list[float]] = {}
        for start in range(0, len(queries), batch):
            some = queries[start : start + batch]
            sets = method(some, searcher.encode_queries([query.text for query in some]))
            sets = replace(sets, references=searcher.references(some))
            for measure, column in of_items(sets).items():
                values.setdefault(measure, []).extend(column.tolist())
        found[name] = {m: mean(values[m]) for m in MEASURES if m in values}
    return found


def markdown(record: dict[str, Any]) -> str:
    """Return the table of times and that of measures."""
    fast = [*record["rows"][0]["times as long as"]]
    heads = ["batch", "method", "encode", "fan-out", "search", "together, ms per query", "tokens"]
    heads += [f"÷ {name}" for name in fast]
    lines = [f"| {' | '.join(heads)} |", f"|---:|---|{'---:|' * (len(heads) - 2)}"]
    for row in record["rows"]:
        cells = [str(row["batch"]), row["method"]]
        cells += [f"{row['ms per query'][part]:.4g}" for part in PARTS]
        tokens = row.get("tokens per query")
        cells.append("" if tokens is None else f"{tokens:.1f}")
        for name in fast:
            middle, low, high = row["times as long as"][name]["total"]
            cells.append(f"{middle:.3g} ({low:.3g} … {high:.3g})")
        lines.append(f"| {' | '.join(cells)} |")
    measures = [*next(iter(record["worth"].values()))]
    lines += ["", f"| method | {' | '.join(MEASURES[measure] for measure in measures)} |"]
    lines.append(f"|---|{'---:|' * len(measures)}")
    for name, values in record["worth"].items():
        lines.append(f"| {name} | {' | '.join(f'{values[m]:.3f}' for m in measures)} |")
    facts = record["hardware"]
    lines += ["", f"{facts['cpu']}, {facts['threads']} threads, load {facts['load']:.1f}"]
    return "\n".join([*lines, *record["remarks"], f"`{record['command']}`", ""])


def tiny_run(folder: Path) -> Run:
    """Return a run on invented words with an untrained language model and retriever."""
    run = small_world(folder, items=200, queries=6, prompt=3)
    texts = run.searcher().catalog.texts
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(texts, folder)
    FanoutModel(lm, tokenizer, Full(FewShot(), SIZE), 24).save(folder / MODELS["zero-shot"])
    dim = run.searcher().catalog.embeddings.shape[1]
    network = SetTransformer(dim, width=16, mlp_width=16, heads=2, layers=1, set_size=SIZE)
    DirectionGenerator(network, guidance=0.0).save(folder / MODELS["student"])
    return run


def measure(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Time a run's models; return the record."""
    searcher = run.searcher()
    if isinstance(searcher.encoder, PretrainedEncoder):
        searcher.encoder.model.to(getattr(torch, options.dtype))
    options.pool = min(options.pool, len(searcher.catalog))
    slow, fast = language_methods(run, searcher, options), retrievers(run, searcher, options)
    sides: dict[str, Method] = {**slow, **fast}
    queries = queries_of(run, searcher)
    groups = time_sides(sides, searcher, queries, options)
    facts = hardware() | {"load": os.getloadavg()[2]}
    remarks = [NO_LLAMA]
    if len(slow) > 2:
        facts["llama_cpp"] = version("llama_cpp_python")
        remarks = ["llama.cpp answers the queries of a batch one after another."]
    tested = searcher.searchable(run.read_queries("test"))[0]
    return {
        "hardware": facts,
        "settings": {name: str(value) for name, value in vars(options).items()},
        "remarks": remarks,
        "rows": rows(groups, [*fast]),
        "worth": worth(sides, searcher, tested),
        "rounds": [asdict(timing) for group in groups for timing in group],
    }


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--run", type=Path, help="run folder")
    mode.add_argument("--smoke", action="store_true", help="tiny models; only prints")
    parser.add_argument(
        "--model", nargs="*", action="extend", default=[], metavar="NAME=FOLDER", help="retrievers"
    )
    parser.add_argument("--gguf", type=Path, help="GGUF file whose formats the weights take")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--rounds", type=int, default=15, help="most rounds at each batch size")
    parser.add_argument(
        "--budget", type=float, default=240.0, help="seconds: no later round starts"
    )
    parser.add_argument("--repeats", type=int, default=5, help="calls of a retriever in a round")
    parser.add_argument("--pool", type=int, default=54, help="distinct items in a pool")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the encoder")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    words = sys.argv[1:] if arguments is None else arguments
    options = build_parser().parse_args(words)
    torch.set_num_threads(options.threads)
    if options.smoke:
        options.batches, options.rounds, options.budget = [1, 3], 2, 0.0
        with tempfile.TemporaryDirectory() as folder:
            record = measure(tiny_run(Path(folder)), options)
    else:
        record = measure(Run.open(options.run), options)
    record = {"command": f"python -m benchmarks.real_latency {' '.join(words)}", **record}
    text = markdown(record)
    print(text)
    if not options.smoke:
        options.results.mkdir(parents=True, exist_ok=True)
        write_text(options.results / "latency.json", json.dumps(record, indent=1) + "\n")
        write_text(options.results / "latency.md", text)


if __name__ == "__main__":
    main()
