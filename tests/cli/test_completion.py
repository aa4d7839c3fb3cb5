"""The scripts as shells run them: what TAB offers."""

import subprocess

import pytest

from r4t.__main__ import VERBS, run
from r4t.plugins import OBJECTIVES, installed

ASK = """
source {script}
ask() {{
  COMP_WORDS=("$@"); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMPREPLY=()
  COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
  _shtab_r4t r4t "${{COMP_WORDS[$COMP_CWORD]}}" "${{COMP_WORDS[$COMP_CWORD-1]}}"
  echo "${{COMPREPLY[*]}}"
}}
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run(["completion", "bash"])
    path = tmp_path_factory.mktemp("completion") / "r4t.bash"
    path.write_text(printed.getvalue())
    return path


@pytest.fixture
def offered(script, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "mine.yaml").touch()

    def ask(*words):
        quoted = " ".join(f"'{word}'" for word in words)
        text = ASK.format(script=script) + f"ask r4t {quoted}\n"
        done = subprocess.run(
            ["bash", "-c", text], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        return done.stdout.split()

    return ask


def test_verbs(offered):
    assert offered("") == list(VERBS)
    assert offered("ret") == ["retrieve"]


def test_options_of_plain_verbs_and_of_those_that_train(offered):
    assert offered("catalog", "--col") == ["--collections"]
    assert offered("queries", "--rec") == ["--recompose"]
    assert offered("fit", "--trainer.max_s") == ["--trainer.max_steps"]
    assert offered("synthesize", "--run") == ["--run"]
    assert offered("fit", "--help-") == ["--help-all"]
    assert offered("evaluate", "--pool") == ["--pool_size"]


def test_files_folders_choices_and_objectives(offered):
    assert sorted(offered("fit", "--config", "")) == ["configs", "mine.yaml"]
    assert offered("fit", "--run", "") == ["configs"]
    assert offered("retrieve", "runs", "query", "--with", "s") == ["student"]
    assert offered("catalog", "items.csv", "--collections", "") == ["text", "mean"]
    assert offered("queries", "runs", "--wardrobe", "") == ["oar", "wscr"]
    assert sorted(offered("catalog", "")) == ["configs", "mine.yaml"]
    assert offered("evaluate", "--split", "") == ["test", "val", "train", "all"]
    assert sorted(offered("objectives", "")) == sorted(installed(OBJECTIVES))


@pytest.mark.parametrize("shell, text", [("zsh", "#compdef r4t"), ("fish", "complete -c r4t")])
def test_other_shells_have_a_script_of_all_verbs(capsys, shell, text):
    run(["completion", shell])
    printed = capsys.readouterr().out
    assert text in printed
    assert all(verb in printed for verb in VERBS)
    assert "--trainer.max_steps" in printed or "trainer.max_steps" in printed
