"""``r4t fit|validate|test|predict|synthesize``: configs → a trained or applied step of a run."""

import importlib
import shlex
import signal
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import r4t.diffusion
import r4t.fanout
import r4t.grpo
from r4t.catalog import Catalog
from r4t.cli.arguments import HELP_ALL
from r4t.cli.mistakes import explain, refuse_empty
from r4t.cli.quiet import quiet
from r4t.errors import InputError
from r4t.run import Run
from r4t.support.interruption import AtOnce, Interrupted
from r4t.synthesis import SynthesisTrainer
from r4t.training.callbacks import KeepLast
from r4t.training.step_bar import StepBar

# Configs name classes bare: jsonargparse finds those that are imported.
for package in (r4t.diffusion, r4t.fanout, r4t.grpo):
    for name in package.__all__:
        getattr(package, name)
# What a model must define for a verb, and which verb to run instead if it does not.
NETWORKS = ("model.init_args.generator.", "model.init_args.network.")  # where networks are
NEEDED = {
    "fit": ("training_step", "r4t synthesize"),
    "validate": ("validation_step", "r4t evaluate"),
    "test": ("test_step", "r4t evaluate"),
    "predict": ("predict_step", "r4t fit"),
    "synthesize": ("predict_step", "r4t fit"),
}


class SaveStepConfig(SaveConfigCallback):
    """Writes ``config.yaml`` into the step's folder, on rank zero."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        super().__init__(parser, config, overwrite=True, save_to_log_dir=False)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the settings of this step."""
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        text = self.parser.dump(self.config, skip_none=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")


class StepCLI(LightningCLI):
    """LightningCLI for one step of a run, whose folder holds its config, checkpoints and logs."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run, and link model and data to it."""
        parser.add_argument("--run", type=str, default="runs/toy", help="Run folder.")
        for name in ("catalog", "queries"):
            what = f"{name.capitalize()} folder (RUN/{name})."
            parser.add_argument(f"--{name}", type=str | None, default=None, help=what)
        parser.link_arguments("run", "model.init_args.run")
        parser.link_arguments("run", "data.init_args.run")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Add ``synthesize``, a method of the trainer."""
        return LightningCLI.subcommands() | {"synthesize": {"model", "dataloaders", "datamodule"}}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse.

        Raises:
            InputError: If there is no config, or an option, a config or a value in it is wrong.
            ArgumentError: If the parser refuses anything else.
        """
        verb, *words = args if isinstance(args, list) else sys.argv[1:]
        verb_parser = self._parser(verb)
        verb_parser.prog = f"r4t {verb}"
        try:
            super().parse_arguments(parser, args)
            refuse_empty(verb_parser, words)
        except (ArgumentError, UnicodeDecodeError):
            explain(verb_parser, words)
            if not any(word.startswith(("-c", "--config")) for word in words):
                raise InputError(
                    expected=f"the config of a step for 'r4t {verb}'",
                    found="none",
                    remedy="Add one, such as --config configs/toy/1_tune.yaml.",
                ) from None
            raise

    def before_instantiate_classes(self) -> None:
        """Begin or check the run, and point the trainer to the step's folder.

        Raises:
            InputError: If the model does not fit the verb, or ``Run.begin`` raises it.
        """
        config = self.config[self.subcommand]
        step = self._step(config.model.class_path)
        run = Run.begin(config.run, config.catalog, config.queries)
        fill_dims(config, run)
        folder = str(run.step(step))
        config.trainer.default_root_dir = folder
        if config.trainer.logger is None or config.trainer.logger is True:
            arguments = {"save_dir": folder, "name": "logs"}
            path = "lightning.pytorch.loggers.CSVLogger"
            config.trainer.logger = {"class_path": path, "init_args": arguments}

    def _step(self, path: str) -> str:
        """Return the step of the config's model."""
        module, _, name = path.rpartition(".")
        model = getattr(importlib.import_module(module), name)
        hook, instead = NEEDED[str(self.subcommand)]
        if getattr(model, hook, None) is getattr(LightningModule, hook):
            raise InputError(
                expected=f"a model with {hook} for 'r4t {self.subcommand}'",
                found=f"{path} without one",
                remedy=f"Use the config of another step, or run this one with '{instead}'.",
            )
        if not hasattr(model, "step"):
            raise InputError(
                expected="a model that names its step, its folder in the run",
                found=f"no step in {path}",
                remedy="Give the class an attribute such as step = 'tune'.",
            )
        return str(model.step)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Return the trainer, with ``StepBar`` unless the config names or disables the bar.

        Raises:
            InputError: If its settings do not fit the machine or each other.
        """
        chosen = config.get("callbacks")
        chosen = chosen if isinstance(chosen, list) else [chosen]
        if not any(isinstance(callback, ProgressBar) for callback in chosen):
            if config.get("enable_progress_bar") is not False:
                callbacks = [*callbacks, StepBar()]
            config["enable_progress_bar"] = False
        try:
            return super()._instantiate_trainer(config, callbacks)
        except InputError:
            raise
        except (MisconfigurationException, ValueError) as error:
            raise InputError(
                expected="trainer settings that fit this machine and each other",
                found=f"an error of Lightning: {str(error).strip().rstrip('.')}",
                remedy="Correct 'trainer' in the config.",
            ) from error

    def before_fit(self) -> None:
        """Resolve ``--ckpt_path last``; start from scratch if there is no checkpoint yet."""
        path = self.check_checkpoint()
        if path is not None and not path.exists():
            rank_zero_warn(f"There is no {path} to resume from yet: the step starts from scratch.")
            self.config_init[self.subcommand].ckpt_path = None

    def check_checkpoint(self) -> Path | None:
        """Point the trainer to the checkpoint that ``last`` means, and return its path, if asked for.

        Raises:
            InputError: If ``--ckpt_path`` names a file that does not exist.
        """
        config = self.config_init[self.subcommand]
        keepers = [c for c in self.trainer.checkpoint_callbacks if isinstance(c, KeepLast)]
        if config.ckpt_path == "last" and keepers:
            path = keepers[0].path(self.trainer)
            config.ckpt_path = str(path)
            return path
        path = Path(config.ckpt_path if config.ckpt_path is not None else "")
        if path.suffix == ".ckpt" and not path.exists():
            raise InputError(
                expected="a checkpoint, or 'last', as ckpt_path",
                found=f"no file at {path}",
                remedy="Correct the path, or leave it out to start from scratch.",
            )
        return None

    before_validate = before_test = before_predict = check_checkpoint

    def _parse_ckpt_path(self) -> None:
        """Do nothing: a checkpoint's saved arguments must not override the command line."""


class Parsers(StepCLI):
    """The parsers of all verbs; nothing is parsed or run."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse nothing."""
        self.config = Namespace(subcommand=None)

    def before_instantiate_classes(self) -> None:
        """Do nothing."""

    instantiate_classes = _set_seed = before_instantiate_classes


SETTINGS: dict[str, Any] = {
    "model_class": LightningModule,
    "datamodule_class": LightningDataModule,
    "subclass_mode_model": True,
    "subclass_mode_data": True,
    "trainer_class": SynthesisTrainer,
    "save_config_callback": SaveStepConfig,
    "seed_everything_default": 0,
    "parser_kwargs": {"exit_on_error": False, "allow_abbrev": False},
}


def parser(verb: str) -> LightningArgumentParser:
    """Return the parser of one of the verbs."""
    return Parsers(args=[], **SETTINGS)._parser(verb)


def run(arguments: list[str]) -> None:
    """Run one of the verbs that need a Trainer; ``arguments`` begin with it.

    Raises:
        InputError: If a setting is unknown or does not fit, or the step itself raises it.
        Interrupted: If the user stops it; the message has the command that resumes.
    """
    quiet()
    handler = signal.getsignal(signal.SIGINT)
    words = ["--help" if word == HELP_ALL else word for word in arguments]
    try:
        StepCLI(args=words, **SETTINGS)
    except Interrupted as stop:
        raise Interrupted(f"{stop}; resume with: {resuming(arguments)}") from None
    except SystemExit as stop:  # as Lightning leaves after a Ctrl-C that no callback handled
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        start, command = "start again", shlex.join(["r4t", *arguments])
        if isinstance(stop.__context__, AtOnce) and arguments[0] == "fit":
            start, command = "resume from the last checkpoint", resuming(arguments)
        raise Interrupted(f"stopped at once; {start} with: {command}") from None
    except ValueError as error:
        # jsonargparse wraps what a class raises when it is built from a config.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        if cause is None or cause is error:
            raise
        raise cause from cause.__cause__
    finally:
        if handler == signal.default_int_handler and signal.getsignal(signal.SIGINT) != handler:
            signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored


def fill_dims(config: Namespace, run: Run) -> None:
    """Give a generator's networks the width of the run's catalog, unless the config sets it."""
    for key, value in list(config.items()):
        if key.startswith(NETWORKS) and key.endswith(".dim") and value is None:
            config[key] = Catalog.load(run.catalog).dim


def resuming(arguments: Sequence[str]) -> str:
    """Return the command that resumes after a stop.

    Examples:
        >>> resuming(["fit", "--config", "my tune.yaml"])
        "r4t fit --config 'my tune.yaml' --ckpt_path last"
    """
    last = ["--ckpt_path", "last"]
    more = last if arguments[0] == "fit" and [*arguments[-2:]] != last else []
    return shlex.join(["r4t", *arguments, *more])
