"""The mistakes that are likeliest at each verb: each gives one sentence that mends it.

Those of data, objectives and models are in ``test_bad_input``; here are those of the command itself.
"""

import json
import re
import shlex

import pytest
import yaml

import r4t.cli.lightning  # noqa: F401  (its logger would keep the captured stderr of one test)
from r4t.__main__ import VERBS
from r4t.support.configs import configs_folder

MISTAKES = {
    "catalog": {
        "": r"'r4t catalog' needs SOURCE and --out — found none — add them \(example: r4t catalog wa",
        "items.jsonl": r"'r4t catalog' needs --out — found none — add it \(example: r4t catalog ward",
        "nope.jsonl --out c": r"A source must be a file or folder — found nothing at nope.jsonl",
        "names.csv --out c": r"needs the fields id and text — found no id among .* of names.csv — re",
        "items.jsonl --out run/catalog --dim 2": r"found a catalog in .* add --overwrite\.",
        "items.jsonl --out c --dim 128": r"LSA needs .* found dim=128 for 3 texts .* a dim of 1 to 3",
        "items.jsonl --out c --collections maen": r"found 'maen' .* Did you mean 'mean'\?$",
        "latin.csv --out c": r"^Expected UTF-8 text, but found the byte 0xe9 at .* latin.csv\. Save",
        "semi.csv --out c": r"^A CSV has commas between its columns — found the header 'id;text' with "
        r"';' in semi.csv — save it with commas",
        "bad.parquet --out c": r"^A .parquet file was expected at bad.parquet — found something else",
        "items.jsonl --dim 1 --out taken/c": r"found 'File exists' at taken — name another path, or",
        "items.jsonl --out c --dmi 2": r"Options of 'r4t catalog' .* found --dmi — .* mean '--dim'\?$",
    },
    "queries": {
        "": r"'r4t queries' needs CATALOG and --out — found none — add them \(example: r4t queries",
        "nope --out q": r"found no catalog.json in nope\. Write a catalog with `r4t catalog SOURCE --out",
        "items.jsonl --out q": r"found no catalog.json in items.jsonl\. Write a catalog with `r4t catalog",
        "run/catalog --out run/queries": r"not overwritten unasked — found .* add --overwrite",
        "run/catalog --out taken": r"found 'File exists' at taken — name another path, or clear the way",
        "run/catalog --out q --count few": r"^--count must be a whole number — found 'few' — correct",
        "run/catalog --out q --sets nope": r"A source must be .* found nothing at nope — check the",
        "run/catalog --out q --endpoint http://x/v1": r"--endpoint and --model — found only one of",
    },
    "fit": {
        "": r"^'r4t fit' needs a config that says what to run — found no model and no data — add --co",
        "--config configs/toy/1_tun.yaml": r"found none at configs/toy/1_tun.yaml .* mean "
        r"'configs/toy/1_tune.yaml'\?$",
        "configs/toy/1_tune.yaml": r"^'r4t fit' takes options only — found 'configs/toy/1_tune.yaml' ",
        "--config configs/toy/1_tune.yaml --run new": r"found no catalog.json in new/catalog\. Write",
        "--config configs/toy/1_tune.yaml --run run": r"found no warm_start/model in run — run that "
        r"step first: r4t fit --config configs/toy/0_warm_start.yaml --run run\.$",
        "--config latin.yaml": r"^Expected UTF-8 text, but found the byte 0xe9 at .* latin.yaml",
        "--config configs/toy/1_tune.yaml --run taken": r"found no catalog.json in taken/catalog",
        "--config configs/toy/2_synthesize.yaml --run run": r"^'r4t fit' needs a model with "
        r"training_step — found r4t.synthesis.Synthesizer, .* run this one with 'r4t synthesize'",
        "--config configs/toy/5_evaluate.yaml": r"^A config belongs to its verb — found weights in "
        r"configs/toy/5_evaluate.yaml, .* run it with 'r4t evaluate --config FILE'",
        "--config configs/toy/1_tune.yaml --rnu x": r"found --rnu — .* Did you mean '--run'\?$",
        "--config configs/toy/0_warm_start.yaml --run run --trainer.accelerator cup": r"^The trainer"
        r"'s settings must fit this machine .* — Lightning found: .*cup.* — correct trainer in the",
    },
    "validate": {
        "": r"^'r4t validate' needs a config that says what to run — found no model and no data",
        "--config configs/toy/2_synthesize.yaml --run run": r"needs a model with validation_step",
        "--config configs/toy/0_warm_start.yaml --run run --ckpt_path no.ckpt": r"^ckpt_path must be "
        r"a checkpoint or 'last', found no file at no.ckpt",
        "--config configs/toy/1_tune.yaml --model.init_args.temperature hot": r"^model.init_args."
        r"temperature must be a number — found 'hot' — correct it",
        "--config configs/toy/1_tune.yaml --run new": r"found no catalog.json in new/catalog",
    },
    "test": {
        "": r"^'r4t test' needs a config that says what to run — found no model and no data",
        "--config configs/toy/1_tune.yaml --run run": r"^'r4t test' needs a model with test_step — "
        r"found r4t.grpo.module.FanoutTuner, .* run this one with 'r4t evaluate'",
        "--config nope.yaml": r"^--config names a YAML file — found none at nope.yaml — correct the",
        "--config configs/toy/5_evaluate.yaml": r"run it with 'r4t evaluate --config FILE'",
        "--config": r"^--config takes a value — found none behind it — write it \(example: r4t test",
    },
    "predict": {
        "": r"^'r4t predict' needs a config that says what to run — found no model and no data",
        "--config configs/toy/1_tune.yaml --run run": r"needs a model with predict_step — found .* "
        r"run this one with 'r4t fit'",
        "--config configs/toy/2_synthesize.yaml --run new": r"A run is a folder|found no catalog.json",
        "--config configs/toy/2_synthesize.yaml --trainer.devices": r"^--trainer.devices takes a val",
        "--config configs/toy/2_synthesize.yaml --sead 3": r"found --sead — correct it",
    },
    "synthesize": {
        "": r"^'r4t synthesize' needs a config that says what to run — found no model and no data",
        "--config configs/toy/1_tune.yaml --run run": r"needs a model with predict_step — found "
        r"r4t.grpo.module.FanoutTuner, .* run this one with 'r4t fit'",
        "--config configs/toy/2_synthesize.yaml --run run": r"A fan-out model is a folder with "
        r"fanout.json, found none in",
        "--config configs/toy/2_synthesize.yaml --model.init_args.smaples 8": r"^r4t.synthesis."
        r"Synthesizer takes the settings .* found model.init_args.smaples — .* mean 'samples'\?$",
        "--config configs/toy/2_synthesize.yaml --run run --model.init_args.samples 0": r"^samples "
        r"must be at least 1, found 0; raise it",
    },
    "evaluate": {
        "nope": r"^A run is a folder with run.json, found none in nope; name a run folder, or begin",
        "run --split tset": r"tset",
        "run --methods '[MRR]'": r"found 'MRR' among the methods; name others\. Did you mean 'MMR'\?$",
        "run --methods MMR": r"^--methods must be a list, such as .* — found 'MMR' — correct it",
        "run --weights '{diversty: 1.0}'": r"an installed objective, but found 'diversty'.* mean 'diversity'",
        "--config configs/toy/1_tune.yaml": r"^A config belongs to its verb — found model in .* run "
        r"it with 'r4t fit --config FILE' or 'r4t synthesize --config FILE'",
        "--config typo.yaml": r"'r4t evaluate' knows.* — found pool_sise in typo.yaml — .* Did you "
        r"mean 'pool_size'\?$",
        "run --plots maybe": r"^--plots must be true or false — found 'maybe' — correct it",
    },
    "retrieve": {
        "run": r"^'r4t retrieve' needs QUERY — found none — add it \(example: r4t retrieve runs/toy",
        "run bohemian festival style": r"takes RUN and QUERY — found 'festival style' besides — put "
        r"words with spaces between them in quotes",
        "nope 'red linen'": r"^A run is a folder with run.json, found none in nope",
        "run 'red linen'": r"Model 'diffusion' of a run lies in run/distill/model — found no such "
        r"folder — run the steps up to it, which ends with r4t fit .*/3_distill.yaml --run run\.$",
        "run 'red linen' --with studnet": r"found 'studnet'\. Did you mean 'student'\?$",
        "run 'red linen' --siez 3": r"found --siez — correct it .* Did you mean '--size'\?$",
        "run 'red linen' --size ten": r"^--size must be a whole number — found 'ten' — correct it",
    },
    "compare": {
        "": r"^'r4t compare' needs RUN",
        "run": r"A comparison needs at least one query|needs .*QUERY",
        "nope 'red linen'": r"^A run is a folder with run.json, found none in nope",
        "run 'red linen' --with foml": r"found 'foml'.* Did you mean 'folm'\?$",
        "run --queries nope.txt": r"with one query a line — found none at nope.txt; correct the path",
        "run 'red linen' --fields nuon": r"nuon.* Did you mean 'noun'\?$",
    },
    "report": {
        "": r"^'r4t report' needs RUN — found none — add it \(example: r4t report runs/seed0",
        "run": r"^Results are read from results.json — found none in run.* — run `r4t evaluate` first",
        "nope": r"^Results are read from results.json — found none in nope",
        "run --compare A": r"^--compare takes 2 values — found fewer",
        "run --otu x": r"found --otu — correct it .* Did you mean '--out'\?$",
    },
    "objectives": {
        "diversty": r"^Expected an installed objective, but found 'diversty'. Ins.* mean 'diversity'\?$",
        "Diversity": r"an installed objective, but found 'Diversity'. .* Did you mean 'diversity'\?$",
        "diversity alignment": r"takes NAME — found 'alignment' besides — .* or leave it out",
        "--jsno": r"found --jsno — correct it .* Did you mean '--json'\?$",
        "--json=yes": r"^--json takes no value — found 'yes' — write it alone",
    },
    "new-objective": {
        "": r"^'r4t new-objective' needs NAME — found none — add it \(example: r4t new-objective pri",
        "PriceSpread": r"found 'PriceSpread', which is not lower-case letters",
        "diversity": r"a new name .* found 'diversity', which is installed as r4t_objectives",
        "price spread": r"takes NAME — found 'spread' besides — put words with spaces between them",
        "json": r"a new name .* found 'json', a module that Python can already import",
        "thrift --out taken": r"found 'Not a directory' at taken/thrift — name another path",
        "thrift --otu x": r"found --otu — correct it .* Did you mean '--out'\?$",
    },
    "init": {
        "": r"^'r4t init' needs FOLDER — found none — add it \(example: r4t init my-project\)",
        ".": r"^Configs are copied where none are yet, found configs/.*; choose another folder, or",
        "my project": r"takes FOLDER — found 'project' besides — put words with spaces between them",
        "--folder mine": r"found --folder — correct it|needs FOLDER",
        "items.jsonl": r"found a file at items.jsonl",
    },
    "quickstart": {
        "--task wcsr": r"^--task must be oar or wscr, found 'wcsr'; choose one\. Did you mean 'wscr'\?",
        "--source nope --run x": r"^A source must be a file or folder — found nothing at nope",
        "--overlay nope.yaml": r"^--overlay names a config .* found none at nope.yaml — correct the",
        "--run run": r"^A run keeps its catalog — run was begun on .* name another folder with --run",
        "--run taken": r"found 'File exists' at taken — name another path, or clear the way",
        "--seed one": r"^--seed must be a whole number — found 'one' — correct it",
        "runs/mine": r"^'r4t quickstart' takes options only — found 'runs/mine' besides",
    },
    "completion": {
        "": r"^'r4t completion' needs SHELL — found none — add it \(example: r4t completion bash > ",
        "bsh": r"^Scripts are written for bash, zsh, fish — found 'bsh' — .* Did you mean 'bash'\?$",
        "powershell": r"^Scripts are written for bash, zsh, fish — found 'powershell' — name one",
        "bash zsh": r"takes SHELL — found 'zsh' besides",
        "--shell bash": r"found --shell — correct it|needs SHELL",
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
    "verb, arguments, said", [(v, a, s) for v, table in MISTAKES.items() for a, s in table.items()]
)
def test_a_mistake_gives_a_sentence_that_mends_it(program, project, verb, arguments, said):
    code, _, err = program(verb, *shlex.split(arguments))
    assert code == 2, err
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if line.startswith("r4t: ")]
    assert err.splitlines()[-1:] == told  # one sentence, after whatever Lightning logs
    assert re.search(said, told[0].removeprefix("r4t: ")), told[0]


@pytest.mark.parametrize(
    "content, said",
    [
        (
            {"trainer": {"max_step": 3}},
            r"found trainer.max_step in x.yaml — .* Did you mean 'trainer.max_steps'\?$",
        ),
        (
            {"trainner": {"max_steps": 3}},
            r"found trainner.max_steps in x.yaml — .* Did you mean 'trainer.max_steps'\?$",
        ),
        (
            {"model": {"init_args": {"learnign_rate": 1.0}}},
            r"^r4t.grpo.module.FanoutTuner takes the settings .*, learning_rate, .* — found "
            r"model.init_args.learnign_rate in x.yaml — .* Did you mean 'learning_rate'\?$",
        ),
        (
            {"model": {"init_args": {"reward": {"init_args": {"wieghts": {"diversity": 1.0}}}}}},
            r"found model.init_args.reward.init_args.wieghts in x.yaml .* Did you mean 'weights'\?$",
        ),
        (
            {"model": {"init_args": {"loss": {"init_args": {"kl_new_odl": 0.1}}}}},
            r"^r4t.grpo.loss.SoftGRPO takes .* found model.init_args.loss.* mean 'kl_new_old'\?$",
        ),
        (
            {
                "trainer": {
                    "callbacks": [
                        {"class_path": "r4t.training.callbacks.KeepLast", "init_args": {"evry": 2}}
                    ]
                }
            },
            r"^r4t.training.callbacks.KeepLast takes the settings every, folder — found .* mean 'every'\?$",
        ),
        (
            {"model": {"init_args": {"reward": {"class_path": "r4t.reward.Rewrad"}}}},
            r"^model.init_args.reward.class_path must name a class that can be imported — found "
            r"'r4t.reward.Rewrad' in x.yaml — .* Did you mean 'r4t.reward.Reward'\?$",
        ),
        (
            {"model": {"init_args": {"reward": {"class_path": "Rewrad"}}}},
            r"found 'Rewrad' in x.yaml — .* Did you mean 'r4t.reward.Reward'\?$",
        ),
        (
            {"model": {"class_path": "r4t.grpo.modul.FanoutTuner"}},
            r"found 'r4t.grpo.modul.FanoutTuner' .* Did you mean 'r4t.grpo.module.FanoutTuner'\?$",
        ),
        (
            {"model": {"class_path": "rft.grpo.module.FanoutTuner"}},
            r"found 'rft.grpo.module.FanoutTuner' .* Did you mean 'r4t.grpo.module.FanoutTuner'\?$",
        ),
        (
            {"model": {"init_args": {"learning_rate": "fast"}}},
            r"^model.init_args.learning_rate must be a number — found 'fast' in x.yaml — correct it",
        ),
        (
            {"trainer": {"max_steps": "many"}},
            r"^trainer.max_steps must be a whole number — found 'many'",
        ),
        ([1], r"^A config must be keys with values — found other YAML in x.yaml — correct it"),
        ("a: [1", r"^A config must be YAML — found .* at line 1 of x.yaml — correct it"),
    ],
)
def test_a_config_with_a_wrong_word_names_the_right_one(program, project, tmp_path, content, said):
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (tmp_path / "x.yaml").write_text(text)
    code, _, err = program("fit", "--config", "configs/toy/1_tune.yaml", "--config", "x.yaml")
    assert (code, "Traceback" in err) == (2, False), err
    assert re.search(said, err.splitlines()[-1].removeprefix("r4t: ")), err


def test_print_config_names_its_flags(program, project):
    code, _, err = program("fit", "--config", "configs/toy/1_tune.yaml", "--print_config=commnts")
    assert code == 2
    assert "or the flags all, comments, skip_default, skip_unset — found 'commnts'" in err
    assert err.rstrip().endswith("Did you mean 'comments'?")
