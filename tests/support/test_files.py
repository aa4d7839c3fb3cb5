import pytest

from r4t.errors import InputError
from r4t.support.files import replacing, utf8, write_csv, write_text


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "first")
    with pytest.raises(TypeError), replacing(path) as part:
        part.write_text(["not a text"])
    assert path.read_text() == "first"
    write_text(path, "second – ½")
    assert path.read_text(encoding="utf-8") == "second – ½"
    assert list(path.parent.iterdir()) == [path]


def test_a_table_without_rows_removes_the_file(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ["name", "x"], [["a, b", 1 / 3], ["c", 2]])
    assert path.read_text() == 'name,x\n"a, b",0.333333\nc,2\n'
    write_csv(path, ["name", "x"], [])
    assert not path.exists()


def test_a_file_in_another_encoding_is_refused_with_its_byte(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("café".encode("latin-1"))
    sentence = r"^Expected UTF-8 text, but found the byte 0xe9 at position 3 of .*latin\.txt\. Save"
    with pytest.raises(InputError, match=sentence), utf8(path):
        path.read_text(encoding="utf-8")
