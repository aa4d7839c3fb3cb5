import pytest

from r4t.support.files import replacing, write_csv, write_text


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "first")
    with pytest.raises(TypeError), replacing(path) as part:
        part.write_text(["not a text"])
    assert path.read_text() == "first"
    write_text(path, "second – ½")
    assert path.read_text(encoding="utf-8") == "second – ½"
    assert list(path.parent.iterdir()) == [path]


def test_a_table_without_rows_is_no_file(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ["name", "x"], [["a, b", 1 / 3], ["c", 2]])
    assert path.read_text() == 'name,x\n"a, b",0.333333\nc,2\n'
    write_csv(path, ["name", "x"], [])
    assert not path.exists()
