"""Time of a fan-out: language model against diffusion retriever, batch 1 to 1024.

    OMP_NUM_THREADS=1 python -m benchmarks.latency --run runs/oar11   # a run's small models, CPU
    python -m benchmarks.latency --paper           # the paper's sizes, one GPU of 80 GB
    python -m benchmarks.latency --paper --small   # the same code at tiny size, CPU, seconds
    python -m benchmarks.latency --redraw FOLDER   # table, CSV and figure of an older latency.json

Both sides alternate on the same device in the same process, in an order that changes from round to
round. Encoding, fan-out and search are timed separately and together. A ratio is the median over rounds
of the ratio within a round, with its 95 % bootstrap interval. Compilation, graph recording and warm-up
are reported separately.

``--run`` times RUN/tune/model, RUN/distill/model, RUN/accelerate/model if it exists, every
``--model NAME=FOLDER``, and RUN/distill/model with other samplers. ``--paper`` builds Qwen3-4B and the
paper's network of 53.9M parameters with random bfloat16 weights; weights do not change the time. See
docs/latency.md. Writes latency.json (every call), latency.csv and latency.png.

Of --paper, only --small has been run so far, on a CPU.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.decoding import WRITERS
from benchmarks.device import hardware
from benchmarks.latency_report import Group, read, table, write

RESULTS = Path(__file__).parent / "results/latency"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--run", type=Path, help="Run folder with tune/model and distill/model.")
    mode.add_argument("--paper", action="store_true", help="The paper's sizes, random weights.")
    mode.add_argument("--redraw", type=Path, help="Folder with a latency.json.")
    parser.add_argument("--batches", type=int, nargs="+", help="Batch sizes (1 8 64 256 1024).")
    parser.add_argument("--calls", type=int, default=15, help="Maximum number of rounds.")
    parser.add_argument(
        "--budget", type=float, default=60.0, help="Seconds after which no further round starts."
    )
    parser.add_argument("--out", type=Path, help="Output folder.")
    run = parser.add_argument_group("with --run")
    run.add_argument("--model", nargs="*", default=[], metavar="NAME=FOLDER", help="More models.")
    run.add_argument("--steps", type=int, nargs="*", default=[4, 8, 20], help="Multistep's steps.")
    run.add_argument(
        "--sde", type=int, help="Steps of the reverse SDE, e.g. 256; not timed by default."
    )
    run.add_argument("--threads", type=int, default=1)
    paper = parser.add_argument_group("with --paper")
    paper.add_argument("--small", action="store_true", help="Tiny sizes, to test the code.")
    paper.add_argument("--writers", nargs="+", choices=WRITERS, default=list(WRITERS))
    paper.add_argument(
        "--add", action="store_true", help="Keep the batch sizes of the folder's latency.json."
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = build_parser().parse_args(arguments)
    command = "python -m benchmarks.latency " + " ".join(
        sys.argv[1:] if arguments is None else arguments
    )
    about: dict[str, Any] = {"command": command, "hardware": hardware()}
    if options.redraw:
        print(table(write(options.redraw, *read(options.redraw / "latency.json"))))
        return
    if options.run:
        time_run(options, about)
    else:
        from benchmarks.latency_paper import time_paper

        folder = options.out or RESULTS / ("small" if options.small else "paper")
        limits = (options.calls, options.budget, options.add)
        rows = time_paper(folder, about, options.small, options.batches, options.writers, *limits)
        print(table(rows))


def time_run(options: argparse.Namespace, about: dict[str, Any]) -> None:
    """Time the models of a run; print and write the table."""
    from benchmarks.latency_run import VARIANT, measure

    torch.set_num_threads(options.threads)
    batches = options.batches or [1, 8, 64, 256, 1024]
    models = (options.model, options.steps, options.sde)
    groups: list[Group] = measure(options.run, batches, *models, options.calls, options.budget)
    about["hardware"] |= {"threads": options.threads, "load": os.getloadavg()[2]}
    rows = write(options.out or RESULTS / "run", groups, {**about, "precision": VARIANT})
    print(f"{VARIANT}, {options.threads} threads\n\n{table(rows)}")


if __name__ == "__main__":
    main()
