"""Million-playlist slices (Chen et al., RecSys 2018) → `Source`: tracks, playlists, their names."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from r4t.data.fields import optional_number, optional_text, read_json, required
from r4t.data.source import Items, ReferenceSet, Source, collect_sets, counted, join_notes
from r4t.errors import InputError

PATTERN = "mpd.slice.*.json"
COLUMNS = ("title", "artist", "album", "duration_ms")


def is_playlists(folder: Path) -> bool:
    """Whether the folder holds at least one slice."""
    return any(folder.glob(PATTERN))


def read_playlists(path: str | Path, unasked: bool = False) -> Source:
    """Read a folder of slices (`mpd.slice.0-999.json`, …), in the order of their numbers, or one.

    Slices are read one after the other. An item is a track: its id is the `track_uri`, its text
    "track by artist", its metadata `title`, `artist`, `album` and `duration_ms`. A track of many
    playlists is one item, as it stands where it occurs first. Tracks without a name have nothing to
    encode: they are left out, and counted.

    A set's query is the name of the playlist, or its description where it has no name (counted);
    the description is metadata and never part of a query that has a name, since few playlists have
    one. Members are in the order of the file.

    Args:
        path: The folder, or one slice.
        unasked: Keep playlists with neither name nor description.

    Raises:
        InputError: A file holds no playlists, a field is missing or of another kind, or a playlist
            occurs twice.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(path.glob(PATTERN), key=_first_number)
    playlists = _Playlists()
    for file in files:
        playlists.add(file)
    return playlists.source(path.stem if path.is_file() else path.name, unasked)


def _first_number(path: Path) -> tuple[int, str]:
    found = re.search(r"\d+", path.name)
    return int(found[0]) if found else -1, path.name


class _Playlists:
    """What was read so far: of a slice nothing stays but tracks, members and names."""

    def __init__(self) -> None:
        self.tracks: dict[str, tuple[str, str | None, str | None, float | None]] = {}
        self.sets: dict[str, ReferenceSet] = {}
        self.nameless: set[str] = set()
        self.described = 0

    def add(self, file: Path) -> None:
        told = read_json(file)
        playlists = told.get("playlists") if isinstance(told, dict) else None
        if not isinstance(playlists, list):
            found = sorted(told)[:8] if isinstance(told, dict) else type(told).__name__
            raise InputError(
                "A slice of playlists must be an object with a list called playlists — found "
                f"{found} in {file} — name a file such as mpd.slice.0-999.json."
            )
        for number, playlist in enumerate(playlists):
            self._add_playlist(playlist, f"playlist {number} of {file}")

    def _add_playlist(self, playlist: Any, place: str) -> None:
        name = required(playlist, "pid", str, place)
        if name in self.sets:
            raise InputError(
                f"Each playlist must stand in one slice once — found pid {name!r} again at {place} "
                "— remove one of the two."
            )
        tracks = required(playlist, "tracks", list, place)
        uris = [self._add_track(row, f"track {n} of {place}") for n, row in enumerate(tracks)]
        members = tuple(uri for uri in uris if uri in self.tracks)
        query, description = optional_text(playlist, "name"), optional_text(playlist, "description")
        self.described += not query and bool(description)
        metadata = {"description": description or None}
        self.sets[name] = ReferenceSet(name, query or description, members, metadata)

    def _add_track(self, row: Any, place: str) -> str:
        # One string a track, however many playlists have it.
        uri = sys.intern(required(row, "track_uri", str, place))
        if uri in self.tracks or uri in self.nameless:
            return uri
        title = required(row, "track_name", str, place).strip()
        artist = required(row, "artist_name", str, place).strip()
        album = optional_text(row, "album_name")
        duration = optional_number(row, "duration_ms", place)
        if title:
            self.tracks[uri] = (title, artist or None, album or None, duration)
        else:
            self.nameless.add(uri)
        return uri

    def source(self, name: str, unasked: bool) -> Source:
        if not self.tracks:
            raise InputError(
                "A catalog of playlists needs at least one track with a name — found none in the "
                f"{len(self.sets)} playlists of {name} — name other slices."
            )
        rows = self.tracks.values()
        texts = [title if artist is None else f"{title} by {artist}" for title, artist, *_ in rows]
        columns = {key: [row[place] for row in rows] for place, key in enumerate(COLUMNS)}
        items = Items(list(self.tracks), texts, columns)
        sets, note = collect_sets(list(self.sets.values()), self.tracks.keys(), unasked)
        return Source(
            name,
            items,
            sets,
            join_notes(
                note,
                counted(len(self.nameless), "track without a name", "tracks without a name"),
                counted(
                    self.described,
                    "playlist without a name",
                    "playlists without a name",
                    "asked for by the description",
                ),
            ),
        )
