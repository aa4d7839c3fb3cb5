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

import r4t.diffusion.data
import r4t.diffusion.module
import r4t.diffusion.student
import r4t.fanout.encoder_as_decoder
import r4t.fanout.lora
import r4t.fanout.vllm
import r4t.filters
import r4t.grpo.data
import r4t.grpo.module
import r4t.grpo.monitor.rollout_tables
import r4t.grpo.monitor.watchdog
import r4t.grpo.warm_start  # noqa: F401  (so that configs can name these classes bare)
from r4t.catalog import Catalog
from r4t.cli.brief import WHOLE, examples
from r4t.cli.mistakes import check_configs, sentence
from r4t.cli.printed_config import commented
from r4t.cli.quiet import quiet
from r4t.errors import InputError
from r4t.run import Run
from r4t.support.interruption import AtOnce, Interrupted
from r4t.synthesis import SynthesisTrainer
from r4t.time_left import TimeLeft
from r4t.training.callbacks import KeepLast

# What a model must define for a verb, and what to run instead where it does not.
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
        """Write what this step runs with."""
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        text = self.parser.dump(self.config, skip_none=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")


class StepCLI(LightningCLI):
    """LightningCLI for one step of a run.

    ``--run``, ``--catalog`` and ``--queries`` stand at the top; model and data get the run. The
    step's folder inside the run takes config, checkpoints and logs.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run and hand it on."""
        parser.add_argument("--run", type=str, default="runs/toy", help="Run folder.")
        parser.add_argument(
            "--catalog", type=str | None, default=None, help="Catalog folder (RUN/catalog)."
        )
        parser.add_argument(
            "--queries", type=str | None, default=None, help="Queries folder (RUN/queries)."
        )
        parser.link_arguments("run", "model.init_args.run")
        parser.link_arguments("run", "data.init_args.run")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Add ``synthesize``, a method of the trainer."""
        return {
            **LightningCLI.subcommands(),
            "synthesize": {"model", "dataloaders", "datamodule"},
        }

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and say in one sentence what does not fit.

        Raises:
            InputError: A setting is unknown, missing or of another type.
        """
        words = list(args) if isinstance(args, list) else sys.argv[1:]
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            verb = words[0]
            own = self._parser(verb)
            own.prog, own.epilog = f"r4t {verb}", "\n  ".join(["Examples:", *examples(verb)])
            raise InputError(sentence(str(error), own, words)) from None

    def before_instantiate_classes(self) -> None:
        """Begin or check the run, and point the trainer to the step's folder.

        Raises:
            InputError: The model is not one for this verb, or what ``Run.begin`` raises.
        """
        config = self.config[self.subcommand]
        step = self._step(config)
        run = Run.begin(config.run, config.catalog, config.queries)
        fill_dims(config, run)
        folder = str(run.step(step))
        config.trainer.default_root_dir = folder
        if config.trainer.logger is None or config.trainer.logger is True:
            path = "lightning.pytorch.loggers.CSVLogger"
            config.trainer.logger = {
                "class_path": path,
                "init_args": {"save_dir": folder, "name": "logs"},
            }

    def _step(self, config: Namespace) -> str:
        """Return the step of the config's model."""
        module, _, name = config.model.class_path.rpartition(".")
        model = getattr(importlib.import_module(module), name)
        verb = str(self.subcommand)
        hook, instead = NEEDED[verb]
        if getattr(model, hook, None) is getattr(LightningModule, hook):
            raise InputError(
                f"'r4t {verb}' needs a model with {hook} — found {config.model.class_path}, which has "
                f"none — use the config of another step, or run this one with '{instead}'."
            )
        if not hasattr(model, "step"):
            raise InputError(
                f"A model must name its step, the folder in the run that it writes to — found none in "
                f"{config.model.class_path} — give the class an attribute such as step = 'tune'."
            )
        return str(model.step)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Make the trainer, with a progress bar that knows the time left where none is named.

        Raises:
            InputError: It does not fit the machine, or its settings each other.
        """
        own = config.get("callbacks")
        named = own if isinstance(own, list) else [own]
        wanted = config.get("enable_progress_bar") is not False
        if wanted and not any(isinstance(found, ProgressBar) for found in named):
            callbacks = [*callbacks, TimeLeft()]
        try:
            return super()._instantiate_trainer(config, callbacks)
        except InputError:
            raise
        except (MisconfigurationException, ValueError) as error:
            raise InputError(
                f"The trainer's settings must fit this machine and each other — Lightning found: "
                f"{str(error).strip().rstrip('.')} — correct trainer in the config."
            ) from error

    def before_fit(self) -> None:
        """Find what ``--ckpt_path`` resumes from; where nothing was kept yet, begin anew."""
        path = self._checkpoint()
        if path is not None and not path.exists():
            rank_zero_warn(f"There is no {path} to resume from yet: the step begins anew.")
            self.config_init[self.subcommand].ckpt_path = None

    def before_validate(self) -> None:
        """Refuse a checkpoint that is not there."""
        self._checkpoint()

    def before_test(self) -> None:
        """Refuse a checkpoint that is not there."""
        self._checkpoint()

    def before_predict(self) -> None:
        """Refuse a checkpoint that is not there."""
        self._checkpoint()

    def _checkpoint(self) -> Path | None:
        """Return where ``KeepLast`` keeps what ``last`` asks for, and name it to the trainer.

        Raises:
            InputError: A checkpoint that is named is not there.
        """
        config = self.config_init[self.subcommand]
        keeps = [kept for kept in self.trainer.checkpoint_callbacks if isinstance(kept, KeepLast)]
        if config.ckpt_path == "last" and keeps:
            path = keeps[0].path(self.trainer)
            config.ckpt_path = str(path)
            return path
        named = config.ckpt_path is not None and Path(config.ckpt_path).suffix == ".ckpt"
        if named and not Path(config.ckpt_path).exists():
            raise InputError(
                f"ckpt_path must be a checkpoint or 'last', found no file at {config.ckpt_path}; "
                "correct it, or leave it out to begin anew."
            )
        return None

    def _parse_ckpt_path(self) -> None:
        """Do nothing: a checkpoint's saved arguments must not override the command line."""


class Unparsed(StepCLI):
    """The parsers of all verbs, and nothing is parsed or run."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Leave the arguments."""
        self.config = Namespace(subcommand=None)

    def _set_seed(self) -> None:
        """Leave the seed."""

    def before_instantiate_classes(self) -> None:
        """Begin nothing."""

    def instantiate_classes(self) -> None:
        """Make nothing."""


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


def run(arguments: list[str]) -> None:
    """Run one of the verbs that need a Trainer; ``arguments`` begin with it.

    Raises:
        InputError: A setting is unknown or does not fit, or what the step itself raises.
        Interrupted: The user stopped it; the sentence has the command that goes on.
    """
    quiet()
    check_configs(arguments)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with commented(arguments, f"r4t {arguments[0]}") as words:
            _run(["--help" if word == WHOLE else word for word in words])
    except Interrupted as stop:
        raise Interrupted(f"{stop}; go on with: {again(arguments, kept=True)}") from None
    except SystemExit as stop:  # as Lightning leaves after a Ctrl-C that nobody took down
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        kept = isinstance(stop.__context__, AtOnce)
        told = "from the last checkpoint" if kept and arguments[0] == "fit" else "again"
        raise Interrupted(f"stopped at once; {told}: {again(arguments, kept)}") from None
    except ValueError as error:
        # jsonargparse wraps what a class raises when it is built from a config.
        found = _input_error(error)
        if found is None or found is error:
            raise
        raise found from found.__cause__
    finally:
        if handler == signal.default_int_handler and signal.getsignal(signal.SIGINT) != handler:
            signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored


def fill_dims(config: Namespace, run: Run) -> None:
    """Give the networks of a generator the width of the run's catalog, where a config gives none."""
    keys = [
        key
        for key, value in config.items()
        if key.startswith("model.init_args.generator.") and key.endswith(".dim") and value is None
    ]
    if keys:
        width = Catalog.load(run.catalog).dim
        for key in keys:
            config[key] = width


def _run(arguments: list[str]) -> None:
    StepCLI(args=arguments, **SETTINGS)


def options(verb: str) -> dict[str, str]:
    """Return the options of a verb, but for help on classes, with the first line of their help."""
    found = {}
    for action in Unparsed(args=[], **SETTINGS)._parser(verb)._actions:
        for name in action.option_strings:
            if name.startswith("--") and not name.endswith(("+", ".help", "help", "print_shtab")):
                found[name] = (action.help or "").split("\n")[0]
    return found


def again(arguments: Sequence[str], kept: bool) -> str:
    """Return the command that goes on after a stop, as a shell takes it.

    Args:
        arguments: Of the program.
        kept: Whether a fit left a checkpoint of its own.

    Examples:
        >>> again(["fit", "--config", "my tune.yaml", "--ckpt_path", "a.ckpt"], kept=True)
        "r4t fit --config 'my tune.yaml' --ckpt_path last"
    """
    words = list(arguments)
    if kept and words[0] == "fit":
        while "--ckpt_path" in words:
            place = words.index("--ckpt_path")
            del words[place : place + 2]
        words = [word for word in words if not word.startswith("--ckpt_path=")]
        words += ["--ckpt_path", "last"]
    return shlex.join(["r4t", *words])


def _input_error(error: BaseException | None) -> InputError | None:
    """Return the ``InputError`` that ``error`` is or came from, if there is one."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error
