"""r4t.data.readers.playlists: slices of the million-playlist form by hand, and its errors."""

import json
from pathlib import Path

import pytest

from r4t.catalog import Catalog
from r4t.cli import catalog as catalog_verb
from r4t.cli import queries as queries_verb
from r4t.data.queries import read_queries
from r4t.data.readers import read_source
from r4t.data.source import ReferenceSet
from r4t.errors import InputError


def track(pos, uri, name="Summer", artist="Calvin Harris", **more):
    return {"pos": pos, "track_uri": f"spotify:track:{uri}", "track_name": name} | {
        "artist_name": artist,
        "album_name": "Motion",
        "duration_ms": 222533,
        **more,
    }


def uris(*names):
    return tuple(f"spotify:track:{name}" for name in names)


SLICES = {
    "0-999": [
        {
            "pid": 5,
            "name": "throwbacks ",
            "description": "songs I missed",
            "collaborative": "false",
            "tracks": [track(0, "a"), track(1, "b", "Betty", " "), track(2, "a")],
        },
        {"pid": 6, "name": "", "description": "for the road", "tracks": [track(0, "b", "Other")]},
    ],
    "1000-1999": [{"pid": 1000, "name": "gym", "tracks": [track(0, "z", " "), track(1, "c")]}],
    "9000-9999": [
        {"pid": 9000, "name": "", "tracks": [track(0, "d", album_name="", duration_ms=None)]},
        {"pid": 9001, "name": "nothing", "tracks": []},
    ],
    "10000-10999": [{"pid": 10000, "name": "last", "tracks": [track(0, "e")]}],
}


def write(folder: Path, slices=SLICES) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, playlists in slices.items():
        content = {"info": {"slice": name, "version": "v1"}, "playlists": playlists}
        (folder / f"mpd.slice.{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_slices_by_hand(tmp_path):
    source = read_source(write(tmp_path / "mpd"))
    assert source.name == "mpd"
    # In the order of the slices' numbers: 9000 before 10000. A track in many playlists is one item
    # with its first name; z has no name.
    assert source.items.ids == list(uris("a", "b", "c", "d", "e"))
    assert source.items.texts == ["Summer by Calvin Harris", "Betty", *source.items.texts[:1] * 3]
    assert source.items.metadata == {
        "title": ["Summer", "Betty", "Summer", "Summer", "Summer"],
        "artist": ["Calvin Harris", None, "Calvin Harris", "Calvin Harris", "Calvin Harris"],
        "album": ["Motion", "Motion", "Motion", None, "Motion"],
        "duration_ms": [222533.0, 222533.0, 222533.0, None, 222533.0],
    }
    assert source.sets == [
        ReferenceSet("5", "throwbacks", uris("a", "b")),
        ReferenceSet("6", "for the road", uris("b")),
        ReferenceSet("1000", "gym", uris("c")),
        ReferenceSet("10000", "last", uris("e")),
    ]
    descriptions = [entry.metadata["description"] for entry in source.sets]
    assert descriptions == ["songs I missed", "for the road", None, None]
    assert source.note == (
        "1 set without a query left out; 1 set without a known item left out; "
        "1 repeat within a set left out; 1 track without a name left out; "
        "1 playlist without a name queried by description"
    )


def test_one_slice_and_playlists_without_query(tmp_path):
    folder = write(tmp_path)
    source = read_source(folder / "mpd.slice.9000-9999.json", keep_without_query=True)
    assert source.sets == [ReferenceSet("9000", "", uris("d"))]
    assert source.note == "1 set without a known item left out"
    (tmp_path / "mine.json").write_text(json.dumps({"playlists": SLICES["10000-10999"]}))
    assert read_source(tmp_path / "mine.json").items.ids == list(uris("e"))


@pytest.mark.parametrize(
    ("playlists", "message"),
    [
        (
            None,
            r"a list of playlists, but found a dict with the keys \['info', 'playlists'\] in .*0-9\.json\. N",
        ),
        (
            [],
            r"at least one track with a name, but found none in the 0 playlists of mpd\. Name other",
        ),
        (
            [{"tracks": []}],
            r"a string in the field 'pid', but found \{\"tracks\".* at playlist 0 of .*0-9",
        ),
        (
            [{"pid": 1}],
            r"a list in the field 'tracks', but found .* at playlist 0 of .*\. Correct or remove",
        ),
        (
            [{"pid": 1, "tracks": [{"track_name": "x", "artist_name": "y"}]}],
            r"a string in the field 'track_uri', but found .* at track 0 of playlist 0 of",
        ),
        (
            [{"pid": 1, "tracks": [track(0, "a"), track(1, "b", name=None)]}],
            r"a string in the field 'track_name', but found .* at track 1 of playlist 0 of",
        ),
        (
            [{"pid": 1, "tracks": [{"track_uri": "u", "track_name": "x"}]}],
            r"a string in the field 'artist_name', but found .* at track 0 of playlist 0 of",
        ),
        (
            [{"pid": 1, "tracks": [track(0, "a", duration_ms="3:42")]}],
            r"a number in the field 'duration_ms', but found '3:42' at track 0 of playlist 0 of",
        ),
        (
            [{"pid": 1, "tracks": [track(0, "a")]}, {"pid": 1, "tracks": []}],
            r"each playlist once, but found pid '1' again at playlist 1 of .*\. Correct or",
        ),
    ],
)
def test_faulty_playlists(tmp_path, playlists, message):
    with pytest.raises(InputError, match=message):
        read_source(write(tmp_path / "mpd", {"0-9": playlists}))


def test_faulty_files(tmp_path):
    folder = write(tmp_path / "mpd", {"0-9": SLICES["0-999"]})
    path = folder / "mpd.slice.0-9.json"
    path.write_text("[1]")
    with pytest.raises(
        InputError, match=r"a list of playlists, but found a list in .*\. Name a file such as mpd"
    ):
        read_source(folder)
    path.write_text('{"playlists": [')
    for source in (folder, path):
        with pytest.raises(
            InputError, match=r"one JSON value in .*0-9\.json, but found other text"
        ):
            read_source(source)
    path.write_text("nothing")
    with pytest.raises(
        InputError, match=r"playlists \(mpd\.slice\.0-999\.json, …\), .* found the suffix '\.json'"
    ):
        read_source(path)


def test_from_the_slices_to_queries(tmp_path, capsys):
    playlists = [
        {
            "pid": n,
            "name": f"idea {n}",
            "tracks": [track(i, f"{n}-{i}", f"song {n}", f"band {i}") for i in range(4)]
            + [track(4, "everywhere", "hit")],
        }
        for n in range(20)
    ]
    folder = write(tmp_path / "mpd", {"0-9": playlists[:10], "10-19": playlists[10:]})
    catalog, queries = str(tmp_path / "catalog"), str(tmp_path / "queries")
    catalog_verb.run([str(folder), "--out", catalog, "--dim", "8"])
    printed = capsys.readouterr().out
    assert "items        81 (metadata: title, artist, album, duration_ms)" in printed
    assert "sets         20 (r4t queries" in printed
    assert Catalog.load(catalog).numbers("duration_ms").tolist() == [222533.0] * 81
    queries_verb.run([catalog, "--out", queries, "--sets", str(folder)])
    assert "splits    train 16, val 2, test 2" in capsys.readouterr().out
    by_id = {query.id: query for query in read_queries(queries, "all")}
    assert by_id["12"].text == "idea 12"
    assert by_id["12"].references == uris("12-0", "12-1", "12-2", "12-3", "everywhere")
