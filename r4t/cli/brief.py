"""A verb whose whole help is long → its help on one screen, written by hand and imported at once.

The whole of it, as the parser tells it, comes with ``--help-all``.
"""

from collections.abc import Sequence

WHOLE = "--help-all"
USED = """The run
  --config FILE          Config of the step. More of them are laid over it, in their order.
  --run FOLDER           Run folder, made if missing; the shipped configs say runs/toy.
  --catalog FOLDER       Its catalog, at first RUN/catalog; then that which the run was begun with.
  --queries FOLDER       Its queries, likewise RUN/queries.
  --seed_everything N    Seed of all that is drawn (0).
"""
RESUMED = """  --ckpt_path last       Go on from the step's last checkpoint; or the path of a .ckpt file.
"""
CHECKPOINT = """  --ckpt_path FILE       Weights to use: the .ckpt file of a fit.
"""
SETTINGS = """
Settings: every key of a config is an option too, its parts joined by points
  --model.init_args.KEY VALUE          Of the model, such as grpo.group_size.
  --data.init_args.batch_size N        Queries or target sets a step.
"""
TRAINER = {
    "max_steps N": "Where to stop, in optimizer steps.",
    "val_check_interval N": "Steps from one validation to the next.",
    "accelerator NAME": "cpu, gpu or auto.",
    "devices N": "How many of them.",
    "precision NAME": "Such as bf16-mixed.",
    "log_every_n_steps N": "Steps from one row of the log to the next.",
    "limit_val_batches N": "Batches a validation.",
    "limit_test_batches N": "Batches to test.",
    "limit_predict_batches N": "Batches to run.",
    "enable_progress_bar false": "Print no progress.",
}
TRAINED = ("max_steps N", "val_check_interval N", "log_every_n_steps N")
CONFIGS = """
Configs
  r4t init FOLDER        Copies the shipped ones to edit: toy/ (a CPU, minutes), paper/, hardware/.
  --print_config         Print what would run as a file with comments, and exit; it loads again.
                         Defaults of the trainer are left out; --print_config=all has them too.

More
  --help-all             Every option, as the parser lists them (long).
  --model.help CLASS     Settings of a model; data, reward, callbacks likewise (--data.help CLASS).
"""
STEPS = {
    "fit": (
        "Train one step of a run. The config says which: 0 warm start, 1 tune, 3 distill, 4 accelerate.",
        [
            "r4t fit --config configs/toy/1_tune.yaml --run runs/toy",
            "r4t fit --config configs/toy/1_tune.yaml --run runs/toy --ckpt_path last",
            "r4t fit --config configs/toy/1_tune.yaml --config mine.yaml --trainer.max_steps 80",
            "r4t fit --config configs/toy/1_tune.yaml --print_config > mine.yaml",
        ],
    ),
    "validate": (
        "Measure a step on the validation queries, without training it.",
        [
            "r4t validate --config configs/toy/1_tune.yaml --run runs/toy",
            "r4t validate --config configs/toy/1_tune.yaml --ckpt_path "
            "runs/toy/tune/checkpoints/last.ckpt",
        ],
    ),
    "test": (
        "Call the test steps of a model of your own; the shipped ones are measured by r4t evaluate.",
        ["r4t test --config mine.yaml --run runs/toy"],
    ),
    "predict": (
        "Run the prediction steps of a model; r4t synthesize does so to write target sets.",
        ["r4t predict --config configs/toy/2_synthesize.yaml --run runs/toy"],
    ),
    "synthesize": (
        "Write target sets (step 2): sample the tuned model, score, keep the best. After a stop the "
        "same\ncommand goes on where it was.",
        [
            "r4t synthesize --config configs/toy/2_synthesize.yaml --run runs/toy",
            "r4t synthesize --config configs/toy/2_synthesize.yaml --model.init_args.samples 16",
        ],
    ),
}
EVALUATE = """usage: r4t evaluate RUN [--config FILE] [--SETTING VALUE ...]

Compare baselines and a run's models on held-out queries: tables, plots, every set.

What to measure
  RUN, --run FOLDER      Run folder; one with catalog/ and queries/ alone becomes a run.
  --config FILE          Settings as a file, such as 5_evaluate.yaml.
  --split NAME           test (default), val, train or all.
  --queries N            The first N queries; all by default.
  --methods LIST         Names to keep, such as "[MMR, R4T-FOLM]"; all by default.
  --headroom             Only how much tuning could gain at most; needs no model.
  --subqueries FILE      Sub-queries written elsewhere, as JSONL, as one more method.

By what
  --weights MAP          Composite, {groundedness: 0.6, diversity: 0.2, alignment: 0.2} by default.
  --objectives MAP       Objectives that need arguments: name → class_path and init_args.
  --audit true|false     Whether all other installed objectives are scored too (true).
  --subtopic_field NAME  Metadata column whose values are subtopics.

At what size
  --set_size K           Items a method returns (10).
  --pool_size P          Distinct items for recall, hit and facet recall (150).
  --best_of N            Samples of Best-of-N (5).
  --temperature T        Of the language models (0.9).
  --across_runs N        Draws for the paper's Vendi across runs (5); 0 for none.
  --curves LIST          Trade-offs at which MMR is plotted; --dpp_curves LIST those of DPP.

How it runs
  --batch_size N         Queries a call (64).
  --index NAME           torch (exact, default) or faiss.
  --latency_batches LIST Batch sizes to time ([1, 64]); --latency_calls N timed calls of each (3).

What is shown
  --out FOLDER           Folder of the tables (RUN/results).
  --plots true|false     Whether to draw the figures (true).
  --examples N           Example sets to print (0).

More: --print_config (the settings as a file with comments), --help-all
"""
EVALUATED = (
    "r4t evaluate runs/toy --config configs/toy/5_evaluate.yaml",
    'r4t evaluate runs/clothing --split all --methods "[No fan-out, MMR, DPP]"',
    "r4t evaluate runs/toy --headroom",
)


def examples(verb: str) -> Sequence[str]:
    """Return example commands of a verb that has a brief help, the plainest first."""
    return EVALUATED if verb == "evaluate" else STEPS[verb][1]


def brief_help(verb: str) -> str:
    """Return the help of a verb on one screen: at most 50 lines of at most 100 columns."""
    shown = "Examples\n" + "".join(f"  {line}\n" for line in examples(verb))
    if verb == "evaluate":
        return f"{EVALUATE}\n{shown}".rstrip()
    what, _ = STEPS[verb]
    usage = (
        f"usage: r4t {verb} --config FILE [--config FILE ...] [--run FOLDER] [--SETTING VALUE ...]"
    )
    more = {"fit": RESUMED, "synthesize": ""}.get(verb, CHECKPOINT)
    return (
        f"{usage}\n\n{what}\n\n{USED}{more}{SETTINGS}{_trainer(verb)}{CONFIGS}\n{shown}"
    ).rstrip()


def _trainer(verb: str) -> str:
    """The options of the trainer that a verb's users need."""
    lines = []
    for option, what in TRAINER.items():
        limit = {"validate": "val", "test": "test"}.get(verb, "predict")
        fits = f"limit_{limit}" in option if "limit_" in option else option not in TRAINED
        if fits if verb != "fit" else "limit_" not in option:
            lines.append(f"  --trainer.{option:<26} {what}\n")
    return "".join(lines)
