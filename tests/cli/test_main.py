import os
import subprocess
import sys

import pytest

import r4t
from r4t.__main__ import VERBS, run
from r4t.errors import InputError


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_verb(capsys, arguments):
    run(arguments)
    printed = capsys.readouterr().out
    for verb, what in VERBS.items():
        assert f"  {verb:<15}{what}" in printed


def test_version(capsys):
    run(["--version"])
    assert capsys.readouterr().out.strip() == r4t.__version__


@pytest.mark.parametrize("told, found", [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_asleep_unless_the_user_says_otherwise(monkeypatch, program, told, found):
    monkeypatch.setenv("OMP_WAIT_POLICY", "as before")
    if told is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    else:
        monkeypatch.setenv("OMP_WAIT_POLICY", told)
    program("--version")
    assert os.environ["OMP_WAIT_POLICY"] == found


def test_an_unknown_verb_lists_those_there_are():
    with pytest.raises(
        InputError, match=r"^r4t knows the verbs catalog, .*'syntesize'.*'synthesize'"
    ):
        run(["syntesize"])


def test_the_module_is_the_program():
    done = subprocess.run(
        [sys.executable, "-m", "r4t", "retrieve", "nowhere", "red"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("r4t: A run is a folder with run.json, found none in nowhere;")
    assert len(done.stderr.splitlines()) == 1


def test_quickstart_refuses_an_unknown_task():
    with pytest.raises(InputError, match="--task must be oar or wscr, found 'oarr'"):
        run(["quickstart", "--task", "oarr"])
