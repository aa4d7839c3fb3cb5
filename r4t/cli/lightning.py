"""``r4t fit|validate|test|predict|synthesize``: configs → a trained or applied step of a run."""

import importlib
from argparse import ArgumentError
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_warn

from r4t.callbacks import KeepLast
from r4t.cli.quiet import quiet
from r4t.errors import InputError
from r4t.run import Run
from r4t.synthesis import SynthesisTrainer

# Lines of a parser's report that tell of its search, not of what is wrong.
UNTOLD = (
    "Does not validate against",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Given value",
)


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

    def before_instantiate_classes(self) -> None:
        """Begin or check the run, and point the trainer to the step's folder."""
        config = self.config[self.subcommand]
        run = Run.begin(config.run, config.catalog, config.queries)
        module, _, name = config.model.class_path.rpartition(".")
        step = getattr(importlib.import_module(module), name).step
        folder = str(run.step(step))
        config.trainer.default_root_dir = folder
        if config.trainer.logger is None or config.trainer.logger is True:
            path = "lightning.pytorch.loggers.CSVLogger"
            config.trainer.logger = {
                "class_path": path,
                "init_args": {"save_dir": folder, "name": "logs"},
            }

    def before_fit(self) -> None:
        """Find what ``--ckpt_path`` resumes from; where nothing was kept yet, begin anew."""
        path = self._checkpoint()
        if path is not None and not path.exists():
            rank_zero_warn(f"There is no {path} to resume from yet: the step begins anew.")
            self.config_init[self.subcommand].ckpt_path = None

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


def run(arguments: list[str]) -> None:
    """Run one of the verbs that need a Trainer; ``arguments`` begin with it.

    Raises:
        InputError: A setting is unknown or does not fit, or what the step itself raises.
    """
    quiet()
    try:
        StepCLI(
            model_class=LightningModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=SynthesisTrainer,
            save_config_callback=SaveStepConfig,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False},
            args=arguments,
        )
    except ArgumentError as error:
        raise InputError(
            f"Every setting must be one that 'r4t {arguments[0]}' knows — {_what(str(error))}; "
            f"correct the config or option (r4t {arguments[0]} --help)."
        ) from None
    except ValueError as error:
        # jsonargparse wraps what a class raises when it is built from a config.
        found = _input_error(error)
        if found is None or found is error:
            raise
        raise found from found.__cause__


def _what(report: str) -> str:
    """Return what a parser's report of many lines says, without the lines on types it tried."""
    lines = [line.strip().removeprefix("- ") for line in report.splitlines()]
    return " ".join(line for line in lines if not line.startswith(UNTOLD)).rstrip(".")


def _input_error(error: BaseException | None) -> InputError | None:
    """Return the ``InputError`` that ``error`` is or came from, if there is one."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error
