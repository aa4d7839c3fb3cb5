"""A real language model on real sets, stage by stage: each is one resumable run with one file.

    python -m benchmarks.models                                    # first: brings both models
    python -m benchmarks.real_models                               # every missing stage of every fold
    python -m benchmarks.real_models --sets recipes --folds 0 1 --stages baselines few-shot warm-start
    python -m benchmarks.real_models --table                       # only the tables of finished runs
    python -m benchmarks.real_models --folds 0 --show "pad thai"   # and the student's set for a query

The language model is SmolLM2-135M-Instruct, the encoder all-MiniLM-L6-v2. Stages of a fold:

* *baselines*: methods without a language model, those that learn fitted on the same training sets;
* *few-shot*: the model as it is, with eight training sets in its prompt;
* *warm-start*: it imitates the items of the training sets (configs/real/0_warm_start.yaml);
* *tuned*: Soft-GRPO on coverage, of facets where the set has any, credit per member
  (configs/real/1_tune.yaml);
* *student*: the model writes 2,000 further queries, the tuned one answers them and the training queries
  twice, and a network of one evaluation learns these sets and the references
  (configs/real/2_synthesize.yaml, 4_accelerate.yaml);
* *student-no-memory*: the same network, which does not recall target sets when it answers;
* *student-references*: the same with memory on the references alone, to see what synthesis adds;
* *diffusion*: a diffusion retriever distilled from the sets of *student* (configs/real/3_distill.yaml).

All answer the fold's test queries, a model with one fan-out each at temperature 0.7 (best of five, and what
most of 16 hold, beside). The number of examples was chosen on validation queries of the first fold, of 2, 4
and 8, and the settings of the student on those of the same fold.
Of clothing and electronic the first 100 test queries of a fold are measured.
A stage writes RESULTS/SET-foldN-STAGE.json and is skipped if that file exists. The tables pool the queries
of the folds that have all their stages: recall of the references in the pool and among the ten items,
Vendi of the ten, paired differences with intervals over clusters of queries.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from benchmarks.figure4 import dump, shown
from benchmarks.models import MINILM, MODELS, SMOLLM2, language_model
from benchmarks.real_sets import hardware
from benchmarks.real_tables import FACET_MEASURES, MEASURES, STAGES, markdown, summary
from r4t.__main__ import run as run_verb
from r4t.data.queries import Query, cluster_queries, write_queries
from r4t.fanout.few_shot import FewShot
from r4t.fanout.formats import Full
from r4t.fanout.language_model import SPEC_FILE, Pretrained
from r4t.fanout.query_writer import WRITTEN as WRITTEN_KIND
from r4t.fanout.query_writer import QueryWriter, more_queries
from r4t.grpo.examples import give_examples
from r4t.retriever import Retriever
from r4t.run import Run
from r4t.support.files import write_text

RUNS, RESULTS = Path("runs/real"), Path("benchmarks/results/real")
TEMPERATURE, EXAMPLES, SEED = 0.7, 8, 0
ROLLOUTS, WRITTEN, CONSENSUS = 40, 2000, 16  # of Soft-GRPO, queries a fold, draws
FOLDS, LEAST = 5, 2  # of a set; gold facets of a test query, where items have any
FACETS_ONLY = "{facet_coverage: 1.0, coverage: 0.0}"  # the reward of Soft-GRPO there; 0 is audited
RECORD = "trainings.json"  # in a run: the commands that have ended, so that a killed stage goes on
OWN_RUN = ("few-shot", "student-no-memory", "student-references")  # stages with a run of their own


@dataclass(frozen=True)
class RealSet:
    """A source with reference sets, and how it is asked."""

    name: str
    source: str  # below the data folder
    pool: int  # distinct items, about 3.5 % of the catalog
    query_label: str
    list_label: str
    item_label: str
    tokens: int = 256  # longest completion
    official: bool = False  # one fold, the source's split; test queries have several facets
    tested: int | None = None  # the first test queries of a fold; all by default

    @property
    def folds(self) -> list[str]:
        """Options of ``r4t queries`` that make the folds."""
        return ["--split", "official"] if self.official else ["--folds", str(FOLDS)]


SETS = {
    each.name: each
    for each in (
        RealSet("recipes", "recipes", 54, "Dish", "Ten ingredients", "Ingredient", tokens=96),
        RealSet("playlists", "playlists", 673, "Playlist", "Ten tracks", "Track"),
        RealSet(
            "clothing", "bundles/clothing", 150, "Outfit", "Ten garments", "Garment", tested=100
        ),
        RealSet(
            "electronic",
            "bundles/electronic",
            150,
            "Shopping idea",
            "Ten products",
            "Product",
            tested=100,
        ),
        RealSet("perspectrum", "perspectrum", 389, "Claim", "Ten views", "View", official=True),
    )
}


def data_commands(one: RealSet, data: Path, runs: Path) -> dict[str, list[str]]:
    """Return the commands that make catalog and folds."""
    catalog, source = str(runs / one.name / "catalog"), str(data / one.source)
    encoder = ["--encoder", str(MODELS / MINILM.target), "--max_length", "64", "--verbatim"]
    queries = runs / one.name / "queries"
    folds = ["--out", str(queries / "fold_0" if one.official else queries), *one.folds]
    return {
        "catalog": ["catalog", source, "--out", catalog, *encoder],
        "queries": ["queries", catalog, "--sets", source, *folds],
    }


def commands(
    one: RealSet, fold: int, runs: Path, lm: Path, rollouts: int
) -> dict[str, list[list[str]]]:
    """Return stage → the words of the commands that train it."""
    form = "--model.init_args.form.init_args.list_format.init_args"
    start = [f"{form}.query_label", one.query_label, f"{form}.list_label", one.list_label]
    start += ["--model.init_args.lm.init_args.path", str(lm)]
    pool = ["--model.init_args.retrieval.pool_size", str(one.pool)]
    tokens = ["--model.init_args.sampling.max_new_tokens", str(one.tokens)]
    reward = ["--model.init_args.reward.init_args.weights", FACETS_ONLY] if one.official else []
    steps = ["--trainer.max_steps", str(rollouts)]
    steps += ["--trainer.val_check_interval", str(max(1, rollouts // 2))]
    teachers, seed = "--model.init_args.teachers", ["--seed_everything", str(SEED)]
    targets = str(runs / run_name(one, fold, "student") / "targets")
    alone = ["--data.init_args.folder", targets]
    alone += ["--model.init_args.query_time.likely.memory", "0.0"]
    references = [teachers, "[references]", "--data.init_args.written", "false"]
    student = ["fit", "--config", "configs/real/4_accelerate.yaml"]

    def layers(config: str) -> list[str]:
        folders = ("toy", "wscr", "real")
        return [w for folder in folders for w in ("--config", f"configs/{folder}/{config}")]

    synthesize = ["synthesize", *layers("2_synthesize.yaml")]
    found = {
        "warm-start": [["fit", *layers("0_warm_start.yaml"), *tokens, *start]],
        "tuned": [["fit", *layers("1_tune.yaml"), *tokens, *steps, *reward]],
        "student": [synthesize, student],
        "student-no-memory": [[*student, *alone]],
        "diffusion": [["fit", *layers("3_distill.yaml")]],
        "student-references": [
            [*synthesize, *references],
            [*student, "--data.init_args.shares", "null"],
        ],
    }
    return {
        stage: [
            [*words, "--run", str(runs / run_name(one, fold, stage)), *seed, *pool]
            for words in each
        ]
        for stage, each in found.items()
    }


def run_name(one: RealSet, fold: int, stage: str) -> str:
    """Return the name of the run of a stage."""
    return f"{one.name}-fold{fold}" + (f"-{stage}" if stage in OWN_RUN else "")


def write_queries_of(one: RealSet, run: Run, lm: Path, count: int) -> None:
    """Let the language model write queries beside those of a fold, unless it has."""
    if (run.queries / f"{WRITTEN_KIND}.jsonl").is_file():
        return
    pretrained = Pretrained(str(lm), dtype="bfloat16").build([], Path())
    writer = QueryWriter(pretrained, one.query_label, one.item_label)
    training, others = run.read_queries("train"), run.read_queries("val") + run.read_queries("test")
    searcher = run.searcher()
    items = dict(zip(searcher.catalog.ids, searcher.catalog.texts))
    new, _ = more_queries(writer, training, others, items, searcher.encode, count, SEED)
    write_queries(run.queries, {WRITTEN_KIND: new})


def evaluate_words(one: RealSet, run: Path, methods: Sequence[str]) -> list[str]:
    """Return the words that measure some methods of a run on its test queries."""
    named = [method for method in methods if not method.endswith(" + consensus")]
    words = ["evaluate", str(run), "--methods", f"[{', '.join(map(repr, named))}]"]
    words += ["--pool_size", str(one.pool), "--temperature", str(TEMPERATURE), "--audit", "false"]
    words += ["--latency_batches", "[]", "--curves", "[]", "--across_runs", "0", "--plots", "false"]
    words += ["--weights", "{specific_coverage: 1.0}"]  # chooses the best of five
    words += ["--least_facets", str(LEAST)] if one.official else []
    words += ["--queries", str(one.tested)] if one.tested else []
    wanted = any(method.endswith(" + consensus") for method in methods)
    return [*words, "--consensus", str(CONSENSUS)] if wanted else words


def measure(one: RealSet, fold: int, stage: str, options: argparse.Namespace) -> None:
    """Make one stage of a fold and write its file, unless it exists."""
    path = options.results / f"{one.name}-fold{fold}-{stage}.json"
    if path.is_file():
        print(f"skipped: {path} exists")
        return
    begun, runs = time.perf_counter(), options.runs
    run = begin(one, fold, stage, options)
    words = [evaluate_words(one, run.folder, [*STAGES[stage]])]
    lm = language_model() if options.lm is None else options.lm
    if stage == "few-shot":
        write_few_shot(one, run, lm)
    if stage == "student":
        write_queries_of(one, run, lm, options.written)
    trained = commands(one, fold, runs, lm, options.rollouts).get(stage, [])
    words = [[*each, *options.more] for each in trained] + words
    minutes = (time.perf_counter() - begun) / 60
    minutes += sum(run_once(run, f"{stage} {n}", each) for n, each in enumerate(words[:-1]))
    begun = time.perf_counter()
    run_verb(words[-1])
    minutes += (time.perf_counter() - begun) / 60
    content = {
        "setting": f"{one.name}, fold {fold}, {stage}",
        "commands": [shown(each, runs, RUNS) for each in words],
        "hardware": hardware(),
        "models": [SMOLLM2.name, MINILM.name] if options.lm is None else [str(options.lm)],
        "minutes": round(minutes, 1),
        "methods": answers(run.folder, STAGES[stage]),
        "clusters": cluster_queries(tested(one, run)),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_text(path, dump(content))


def run_once(run: Run, key: str, words: list[str]) -> float:
    """Run a training command, unless the run's record says that it has ended; return its minutes.

    What was recorded after it rests on its output, and will run again too.
    """
    path = run.folder / RECORD
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if record.get(key, {}).get("command") != words:
        begun = time.perf_counter()
        run_verb(words)
        record = dict(takewhile(lambda entry: entry[0] != key, record.items()))
        record[key] = {"command": words, "minutes": (time.perf_counter() - begun) / 60}
        write_text(path, json.dumps(record, indent=1) + "\n")
    return float(record[key]["minutes"])


def begin(one: RealSet, fold: int, stage: str, options: argparse.Namespace) -> Run:
    """Return the run of a stage, with catalog and queries; few-shot has a run of its own."""
    shared = options.runs / one.name
    for step, words in data_commands(one, options.data, options.runs).items():
        if not (shared / step).is_dir():
            run_verb(words)
    own = options.runs / run_name(one, fold, stage)
    return Run.begin(own, shared / "catalog", shared / "queries" / f"fold_{fold}")


def write_few_shot(one: RealSet, run: Run, lm: Path) -> None:
    """Give the run a model of which only the prompt is its own: the rest are links."""
    lists = FewShot(one.query_label, one.list_label, drawn=EXAMPLES)
    form = Full(lists, 10)
    give_examples(form, run, run.searcher().catalog)
    folder = run.step("warm_start") / "model"
    folder.mkdir(parents=True, exist_ok=True)
    for file in lm.iterdir():
        if not (folder / file.name).exists() and file.name != SPEC_FILE:
            (folder / file.name).symlink_to(os.path.relpath(file, folder))
    spec = json.dumps({**form.spec(), "max_new_tokens": one.tokens}, indent=2)
    write_text(folder / SPEC_FILE, spec + "\n")


def tested(one: RealSet, run: Run) -> list[Query]:
    """Return the test queries that are measured."""
    found = run.searcher().searchable(run.read_queries("test"))[0]
    enough = [query for query in found if not one.official or len(query.facets) >= LEAST]
    return enough[: one.tested]


def answers(folder: Path, names: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    """Return method → measure → values of a run's last evaluation, by the names used here."""
    results = json.loads((folder / "results" / "results.json").read_text(encoding="utf-8"))
    return {
        names[method]: {
            m: [round(x, 5) for x in values[f"items/{m}"]]
            for m in (*MEASURES, *FACET_MEASURES)
            if f"items/{m}" in values
        }
        for method, values in results["values"].items()
        if method in names
    }


def write_sets(one: RealSet, fold: int, options: argparse.Namespace) -> None:
    """Write and print what the student of a fold answers to the queries of ``--show``."""
    retriever = Retriever.load(options.runs / run_name(one, fold, "student"), "student")
    answered = {
        query: [item.text for item in found.items]
        for query, found in zip(options.show, retriever.many(options.show))
    }
    path = options.results / f"sets-{one.name}-fold{fold}.json"
    write_text(path, json.dumps(answered, ensure_ascii=False, indent=1) + "\n")
    for query, texts in answered.items():
        print(f"{query}: {', '.join(texts)}")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    if options.lm is not None:
        options.runs, options.results = (
            folder / options.lm.name for folder in (options.runs, options.results)
        )
    if not options.table:
        for name in options.sets:
            for fold in [0] if SETS[name].official else options.folds:
                for stage in options.stages:
                    measure(SETS[name], fold, stage, options)
    for name in SETS:
        if files := sorted(options.results.glob(f"{name}-fold*-*.json")):
            tables = summary(files)
            write_text(options.results / f"{name}.json", json.dumps(tables, indent=1) + "\n")
            write_text(options.results / f"{name}.md", markdown(name, tables))
            print(markdown(name, tables))
    for name in options.sets if options.show else []:
        write_sets(SETS[name], options.folds[0], options)


def parser() -> argparse.ArgumentParser:
    """Return the options of this program."""
    found = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = found.add_argument
    add("--sets", nargs="+", choices=SETS, default=["recipes"])
    add("--folds", nargs="+", type=int, default=[*range(FOLDS)])
    add("--stages", nargs="+", choices=STAGES, default=[*STAGES])
    add("--data", type=Path, default=Path("../shared/data"))
    add("--runs", type=Path, default=RUNS)
    add("--results", type=Path, default=RESULTS)
    add("--lm", type=Path, help="another language model; runs and results go to its folder's name")
    add("--rollouts", type=int, default=ROLLOUTS, help="of Soft-GRPO")
    add("--written", type=int, default=WRITTEN, help="queries a fold")
    add("--show", nargs="+", default=[], metavar="QUERY", help="show the student's set for it")
    add("--table", action="store_true", help="only the tables of finished runs")
    more = "last: further words for the trainings"
    add("--more", nargs=argparse.REMAINDER, default=[], help=more)
    return found


if __name__ == "__main__":
    main()
