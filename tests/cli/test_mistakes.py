"""The likeliest mistakes at each verb: one message that names the wrong word and the nearest right one.

Those of data, objectives and models are in ``test_bad_input``; here are those of the command itself.
What jsonargparse says is matched by the wrong word alone.
"""

import json
import re
import shlex

import pytest
import yaml

import r4t.cli.lightning  # noqa: F401  (its logger would keep the captured stderr of one test)
from r4t.__main__ import VERBS
from r4t.support.configs import configs_folder

TUNE, SYNTHESIZE = "--config configs/toy/1_tune.yaml", "--config configs/toy/2_synthesize.yaml"
MISTAKES = {
    "catalog": {
        "": r"source, out",
        "items.jsonl": r"\bout\b",
        "nope.jsonl --out c": r"nothing at nope.jsonl",
        "names.csv --out c": r"no id among .* of names.csv",
        "items.jsonl --out run/catalog --dim 2": r"run/catalog.* add --overwrite",
        "items.jsonl --out c --dim 128": r"found .*128 for 3 texts",
        "items.jsonl --out c --collections maen": r"'maen' .*'mean'",
        "latin.csv --out c": r"byte 0xe9.* latin.csv",
        "semi.csv --out c": r"';' in the header 'id;text' of semi.csv",
        "bad.parquet --out c": r"bad.parquet",
        "items.jsonl --dim 1 --out taken/c": r"found 'File exists' at taken\. Name another path",
        "items.jsonl --out c --dmi 2": r"setting of 'r4t catalog', but found '--dmi'.* mean '--dim'\?$",
    },
    "queries": {
        "": r"catalog, out",
        "nope --out q": r"no catalog.json in nope",
        "items.jsonl --out q": r"no catalog.json in items.jsonl",
        "run/catalog --out run/queries": r"test.jsonl, .* in run/queries.* add --overwrite",
        "run/catalog --out taken": r"found 'File exists' at taken",
        "run/catalog --out q --count few": r"type int for count, but found 'few'",
        "run/catalog --out q --sets nope": r"nothing at nope",
        "run/catalog --out q --endpoint http://x/v1": r"--model with --endpoint.* Add --model",
        "run/catalog --out q --wardrobe aor": r"'aor' .*'oar', 'wscr'",
    },
    "fit": {
        "": r"the config of a step for 'r4t fit', but found none\. Add one, such as --config configs/",
        "--config configs/toy/1_tun.yaml": r"none at configs/toy/1_tun.yaml\. .*'r4t init FOLDER'.* mean "
        r"'configs/toy/1_tune.yaml'\?$",
        "configs/toy/1_tune.yaml": r"found none\. Add one, such as --config",
        f"{TUNE} --run new": r"no catalog.json in new/catalog",
        f"{TUNE} --run run": r"no warm_start/model in run.* r4t fit --config configs/toy/0_warm_start",
        "--config latin.yaml": r"byte 0xe9.* latin.yaml",
        f"{TUNE} --run taken": r"no catalog.json in taken/catalog",
        f"{SYNTHESIZE} --run run": r"training_step for 'r4t fit', but found r4t.synthesis.Synthesizer .* "
        r"with 'r4t synthesize'",
        "--config configs/toy/6_evaluate.yaml": r"'\w+' in configs/toy/6_evaluate.yaml\. .* the verb it was",
        f"{TUNE} --rnu x": r"found '--rnu'\. .* Did you mean '--run'\?$",
        f"{TUNE} --rnu=x": r"found '--rnu'\. .* Did you mean '--run'\?$",
        f"{TUNE} runs/toy": r"runs/toy",
        "--config configs/toy/0_warm_start.yaml --run run --trainer.accelerator cup": r"trainer settings "
        r"that fit .* error of Lightning: .*cup.* Correct 'trainer' in the config",
    },
    "validate": {
        "": r"the config of a step for 'r4t validate', but found none",
        f"{SYNTHESIZE} --run run": r"a model with validation_step",
        "--config configs/toy/0_warm_start.yaml --run run --ckpt_path no.ckpt": r"a checkpoint, or 'last'"
        r".* found no file at no.ckpt\.",
        f"{TUNE} --data.init_args.batch_size hot": r"type int for data.init_args.batch_size, but found "
        r"'hot'",
        f"{TUNE} --run new": r"no catalog.json in new/catalog",
    },
    "test": {
        "": r"the config of a step for 'r4t test', but found none",
        f"{TUNE} --run run": r"test_step .* found r4t.grpo.FanoutTuner .* with 'r4t evaluate'",
        "--config nope.yaml": r"a YAML file after --config, but found none at nope.yaml",
        "--config configs/toy/6_evaluate.yaml": r"in configs/toy/6_evaluate.yaml",
        "--config": r"--config",
    },
    "predict": {
        "": r"the config of a step for 'r4t predict', but found none",
        f"{TUNE} --run run": r"a model with predict_step .* with 'r4t fit'",
        f"{SYNTHESIZE} --run new": r"no catalog.json in new/catalog",
        f"{SYNTHESIZE} --trainer.devices": r"--trainer.devices",
        f"{SYNTHESIZE} --sead 3": r"found '--sead'",
    },
    "synthesize": {
        "": r"the config of a step for 'r4t synthesize', but found none",
        f"{TUNE} --run run": r"predict_step .* found r4t.grpo.FanoutTuner .* with 'r4t fit'",
        f"{SYNTHESIZE} --run run": r"fanout.json",
        f"{SYNTHESIZE} --model.init_args.sampling.smaples 8": r"a setting of 'sampling' in Synthesizer, "
        r"but found '--model.init_args.sampling.smaples'\. .* Did you mean 'samples'\?$",
        f"{SYNTHESIZE} --model.init_args.samples 8": r"a setting of Synthesizer, but found "
        r"'--model.init_args.samples'\. .* Did you mean 'sampling.samples'\?$",
        f"{SYNTHESIZE} --run run --model.init_args.sampling.samples 0": r"samples.* found (samples=)?0",
    },
    "evaluate": {
        "nope": r"run.json.* nope",
        "run --split tset": r"tset",
        "run --methods '[MRR]'": r"'MRR'\. .* Did you mean 'mmr'\?$",
        "run --methods MMR": r"list\[str\].* for methods, but found 'MMR'",
        "run --weights '{diversty: 1.0}'": r"'diversty'.* mean 'diversity'\?$",
        TUNE: r"'\w+' in configs/toy/1_tune.yaml\. .* use the file with the verb",
        "run --wieghts '{}'": r"a setting of 'r4t evaluate', .*'--wieghts'\. .* mean '--weights'\?$",
        "--config typo.yaml": r"a setting of 'r4t evaluate', but found 'pool_sise' in typo.yaml\. .* mean "
        r"'pool_size'\?$",
        "run --plots maybe": r"type bool for plots, but found 'maybe'",
    },
    "retrieve": {
        "run": r"query",
        "run bohemian festival style": r"festival style",
        "nope 'red linen'": r"run.json.* nope",
        "run 'red linen'": r"no model in distill/model.* r4t fit .*/3_distill.yaml --run run",
        "run 'red linen' --with studnet": r"'studnet'.* mean 'student'\?$",
        "run 'red linen' --siez 3": r"found '--siez'\. .* Did you mean '--size'\?$",
        "run 'red linen' --size ten": r"type int for size, but found 'ten'",
    },
    "compare": {
        "": r"folder",
        "run": r"query",
        "nope 'red linen'": r"run.json.* nope",
        "run 'red linen' --with foml": r"'foml'.* Did you mean 'folm'\?$",
        "run --queries nope.txt": r"no file at nope.txt",
        "run 'red linen' --fields nuon": r"nuon.* Did you mean 'noun'\?$",
    },
    "report": {
        "": r"runs",
        "run": r"results.json, but found no readable file in run",
        "nope": r"results.json, but found no readable file in nope",
        "run --compare A": r"--compare",
        "run --otu x": r"found '--otu'\. .* Did you mean '--out'\?$",
    },
    "objectives": {
        "diversty": r"'diversty'.* Installed: .* mean 'diversity'\?$",
        "Diversity": r"'Diversity'.* Did you mean 'diversity'\?$",
        "diversity alignment": r"alignment",
        "--jsno": r"found '--jsno'\. .* Did you mean '--json'\?$",
        "--json=yes": r"--json: .*'yes'",
    },
    "new-objective": {
        "": r"name",
        "PriceSpread": r"'PriceSpread'",
        "diversity": r"'diversity'.* r4t_objectives",
        "price spread": r"spread",
        "json": r"'json'",
        "thrift --out taken": r"found 'Not a directory' at taken/thrift\. Name another path",
        "thrift --otu x": r"found '--otu'\. .* Did you mean '--out'\?$",
    },
    "init": {
        "": r"folder",
        ".": r"a folder without configs .* found the file configs/.*\. Choose another folder, or move",
        "my project": r"project",
        "--folder mine": r"folder",
        "items.jsonl": r"found the file items.jsonl",
    },
    "quickstart": {
        "--task wcsr": r"'wcsr' .*'wscr'",
        "--source nope --run x": r"nothing at nope",
        "--overlay nope.yaml": r"as --overlay, but found no file at nope.yaml",
        "--run run": r"run to keep its catalog, .* Name another folder with --run",
        "--run taken": r"found 'File exists' at taken",
        "--seed one": r"type int for seed, but found 'one'",
        "runs/mine": r"runs/mine",
    },
    "completion": {
        "": r"shell",
        "bsh": r"'bsh' .*'bash'",
        "powershell": r"'powershell' .*'bash', 'zsh'",
        "bash zsh": r"zsh",
        "--shell bash": r"shell",
    },
}


@pytest.fixture
def project(small_run, tmp_path, monkeypatch):
    """A folder as a newcomer has it: configs, a run that was begun, files of items."""
    (tmp_path / "configs").symlink_to(configs_folder())
    rows = [{"id": word, "text": f"{word} hat"} for word in ("red", "blue", "tall")]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "names.csv").write_text("name,text\na,red hat\n")
    (tmp_path / "latin.csv").write_bytes("id,text\n1,café table\n".encode("latin-1"))
    (tmp_path / "semi.csv").write_text("id;text\n1;red hat\n")
    (tmp_path / "bad.parquet").write_text("nothing of the kind")
    (tmp_path / "latin.yaml").write_bytes("# café\nrun: run\n".encode("latin-1"))
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "typo.yaml").write_text("run: run\npool_sise: 20\n")
    monkeypatch.chdir(tmp_path)


def test_each_verb_has_five():
    assert {
        verb: len(MISTAKES.get(verb, ())) for verb in VERBS if len(MISTAKES.get(verb, ())) < 5
    } == {}


@pytest.mark.parametrize(
    "verb, arguments, pattern",
    [(v, a, s) for v, table in MISTAKES.items() for a, s in table.items()],
)
def test_a_mistake_gives_one_message_that_names_the_wrong_word(
    program, project, verb, arguments, pattern
):
    code, _, err = program(verb, *shlex.split(arguments))
    assert code == 2, err
    assert "Traceback" not in err
    messages = [line for line in err.splitlines() if line.startswith(("r4t: ", f"r4t {verb}: "))]
    assert err.splitlines()[-1:] == messages  # one line, after whatever Lightning logs
    assert re.search(pattern, messages[0]), messages[0]


INIT = "init_args"
WRONG_WORDS = [
    (
        {"trainer": {"max_step": 3}},
        r"a setting of 'trainer' in 'r4t fit', but found 'trainer.max_step' in x.yaml\. .* mean "
        r"'max_steps'\?$",
    ),
    ({"trainner": {"max_steps": 3}}, r"'trainner' in x.yaml\. .* Did you mean 'trainer'\?$"),
    (
        {"data": {INIT: {"batch_siez": 1}}},
        r"a setting of QueryData, but found 'data.init_args.batch_siez' in x.yaml\. Known: .*"
        r"val_queries.* Did you mean 'batch_size'\?$",
    ),
    (
        {"model": {INIT: {"grpo": {"grop_size": 3}}}},
        r"a setting of 'grpo' in FanoutTuner, but found 'model.init_args.grpo.grop_size' in x.yaml\. "
        r"Known: clip, group_size, .* Did you mean 'group_size'\?$",
    ),
    (
        {"model": {INIT: {"grpo": {"grop_size": {}}}}},
        r"'grpo' in FanoutTuner, but found 'model.init_args.grpo.grop_size' in x.yaml\. .*'group_size'\?$",
    ),
    (
        {"model": {INIT: {"retreival": {}}}},
        r"a setting of FanoutTuner, but found 'model.init_args.retreival' in x.yaml\. Known: .* Did you "
        r"mean 'retrieval'\?$",
    ),
    (
        {"model": {INIT: {"retreival": {"cached": {}}}}},
        r"found 'model.init_args.retreival' in x.yaml\. .* Did you mean 'retrieval'\?$",
    ),
    ({"trainner": {}}, r"'trainner' in x.yaml\. .* Did you mean 'trainer'\?$"),
    (
        {"model": {INIT: {"reward": {INIT: {"wieghts": {"diversity": 1.0}}}}}},
        r"of Reward, .*'model.init_args.reward.init_args.wieghts' in x.yaml\. .* mean 'weights'\?$",
    ),
    (
        {"trainer": {"callbacks": [{"class_path": "KeepLast", INIT: {"evry": 2}}]}},
        r"a setting of KeepLast, .*evry' in x.yaml\. Known: every, folder\. Did you mean 'every'\?$",
    ),
    (
        {"trainer": {"callbacks": [{"class_path": "KeepLst"}]}},
        r"a class for trainer.callbacks, but found 'KeepLst' in x.yaml\. .* Did you mean 'KeepLast'\?$",
    ),
    (
        {"model": {INIT: {"reward": {"class_path": "r4t.reward.Rewrad"}}}},
        r"a class for model.init_args.reward, .*'r4t.reward.Rewrad' in x.yaml.* 'r4t.reward.Reward'\?$",
    ),
    (
        {"model": {INIT: {"reward": {"class_path": "Rewrad"}}}},
        r"found 'Rewrad' in x.yaml\. .* Did you mean 'Reward'\?$",
    ),
    ({"model": "FanoutTunr"}, r"found 'FanoutTunr' in x.yaml\. .* Did you mean 'FanoutTuner'\?$"),
    (
        {"model": {"class_path": "r4t.grpo.modul.FanoutTuner"}},
        r"found 'r4t.grpo.modul.FanoutTuner' .* Did you mean 'r4t.grpo.module.FanoutTuner'\?$",
    ),
    (
        {"model": {"class_path": "rft.grpo.module.FanoutTuner"}},
        r"found 'rft.grpo.module.FanoutTuner' .* Did you mean 'r4t.grpo.module.FanoutTuner'\?$",
    ),
    (
        {"data": {INIT: {"batch_size": "big"}}},
        r"type int for data.init_args.batch_size, but found 'big' in x.yaml\. Correct",
    ),
    (
        {"trainer": {"max_steps": "many"}},
        r"type int for trainer.max_steps, but found 'many' in x.yaml",
    ),
    ([1], r"YAML keys and values in x.yaml, but found a list\. Correct the file"),
    ("a: [1", r"YAML keys and values in x.yaml, but found an error in line \d \("),
]


@pytest.mark.parametrize("content, pattern", WRONG_WORDS)
def test_a_config_with_a_wrong_word_names_the_right_one(
    program, project, tmp_path, content, pattern
):
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (tmp_path / "x.yaml").write_text(text)
    code, _, err = program("fit", *shlex.split(TUNE), "--config", "x.yaml")
    assert (code, "Traceback" in err) == (2, False), err
    assert re.search(pattern, err.splitlines()[-1]), err


@pytest.mark.parametrize(
    "words, pattern",
    [
        ("--trainer.callbacks+=KeepLst", r"found 'KeepLst'\. .* Did you mean 'KeepLast'\?$"),
        ("--model WarmStrt", r"found 'WarmStrt'\. .* Did you mean 'WarmStart'\?$"),
        ("--trainer.max_stesp 3", r"found '--trainer.max_stesp'\. .* Did you mean 'max_steps'\?$"),
        ("--max_steps 3", r"found '--max_steps'\. .* Did you mean '--trainer.max_steps'\?$"),
        (
            "--model.init_args.retreival '{}'",
            r"a setting of FanoutTuner, but found '--model.init_args.retreival'\. .* 'retrieval'\?$",
        ),
        ("--trainer.max_stesp={}", r"found '--trainer.max_stesp'\. .* Did you mean 'max_steps'\?$"),
        ("--print_config=commnts", r"commnts"),
    ],
)
def test_an_option_with_a_wrong_word_names_the_right_one(program, project, words, pattern):
    code, _, err = program("fit", *shlex.split(f"{TUNE} {words}"))
    assert (code, "Traceback" in err) == (2, False), err
    assert re.search(pattern, err.splitlines()[-1]), err


def test_an_empty_mapping_is_a_value_of_a_known_key(program, project):
    empty = ["--model.init_args.retrieval={}", "--config", "{model: {init_args: {grpo: {}}}}"]
    code, printed, err = program("fit", *shlex.split(TUNE), *empty, "--print_config")
    assert code == 0, err
    init_args = yaml.safe_load(printed)["model"]["init_args"]
    assert init_args["grpo"]["group_size"] == 8
    assert init_args["retrieval"]["cached"] == 65536  # those of the first config stay
