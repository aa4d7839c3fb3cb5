"""Every shipped YAML is parsed and built in its place: alone, or laid over the configs it fits."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from benchmarks.real_models import SETS
from r4t.__main__ import run as run_verb
from r4t.choice import Likely
from r4t.cli import lightning as verb
from r4t.credit import LeaveOneOut
from r4t.diffusion.exploration import ItemSampling
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.likelihood import LikelihoodStudent
from r4t.diffusion.network import SetTransformer
from r4t.diffusion.slots import SlotSet
from r4t.errors import InputError
from r4t.fanout.backend import Transformers
from r4t.fanout.few_shot import FewShot
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.fanout.teachers import ReferenceItems
from r4t.report.evaluation import Evaluation
from r4t.support.configs import configs_folder
from r4t.synthesis import ItemRows
from r4t.training.soft_grpo import SoftGRPO

CONFIGS = configs_folder()
VERBS = {
    "0_warm_start": "fit",
    "1_tune": "fit",
    "2_synthesize": "synthesize",
    "3_distill": "fit",
    "4_accelerate": "fit",
    "5_refine": "fit",
}
STEP_FOLDERS = {
    "0_warm_start": "warm_start",
    "1_tune": "tune",
    "2_synthesize": "targets",
    "3_distill": "distill",
    "4_accelerate": "accelerate",
    "5_refine": "refine",
}
OVERLAYS = sorted(path.name for path in (CONFIGS / "data").glob("*.yaml"))


def layers(step):
    """The stacks of configs that a step of the toy setting is run with; smoke.yaml runs end to end."""
    toy, wscr, judged = (f"{folder}/{step}.yaml" for folder in ("toy", "wscr", "shopper"))
    judged_too = [[toy, judged]] if (CONFIGS / judged).is_file() else []
    return [[toy], [toy, wscr], *judged_too, *([toy, wscr, f"data/{name}"] for name in OVERLAYS)]


REAL = ["0_warm_start", "1_tune", "2_synthesize", "3_distill"]  # with a pretrained model
REAL_STACKS = [
    (step, [f"{folder}/{step}.yaml" for folder in ("toy", "wscr", "real")]) for step in REAL
]
REAL_STACKS += [("4_accelerate", ["real/4_accelerate.yaml"])]
REAL_SETS = {"recipes": 54, "playlists": 673, "clothing": 150, "electronic": 150}  # pool sizes
REAL_SETS |= {"perspectrum": 389}
STACKS = [(step, stack) for step in VERBS for stack in layers(step)]
PAPER = [step for step in VERBS if step != "0_warm_start"]  # its models need no warm start
PAPER_STACKS = [
    (step, [f"paper/{step}.yaml", *more])
    for step in PAPER
    for more in (
        [],
        [f"paper/wscr/{step}.yaml"],
        [f"hardware/{'fsdp' if step == '1_tune' else 'ddp'}.yaml"],
    )
    if step != "5_refine" or "hardware" not in str(more)  # it needs float32
]
# A model of the hub stands for one that lies in the run.
OFFLINE = ("--model.init_args.lm.init_args.path", "warm_start/model")
# As the head of the config says: the published rollout on eight GPUs.
PER_GPU = ("--data.init_args.batch_size", "8")
ON_CPU = ("--trainer.accelerator", "cpu")
HARDWARE = [["lora"], ["fsdp"], ["lora", "fsdp"]]  # laid over the tuning step, with GPUs


@pytest.fixture
def place(small_run, tmp_path, monkeypatch):
    """Copies a run with fan-out models to where a config says that the run lies."""
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(["red shirt"], None)
    for step in ("warm_start", "tune"):
        lm.config.max_position_embeddings = 4096  # prompts are long in so few tokens
        FanoutModel(lm, tokenizer, Expand(), 8).save(small_run.step(step) / "model")
    network = SetTransformer(8, width=16, mlp_width=16, heads=2, layers=1)
    for step in ("distill", "accelerate"):
        DirectionGenerator(network).save(small_run.step(step) / "model")
    monkeypatch.chdir(tmp_path)

    def copy(stack):
        told = [yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8")) for name in stack]
        run = next(content["run"] for content in reversed(told) if "run" in content)
        shutil.copytree(small_run.folder, tmp_path / run)
        return tmp_path / run

    return copy


@pytest.fixture
def build(monkeypatch):
    """Parses and builds what a verb would run, and returns it instead of running it."""
    built = []
    monkeypatch.setattr(verb.StepCLI, "_run_subcommand", lambda self, name: built.append(self))

    def parse(step, stack, *options):
        words = [word for name in stack for word in ("--config", str(CONFIGS / name))]
        verb.run([VERBS[step], *words, *options])
        return built.pop()

    return parse


def leaves(content, prefix=""):
    """Dotted name → value of each setting, without class paths and lists of classes."""
    found = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= leaves(value, prefix if key == "init_args" else f"{prefix}{key}.")
        elif key != "class_path" and not isinstance(value, list):
            found[prefix + key] = value
    return found


def test_every_config_has_a_place():
    found = {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml")}
    placed = {name for _, stack in STACKS for name in stack}
    placed |= {f"hardware/{name}.yaml" for names in HARDWARE for name in names}
    placed |= {name for _, stack in REAL_STACKS for name in stack}
    placed |= {f"real/{name}.yaml" for name in (*REAL_SETS, "gpu")}
    placed |= {"hardware/ddp.yaml", *(name for _, stack in PAPER_STACKS for name in stack)}
    evaluate = {f"{folder}/6_evaluate.yaml" for folder in ("toy", "paper")}
    assert found == placed | evaluate | {"toy/smoke.yaml"}


@pytest.mark.parametrize("step, stack", STACKS, ids=["+".join(stack) for _, stack in STACKS])
def test_step(place, build, step, stack):
    folder = place(stack)
    cli = build(step, stack)
    assert type(cli.model).step == STEP_FOLDERS[step]
    assert cli.trainer.default_root_dir == str(
        (folder / STEP_FOLDERS[step]).relative_to(folder.parents[1])
    )
    assert (folder / "run.json").is_file()
    if step in ("0_warm_start", "1_tune"):
        (keeps,) = cli.trainer.checkpoint_callbacks
        last = Path(cli.trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        assert keeps.path(cli.trainer) == last
    # The last layer decides, down to each setting.
    last = yaml.safe_load((CONFIGS / stack[-1]).read_text(encoding="utf-8"))
    found = leaves(cli.config[VERBS[step]].as_dict())
    assert {name: found.get(name) for name in leaves(last)} == leaves(last)
    if any("wscr" in name for name in stack):  # coverage is the reward, and needs a pool
        assert found["model.reward.weights.coverage"] == 1.0
        assert cli.model.retrieval.pool_size == 150
    else:
        assert "model.reward.weights.coverage" not in found


@pytest.mark.parametrize("step, stack", REAL_STACKS, ids=[step for step, _ in REAL_STACKS])
def test_real(place, build, step, stack):
    place(stack)
    told = (CONFIGS / stack[-1]).read_text(encoding="utf-8")
    cli = build(step, stack, *(OFFLINE if step == "0_warm_start" else ()))
    found, last = leaves(cli.config[VERBS[step]].as_dict()), leaves(yaml.safe_load(told))
    path = last.pop("model.lm.path", None)
    assert {name: found.get(name) for name in last} == last
    assert path == ("HuggingFaceTB/SmolLM2-135M-Instruct" if step == "0_warm_start" else None)
    if step == "0_warm_start":
        form = cli.model.fanout.form
        assert isinstance(form.list_format, FewShot)
        assert isinstance(cli.model.teacher, ReferenceItems)
        assert (form.entry, form.set_size) == ("full", 10)
    elif step == "1_tune":
        assert isinstance(cli.model.fanout.form, Expand)  # what the model was saved with
        assert cli.model.fanout.backend == cli.model.sampling.backend
        assert cli.model.fanout.backend.dtype == "bfloat16"
    elif step == "2_synthesize":
        assert isinstance(cli.model.rows, ItemRows)
        assert [method.key for method in cli.model.teachers.methods] == ["references", "folm"]
        assert cli.model.reward.weights == {"diversity": 1.0}  # written queries have no references
    elif step == "3_distill":
        assert cli.datamodule.shares == {"references": 0.5}
    else:
        assert isinstance(cli.model, LikelihoodStudent)
        network = cli.model.generator.network
        assert (type(network), network.dim, network.set_size) == (SlotSet, 8, 30)
        assert cli.model.query_time.likely == Likely(0.05, 2.0, 0.5)


@pytest.mark.parametrize("step, stack", REAL_STACKS, ids=[step for step, _ in REAL_STACKS])
def test_each_real_set_and_a_gpu_are_laid_over_each_step(place, build, step, stack):
    offline = OFFLINE if step == "0_warm_start" else ()
    for name, pool in REAL_SETS.items():
        layered = [*stack, f"real/{name}.yaml"]
        place(layered)
        cli = build(step, [*layered, "real/gpu.yaml"], *offline, *ON_CPU)
        found = leaves(cli.config[VERBS[step]].as_dict())
        assert found["model.retrieval.pool_size"] == cli.model.retrieval.pool_size == pool
        assert (found["trainer.precision"], found["run"]) == ("bf16-mixed", f"runs/real/{name}")


def test_the_benchmark_has_the_pools_of_the_configs():
    assert {name: one.pool for name, one in SETS.items()} == REAL_SETS


@pytest.mark.parametrize("names", HARDWARE, ids="+".join)
def test_hardware(place, build, names):
    place(["toy/1_tune.yaml"])
    stack = ["toy/1_tune.yaml", *(f"hardware/{name}.yaml" for name in names)]
    cli = build("1_tune", stack, "--trainer.accelerator", "cpu")
    lm, shared = cli.model.fanout.lm, "fsdp" in names
    assert lm.model.gradient_checkpointing == ("lora" in names)
    assert lm.dtype == (torch.bfloat16 if "lora" in names else torch.float32)
    trained = [name for name, weight in lm.named_parameters() if weight.requires_grad]
    assert all(".lora_" in name for name in trained) == ("lora" in names)
    assert isinstance(cli.trainer.strategy, ModelParallelStrategy) == shared
    assert cli.trainer.precision == ("bf16-mixed" if shared else "32-true")
    last = yaml.safe_load((CONFIGS / stack[-1]).read_text(encoding="utf-8"))
    found = leaves(cli.config["fit"].as_dict())
    last["trainer"]["accelerator"] = "cpu"
    assert {name: found.get(name) for name in leaves(last)} == leaves(last)


@pytest.mark.parametrize("step, stack", PAPER_STACKS, ids=["+".join(s) for _, s in PAPER_STACKS])
def test_paper(place, build, step, stack):
    place([f"paper/{step}.yaml"])
    offline = OFFLINE if step == "1_tune" else ()
    shared = "hardware/fsdp.yaml" in stack
    cli = build(step, stack, *ON_CPU, *offline, *(PER_GPU if shared else ()))
    assert type(cli.model).step == STEP_FOLDERS[step]
    if step == "1_tune":
        tuner = cli.model
        per_gpu = cli.datamodule.batch_size * tuner.grpo.group_size
        assert per_gpu * cli.config["fit"].trainer.devices == 512
        assert f"# {' '.join(PER_GPU)}" in (CONFIGS / stack[0]).read_text().replace("#     ", "# ")
        assert (tuner.grpo.micro_batch, tuner.grpo.clip) == (64, 0.2)
        assert (tuner.grpo.kl_new_old, tuner.grpo.kl_old_new) == (0.05, 0.05)
        (group,) = tuner.build_optimizer(tuner.trained_parameters()).param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-7, (0.9, 0.95), 0.01)
    if step == "3_distill":
        generator = cli.model.generator
        assert sum(w.numel() for w in generator.parameters()) == pytest.approx(53.9e6, rel=0.02)
        assert generator.evaluations() == 512
        assert generator.schedule.sigma_max * generator.schedule.unit == pytest.approx(7.04)
    if step == "5_refine":
        assert isinstance(cli.model.credit, LeaveOneOut)
        assert cli.model.exploration == ItemSampling(0.03, nearest=1000)
        assert cli.model.grpo == SoftGRPO(group_size=16, updates=1)
        assert cli.model.max_loss == {"composite": 0.0, "vendi": 1.0}
        assert cli.trainer.precision == "32-true"
    if "wscr" in stack[-1]:
        assert cli.model.retrieval.pool_size == 5000
        assert cli.model.reward.weights["coverage"] == 1.0
    if "hardware" in stack[-1]:
        assert cli.config[VERBS[step]].trainer.devices == 8


@pytest.mark.parametrize("step", ["2_synthesize", "3_distill", "4_accelerate"])
def test_several_gpus(place, build, step):
    place([f"toy/{step}.yaml"])
    stack = [f"toy/{step}.yaml", "hardware/ddp.yaml"]
    cli = build(step, stack, *ON_CPU)
    assert isinstance(cli.trainer.strategy, DDPStrategy)
    assert (cli.trainer.world_size, cli.trainer.precision) == (8, "bf16-mixed")


def test_the_distilled_network_fits_the_other_steps(place, build):
    place(["toy/2_synthesize.yaml"])
    synthesizer = build("2_synthesize", ["toy/2_synthesize.yaml"]).model
    cli = build("3_distill", ["toy/3_distill.yaml"])
    generator = cli.model.generator
    assert generator.set_size == synthesizer.set_size
    # A width that no config gives is the catalog's, and the step's config.yaml has it.
    assert generator.dim == 8
    assert cli.config.fit.model.init_args.generator.init_args.network.init_args.dim == 8
    own = "--model.init_args.generator.init_args.network.init_args.dim"
    assert build("3_distill", ["toy/3_distill.yaml"], own, "12").model.generator.dim == 12


def test_the_gate_of_a_refinement_takes_a_number_or_one_for_each_measure(place, build, tmp_path):
    place(["toy/5_refine.yaml"])
    path = tmp_path / "mine.yaml"
    for limits in ("{composite: 0.5, vendi: 1.0}", "20"):
        path.write_text(f"model: {{init_args: {{max_loss: {limits}}}}}\n", encoding="utf-8")
        found = build("5_refine", ["toy/5_refine.yaml", path]).model.max_loss
        assert found == yaml.safe_load(limits)
    model = build("5_refine", ["toy/5_refine.yaml"], "--model.init_args.max_loss", "0.25").model
    assert model.max_loss == 0.25
    path.write_text("model: {init_args: {max_loss: {vendi: 1.0}}}\n", encoding="utf-8")
    with pytest.raises(
        InputError, match="for composite and vendi, or one number for both, but found"
    ):
        build("5_refine", ["toy/5_refine.yaml", path])


@pytest.mark.parametrize(
    "folder, overlay", [("toy", None), ("paper", None), *(("toy", o) for o in OVERLAYS)]
)
def test_evaluate(monkeypatch, folder, overlay):
    class Stop(Exception):
        pass

    def stop(evaluation, methods, console):
        seen.extend([evaluation, methods])
        raise Stop

    seen = []
    monkeypatch.setattr(Evaluation, "measure", stop)
    told = yaml.safe_load((CONFIGS / folder / "6_evaluate.yaml").read_text(encoding="utf-8"))
    words = ["--config", str(CONFIGS / folder / "6_evaluate.yaml")]
    if overlay is not None:
        told |= yaml.safe_load((CONFIGS / "data" / overlay).read_text(encoding="utf-8"))
        words += ["--config", str(CONFIGS / "data" / overlay)]
    with pytest.raises(Stop):
        run_verb(["evaluate", *words])
    found = vars(seen[0]) | vars(seen[1])
    assert {name: found[name] for name in told if name != "examples"} == {
        name: value for name, value in told.items() if name != "examples"
    }


@pytest.mark.parametrize(
    "content, said",
    [
        ("trainer: {max_step: 3}", r"found 'trainer.max_step' in .*mine.yaml.*mean 'max_steps'"),
        ("model: {init_args: {grpo: {grop_size: 3}}}", r"grop_size'.* mean 'group_size'"),
        ("data: {init_args: {batchsize: 3}}", r"setting of QueryData, .*mean 'batch_size'"),
        ("rum: runs/toy", r"found 'rum' in .* Did you mean 'run'"),
        (
            "model: {init_args: {grpo: {group_size: many}}}",
            r"type int for .*group_size, but found 'many'",
        ),
        (
            "model: {class_path: FanoutTunr}",
            r"Did you mean 'FanoutTuner'",
        ),
        ("model: {init_args: {grpo: {group_size: 1}}}", r"group_size of at least 2, .* found 1"),
        (
            "model: {init_args: {form: {class_path: r4t.fanout.formats.Full, "
            "init_args: {set_size: 0}}}}",
            r"set_size to be at least 1, but found 0",
        ),
    ],
)
def test_what_no_class_takes_is_refused_in_one_line(place, build, tmp_path, content, said):
    place(["toy/1_tune.yaml"])
    path = tmp_path / "mine.yaml"
    path.write_text(content + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        build("1_tune", ["toy/1_tune.yaml", path])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("step", ["1_tune", "2_synthesize"])
def test_a_server_that_writes_is_named_in_a_config(place, build, tmp_path, step):
    place([f"toy/{step}.yaml"])
    path = tmp_path / "server.yaml"
    server = "{class_path: r4t.fanout.vllm.VllmServer, init_args: {host: gpu7, port: 8001}}"
    setting = f"sampling: {{backend: {server}}}"
    path.write_text(f"model: {{init_args: {{{setting}}}}}\n", encoding="utf-8")
    model = build(step, [f"toy/{step}.yaml", path]).model
    owner = {"1_tune": "fanout", "2_synthesize": "folm"}[step]
    assert getattr(model, owner).backend.url == "http://gpu7:8001"
    model = build(step, [f"toy/{step}.yaml"]).model
    assert type(getattr(model, owner).backend) is Transformers


def test_evaluate_refuses_what_it_does_not_know():
    with pytest.raises(InputError, match=r"found '--bestof'. .* Did you mean '--best_of'"):
        run_verb(["evaluate", "runs/toy", "--bestof", "5"])
