"""A verb whose parser is slow to build → its help on one screen, written by hand.

``--help-all`` prints what the parser itself has to say.
"""

WHOLE = "--help-all"
STEPS = {
    "fit": "Train one step of a run; its config says which: 0 warm start, 1 tune, 3 distill, 4 accelerate.",
    "validate": "Measure a step on the validation queries, without training it.",
    "test": "Run the test steps of a model of your own; r4t evaluate measures the shipped ones.",
    "predict": "Run the prediction steps of a model, as r4t synthesize does to write target sets.",
    "synthesize": "Write target sets (step 2). After a stop the same command goes on where it was.",
}
SYNTHESIS = "configs/toy/2_synthesize.yaml"
CONFIGS = {"test": "mine.yaml", "predict": SYNTHESIS, "synthesize": SYNTHESIS}
STEP = {
    "The run": {
        "--config FILE": "Config of the step. Each further one is laid over those before it.",
        "--run FOLDER": "Run folder, made if missing; the shipped configs say runs/toy.",
        "--catalog FOLDER": "Its catalog (RUN/catalog); fixed once the run has begun.",
        "--queries FOLDER": "Its queries (RUN/queries); fixed likewise.",
        "--seed_everything N": "Seed of everything random (0).",
        "--ckpt_path FILE": "Checkpoint to use; of a fit, where to resume: a .ckpt file, or last.",
    },
    "Settings: every key of a config is an option too, its parts joined by points": {
        "--model.init_args.KEY VALUE": "A setting of the model.",
        "--data.init_args.batch_size N": "Queries or target sets a step.",
        "--trainer.max_steps N": "Where a fit stops, in optimizer steps.",
        "--trainer.val_check_interval N": "Steps from one validation to the next.",
        "--trainer.accelerator NAME": "cpu, gpu or auto.",
        "--trainer.devices N": "How many of them.",
        "--trainer.precision NAME": "Such as bf16-mixed.",
        "--trainer.log_every_n_steps N": "Steps from one row of the log to the next.",
        "--trainer.limit_predict_batches N": "Batches to run; limit_val_batches and others likewise.",
        "--trainer.enable_progress_bar false": "Print no progress.",
    },
    "Configs": {
        "r4t init FOLDER": "Copies the shipped ones to edit: toy/ (a CPU, minutes), paper/, hardware/.",
        "--print_config": "Print what would run as a config, and exit; =comments explains each key.",
    },
    "More": {
        WHOLE: "Every option, as the parser lists them (long).",
        "--model.help CLASS": "Settings of a model; --data.help CLASS likewise.",
    },
}
EVALUATE = {
    "What to measure": {
        "RUN, --run FOLDER": "Run folder; one with only catalog/ and queries/ becomes a run.",
        "--config FILE": "Settings as a file, such as 5_evaluate.yaml.",
        "--split NAME": "test (default), val, train or all.",
        "--queries N": "The first N queries; all by default.",
        "--methods LIST": 'Names to keep, such as "[MMR, R4T-FOLM]"; all by default.',
        "--headroom": "Only how much tuning could gain at most; needs no model.",
        "--subqueries FILE": "Sub-queries written elsewhere, as JSONL, as one more method.",
    },
    "By what": {
        "--weights MAP": "Composite, {groundedness: 0.6, diversity: 0.2, alignment: 0.2} by default.",
        "--objectives MAP": "Objectives that need arguments: name → class_path and init_args.",
        "--audit true|false": "Whether all other installed objectives are scored too (true).",
        "--subtopic_field NAME": "Metadata column whose values are subtopics.",
    },
    "At what size": {
        "--set_size K": "Items a method returns (10).",
        "--pool_size P": "Distinct items for recall, hit and facet recall (150).",
        "--best_of N": "Samples of Best-of-N (5).",
        "--temperature T": "Of the language models (0.9).",
        "--across_runs N": "Draws for the paper's Vendi across runs (5); 0 for none.",
        "--curves LIST": "Trade-offs at which MMR is plotted; --dpp_curves LIST those of DPP.",
    },
    "How it runs": {
        "--batch_size N": "Queries a call (64).",
        "--index NAME": "torch (exact, default) or faiss.",
        "--latency_batches LIST": "Batch sizes to time ([1, 64]), each by --latency_calls N calls (3).",
    },
    "What is shown": {
        "--out FOLDER": "Folder of the tables (RUN/results).",
        "--plots true|false": "Whether to draw the figures (true).",
        "--examples N": "Example sets to print (0).",
        f"--print_config, {WHOLE}": "The settings as a file; every option, as the parser has it.",
    },
}
EXAMPLES = [
    "r4t evaluate runs/toy --config configs/toy/5_evaluate.yaml",
    'r4t evaluate runs/clothing --split all --methods "[No fan-out, MMR, DPP]"',
    "r4t evaluate runs/toy --headroom",
]


def brief_help(verb: str) -> str:
    """Return the help of a verb on one screen: at most 50 lines of at most 100 columns."""
    if verb == "evaluate":
        usage, sections, examples = "RUN [--config FILE] [--SETTING VALUE ...]", EVALUATE, EXAMPLES
        what = "Compare baselines and a run's models on held-out queries: tables, plots, every set."
    else:
        usage, sections = "--config FILE [--config FILE ...] [--SETTING VALUE ...]", STEP
        what = STEPS[verb]
        command = f"r4t {verb} --config {CONFIGS.get(verb, 'configs/toy/1_tune.yaml')}"
        examples = [f"{command} --run runs/toy", f"{command} --print_config > mine.yaml"]
    lines = [f"usage: r4t {verb} {usage}", "", what]
    for title, rows in sections.items():
        width = max(map(len, rows))
        shown = [row for row in rows.items() if verb != "synthesize" or "ckpt_path" not in row[0]]
        lines += ["", title, *(f"  {name:<{width}}  {text}" for name, text in shown)]
    return "\n".join([*lines, "", "Examples", *(f"  {line}" for line in examples)])
