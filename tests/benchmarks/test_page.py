"""The pages agree with the result files, and every result file has an entry."""

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


def test_every_page_agrees_with_the_files(capsys):
    assert page.main(["--check"]) == 0, capsys.readouterr().out


def test_a_changed_number_is_detected_and_corrected(tmp_path, capsys):
    copy = tmp_path / "page.md"
    copy.write_text('a\n<!-- [[[cog show("synthesis") ]]] -->\n<!-- [[[end]]] -->\nb\n', "utf-8")
    assert page.main([str(copy)]) == 0
    text = copy.read_text("utf-8")
    assert "| 1,000 | 4,000 | 1,000 | 33 | 122 | 31 | 615 MiB |" in text
    assert text.startswith("a\n")
    assert text.endswith("\nb\n")
    copy.write_text(text.replace("| 33 |", "| 32 |"), "utf-8")
    assert page.main(["--check", str(copy)]) != 0
    assert "Run python -m benchmarks.page" in capsys.readouterr().err
    assert page.main([str(copy)]) == 0
    assert copy.read_text("utf-8") == text


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
                hardware = json.loads(path.read_text("utf-8")).get("hardware", {})
                assert hardware.get("cpu", "") in entry.hardware, path


def test_no_result_contains_a_path_of_a_machine():
    for path in RESULTS.rglob("*"):
        if path.suffix in (".json", ".md", ".csv", ".toml"):
            paths = re.findall(
                r'(?<![\w.])/(?:work|tmp|home|root|mnt)/[^" ]*', path.read_text("utf-8")
            )
            assert not paths, path


def entry_file(folder, text):
    (folder / "index.toml").write_text(text, "utf-8")
    return folder


def test_a_file_without_an_entry_and_an_entry_without_a_file_are_refused(tmp_path):
    entry = (
        '[{}]\ntitle = "t"\npart = "p"\nfiles = ["{}"]\n'
        'command = "c"\nhardware = "h"\ndate = 2026-01-01\n'
    )
    (tmp_path / "a.json").write_text("{}", "utf-8")
    entry_file(tmp_path, entry.format("one", "a.*"))
    assert [entry.name for entry in read_index(tmp_path).values()] == ["one"]
    entry_file(tmp_path, entry.format("one", "a.*") + entry.format("two", "*.json"))
    with pytest.raises(ValueError, match=r"a.json must .* belongs to \['one', 'two'\]"):
        read_index(tmp_path)
    entry_file(tmp_path, entry.format("one", "b.*"))
    with pytest.raises(ValueError, match=r"'one' of index.toml has no file at \['b.\*'\]"):
        read_index(tmp_path)
    (tmp_path / "b.json").write_text("{}", "utf-8")
    with pytest.raises(ValueError, match="a.json must .* belongs to none. Correct the patterns"):
        read_index(tmp_path)


def test_links_start_at_the_page(tmp_path):
    (tmp_path / "a").mkdir()
    for name in "wxyz":
        (tmp_path / "a" / name).write_text("", "utf-8")
    entry = Entry("n", "T", "p", ["a/w"], "run", "here", date(2026, 1, 2))
    source = "`run`<br>\n*T: here; 2026-01-02; [w](../benchmarks/results/a/w).*"
    assert entry.source(tmp_path, "../") == source
    many = Entry("n", "T", "p", ["a/*"], ["one", "two"], "here", date(2026, 1, 2))
    links = "4 files in [benchmarks/results/a/](benchmarks/results/a)"
    assert many.source(tmp_path, "") == f"```bash\none\ntwo\n```\n\n*T: here; 2026-01-02; {links}.*"


def test_unknown_tables_are_named():
    with pytest.raises(KeyError, match="No table is called 'latenci'. Tables: wardrobe, ranks"):
        show.rendered(["latenci"], ROOT / "README.md")


def test_tables_of_markdown_files_are_read(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("| a | b |\n|---|---:|\n| x | 1 |\n\ntext\n\n| c |\n| --- |\n| -2 |\n", "utf-8")
    assert cells.markdown_tables(path) == [[["a", "b"], ["x", "1"]], [["c"], ["-2"]]]


def test_the_latency_table_has_milliseconds_and_ratios():
    """The first rows of the file: 133.97 ms; 26.28 ms, 5.83 and 5.41 times as fast."""
    lines = retriever.latency("cpu").splitlines()
    assert lines[2].startswith("| R4T-FOLM | 134 (1.0, 1.0) |")
    assert lines[4].startswith("| R4T-Student: Euler(4), guidance 0, one draw | 26 (5.8, 5.4) |")


def test_cells_by_example():
    assert doctest.testmod(cells).failed == 0


def test_it_needs_no_torch():
    code = (
        "import sys; from benchmarks.page.__main__ import main; assert main(['--check']) == 0; "
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
