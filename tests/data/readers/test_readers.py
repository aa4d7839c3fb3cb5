"""r4t.data.readers: the first reader that accepts a path reads it."""

from types import SimpleNamespace

import pytest

from r4t.data import readers
from r4t.data.readers import read_source
from r4t.data.source import Items, ReferenceSet, Source
from r4t.errors import InputError


def test_a_reader_is_one_module_in_the_list(tmp_path, monkeypatch):
    def read(path, options):
        sets = [ReferenceSet("1", "hats", ("a", "b")), ReferenceSet("2", "", ("a",))]
        return Source(path.stem, Items(["a"], [path.read_text()]), sets, "1 note")

    outfits = SimpleNamespace(
        FORM="outfits (.fit)", accepts=lambda path: path.suffix == ".fit", read=read
    )
    (tmp_path / "shop.fit").write_text("red hat")
    monkeypatch.setattr(readers, "READERS", (*readers.READERS, outfits))
    source = read_source(tmp_path / "shop.fit")
    assert (source.name, source.items.texts) == ("shop", ["red hat"])
    assert source.sets == [ReferenceSet("1", "hats", ("a",))]
    assert source.note == (
        "1 set without a query left out; 1 reference to an item without an entry left out; 1 note"
    )
    with pytest.raises(
        InputError, match=r"one file of items \(.*; outfits \(\.fit\), but found the s"
    ):
        read_source(__file__)


def test_sources_that_no_reader_accepts(tmp_path):
    with pytest.raises(InputError, match=r"found nothing at .*/none\. Check the path"):
        read_source(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"one file of items .* found \['notes\.txt'\] at .*\. C"):
        read_source(tmp_path)
    with pytest.raises(InputError, match=r"found the suffix '\.txt' at"):
        read_source(tmp_path / "notes.txt")
