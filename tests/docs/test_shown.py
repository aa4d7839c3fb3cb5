"""The checks of tests.docs find mistakes in files, commands and output that pages only show."""

import re
import shlex

import pytest
import yaml
from jsonargparse import ArgumentError

from r4t.errors import InputError
from tests.docs.blocks import ROOT, blocks_of
from tests.docs.shown import ELSEWHERE, unprinted
from tests.docs.unrun import check_command, check_file

pytestmark = pytest.mark.docs


def test_a_mistake_in_a_shown_file_is_found(tmp_path):
    def shown(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        check_file(tmp_path / name, tmp_path)

    shown("tower.py", "from r4t.encoder import LsaEncoder\n\n\nclass Tower: ...\n")
    shown("user.py", "import numpy as np\nfrom tower import Tower\nfrom r4t import encoder\n")
    with pytest.raises(SyntaxError):
        shown("broken.py", "def encode(:\n")
    for line, missing in [
        ("import nunpy", "nunpy"),
        ("from transformers import AutoTokeniser", "transformers.AutoTokeniser"),
        ("from r4t.encoder import LSAEncoder", "r4t.encoder.LSAEncoder"),
        ("from r4t import encoders", "r4t.encoders"),
        ("from tower import Towers", "tower.Towers"),
    ]:
        with pytest.raises(AssertionError, match=f"cannot be imported: {re.escape(missing)}$"):
            shown("wrong.py", f"{line}\n")
    with pytest.raises(yaml.YAMLError):
        shown("wrong.yaml", "weights: {groundedness: 0.6\n")


def test_a_mistake_in_a_shown_command_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_music.py").write_text("class ClapText: ...\n", encoding="utf-8")

    def shown(line):
        check_command(shlex.split(line), tmp_path, monkeypatch)

    shown("r4t catalog a.csv --vectors a.npy --encoder my_music:ClapText --out runs/a")
    shown("python my_music.py")
    with pytest.raises(InputError, match="found '--encder'"):
        shown("r4t catalog a.csv --encder lsa --out runs/a")
    with pytest.raises(ArgumentError, match="required: out"):
        shown("r4t catalog a.csv")
    with pytest.raises(InputError, match="--config"):
        shown("r4t fit --run runs/a")
    with pytest.raises(AssertionError, match="cannot be imported: my_music.Clap$"):
        shown("r4t catalog a.csv --encoder my_music:Clap --out runs/a")
    with pytest.raises(AssertionError, match="no such verb: katalog"):
        shown("r4t katalog a.csv")
    with pytest.raises(AssertionError, match="shows no my_misic.py"):
        shown("python my_misic.py")


def test_lines_that_the_program_does_not_print_are_found():
    printed = ["items  500", "", "fingerprint  " + "a" * 64, "│ MMR │ 0.446 ±0.040 │", "done"]
    assert unprinted(["items  500", "fingerprint  " + "b" * 64, "done"], printed) == []
    assert unprinted(["│ MMR │ 0.447 ±0.041 │"], printed) == []  # on another processor
    assert unprinted(["│ MMR │ 0.449 ±0.040 │"], printed) == ["│ MMR │ 0.449 ±0.040 │"]
    assert unprinted(["items  501"], printed) == ["items  501"]
    assert unprinted(["done", "items  500"], printed) == ["items  500"]


@pytest.mark.parametrize("page, beginning", ELSEWHERE)
def test_each_exception_is_a_block_of_its_page(page, beginning):
    shown = [block.text for block in blocks_of(ROOT / page) if block.language == "console"]
    assert [text for text in shown if text.startswith(beginning)]
