"""Time of a fan-out: the language model against the diffusion retriever, batch 1 to 1024.

    OMP_NUM_THREADS=1 python -m benchmarks.latency --run runs/oar11   # a run's small models, CPU
    python -m benchmarks.latency --paper           # the paper's sizes, one GPU of 80 GB
    python -m benchmarks.latency --paper --small   # the same code at tiny size, CPU, seconds
    python -m benchmarks.latency --redraw FOLDER   # table, CSV and figure of an older latency.json

Both sides run on the same device in the same process and take turns, who is first changing from
round to round; encoding, fan-out and search are timed apart and together. A ratio is the median
over rounds of their two calls, with its 95 % bootstrap interval. What is compiled, recorded or
warmed up before is reported apart.

``--run`` times RUN/tune/model, RUN/distill/model, RUN/accelerate/model where there is one, every
``--model NAME=FOLDER``, and RUN/distill/model with other samplers. ``--paper`` builds Qwen3-4B and the
paper's network of 53.9M with random weights in bfloat16: weights do not change the time. See
docs/latency.md. Writes latency.json (every call), latency.csv and latency.png.

Not yet run on hardware: of --paper only --small has been run, on a CPU.
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
    mode.add_argument("--redraw", type=Path, help="Folder of a latency.json.")
    parser.add_argument("--batches", type=int, nargs="+", help="1 8 64 256 1024 by default.")
    parser.add_argument("--calls", type=int, default=15, help="Rounds at most.")
    parser.add_argument(
        "--budget", type=float, default=60.0, help="Seconds after which no further round begins."
    )
    parser.add_argument("--out", type=Path, help="Folder of what is written.")
    run = parser.add_argument_group("with --run")
    run.add_argument("--model", nargs="*", default=[], metavar="NAME=FOLDER", help="More models.")
    run.add_argument("--steps", type=int, nargs="*", default=[4, 8, 20], help="Of Multistep.")
    run.add_argument("--sde", type=int, help="Steps of the reverse SDE, e.g. 256; none by default.")
    run.add_argument("--threads", type=int, default=1)
    paper = parser.add_argument_group("with --paper")
    paper.add_argument("--small", action="store_true", help="Tiny sizes: does it run?")
    paper.add_argument("--writers", nargs="+", choices=WRITERS, default=list(WRITERS))
    paper.add_argument(
        "--add", action="store_true", help="Keep the batch sizes of the folder's latency.json."
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    told = build_parser().parse_args(arguments)
    command = "python -m benchmarks.latency " + " ".join(
        sys.argv[1:] if arguments is None else arguments
    )
    about: dict[str, Any] = {"command": command, "hardware": hardware()}
    if told.redraw:
        print(table(write(told.redraw, *read(told.redraw / "latency.json"))))
        return
    if told.run:
        time_run(told, about)
    else:
        from benchmarks.latency_paper import time_paper

        folder = told.out or RESULTS / ("small" if told.small else "paper")
        found = time_paper(
            folder, about, told.small, told.batches, told.writers, told.calls, told.budget, told.add
        )
        print(table(found))


def time_run(told: argparse.Namespace, about: dict[str, Any]) -> None:
    """Time the models of a run, print the table and write it."""
    from benchmarks.latency_run import VARIANT, measure

    torch.set_num_threads(told.threads)
    batches = told.batches or [1, 8, 64, 256, 1024]
    groups: list[Group] = measure(
        told.run, batches, told.model, told.steps, told.sde, told.calls, told.budget
    )
    about["hardware"] |= {"threads": told.threads, "load": os.getloadavg()[2]}
    found = write(told.out or RESULTS / "run", groups, {**about, "precision": VARIANT})
    print(f"{VARIANT}, {told.threads} threads\n\n{table(found)}")


if __name__ == "__main__":
    main()
