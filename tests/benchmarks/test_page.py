"""The pages say what the result files say, and every result file is accounted for."""

import doctest
import json
import re
import subprocess
import sys
from datetime import date

import pytest

from benchmarks.page import __main__ as page
from benchmarks.page import cells, retriever, show
from benchmarks.page.index import RESULTS, ROOT, Entry, read_index


def test_every_page_says_what_the_files_say(capsys):
    assert page.main(["--check"]) == 0, capsys.readouterr().out


def test_a_changed_number_is_found_and_mended(tmp_path, capsys):
    copy = tmp_path / "page.md"
    copy.write_text('a\n<!-- [[[cog show("synthesis") ]]] -->\n<!-- [[[end]]] -->\nb\n', "utf-8")
    assert page.main([str(copy)]) == 0
    told = copy.read_text("utf-8")
    assert "| 1,000 | 4,000 | 1,000 | 33 | 122 | 31 | 615 MiB |" in told
    assert told.startswith("a\n")
    assert told.endswith("\nb\n")
    copy.write_text(told.replace("| 33 |", "| 32 |"), "utf-8")
    assert page.main(["--check", str(copy)]) != 0
    assert "run python -m benchmarks.page" in capsys.readouterr().err
    assert page.main([str(copy)]) == 0
    assert copy.read_text("utf-8") == told


def test_every_table_is_shown_on_the_results_page_or_its_own():
    shown = set()
    for path in page.pages():
        for names in re.findall(r"\[\[\[cog show\((.*?)\) \]\]\]", path.read_text("utf-8")):
            shown |= set(re.findall(r'"([^"]+)"', names))
    assert shown == set(show.TABLES)


def test_entries_are_complete():
    index = read_index()
    assert {entry for entries, _ in show.TABLES.values() for entry in entries.split()} == set(index)
    for entry in index.values():
        assert isinstance(entry.date, date)
        assert all((entry.title, entry.part, entry.command, entry.hardware))
        for path in entry.paths():
            if path.suffix == ".json":
                told = json.loads(path.read_text("utf-8")).get("hardware", {})
                assert told.get("cpu", "") in entry.hardware, path


def test_no_result_names_a_place_on_a_machine():
    for path in RESULTS.rglob("*"):
        if path.suffix in (".json", ".md", ".csv", ".toml"):
            found = re.findall(
                r'(?<![\w.])/(?:work|tmp|home|root|mnt)/[^" ]*', path.read_text("utf-8")
            )
            assert not found, path


def entry_file(folder, text):
    (folder / "index.toml").write_text(text, "utf-8")
    return folder


def test_a_file_without_an_entry_and_an_entry_without_a_file_are_refused(tmp_path):
    told = '[{}]\ntitle = "t"\npart = "p"\nfiles = ["{}"]\ncommand = "c"\nhardware = "h"\ndate = 2026-01-01\n'
    (tmp_path / "a.json").write_text("{}", "utf-8")
    entry_file(tmp_path, told.format("one", "a.*"))
    assert [entry.name for entry in read_index(tmp_path).values()] == ["one"]
    entry_file(tmp_path, told.format("one", "a.*") + told.format("two", "*.json"))
    with pytest.raises(ValueError, match=r"a.json belongs to \['one', 'two'\]; mend the patterns"):
        read_index(tmp_path)
    entry_file(tmp_path, told.format("one", "b.*"))
    with pytest.raises(ValueError, match=r"'one' has none at \['b.\*'\]; mend its patterns"):
        read_index(tmp_path)
    (tmp_path / "b.json").write_text("{}", "utf-8")
    with pytest.raises(ValueError, match="a.json belongs to none; mend the patterns"):
        read_index(tmp_path)


def test_links_start_at_the_page(tmp_path):
    (tmp_path / "a").mkdir()
    for name in "wxyz":
        (tmp_path / "a" / name).write_text("", "utf-8")
    entry = Entry("n", "T", "p", ["a/w"], "run", "here", date(2026, 1, 2))
    told = "`run`<br>\n*T: here; 2026-01-02; [w](../benchmarks/results/a/w).*"
    assert entry.source(tmp_path, "../") == told
    many = Entry("n", "T", "p", ["a/*"], ["one", "two"], "here", date(2026, 1, 2))
    told = "4 files in [benchmarks/results/a/](benchmarks/results/a)"
    assert many.source(tmp_path, "") == f"```bash\none\ntwo\n```\n\n*T: here; 2026-01-02; {told}.*"


def test_unknown_tables_are_named():
    with pytest.raises(KeyError, match="found 'latenci'; there are wardrobe, ranks"):
        show.rendered(["latenci"], ROOT / "README.md")


def test_tables_of_markdown_files_are_read(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("| a | b |\n|---|---:|\n| x | 1 |\n\ntext\n\n| c |\n| --- |\n| -2 |\n", "utf-8")
    assert cells.markdown_tables(path) == [[["a", "b"], ["x", "1"]], [["c"], ["-2"]]]


def test_the_latency_table_tells_seconds_and_ratios():
    """Of the file's first rows: 133.97 ms; 26.28 ms, 5.83 and 5.41 times."""
    told = retriever.latency("cpu").splitlines()
    assert told[2].startswith("| R4T-FOLM | 134 (1.0, 1.0) |")
    assert told[4].startswith("| R4T-Student: Euler(4), guidance 0, one draw | 26 (5.8, 5.4) |")


def test_cells_by_example():
    assert doctest.testmod(cells).failed == 0


def test_it_needs_no_torch():
    code = (
        "import sys; from benchmarks.page.__main__ import main; assert main(['--check']) == 0; "
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
