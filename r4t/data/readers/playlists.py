"""Million-playlist slices (Chen et al., RecSys 2018) → `Source`: tracks, playlists, their names.

An item is a track: its id is the `track_uri`, its text "track by artist", its metadata `title`,
`artist`, `album` and `duration_ms`. A track in many playlists is one item, with the texts of
its first occurrence. The description of a playlist is metadata, and its query only if it has no name.
"""

import re
import sys
from pathlib import Path
from typing import Any

from r4t.data.readers.named_sets import NamedSets
from r4t.data.rows import begins_with, optional_number, optional_text, required
from r4t.data.source import ReadOptions, Source

PATTERN = "mpd.slice.*.json"
FORM = "playlists (mpd.slice.0-999.json, …), a folder of slices or one slice"


def accepts(path: Path) -> bool:
    """Whether the folder holds a slice, or the file is a JSON object."""
    return begins_with(path, "{") or any(path.glob(PATTERN))


def read(path: Path, options: ReadOptions) -> Source:
    """Read one slice, or all slices of a folder one after the other, in order of their numbers."""

    def first_number(slice_path: Path) -> tuple[int, str]:
        number = re.search(r"\d+", slice_path.name)
        return int(number[0]) if number else -1, slice_path.name

    files = [path] if path.is_file() else sorted(path.glob(PATTERN), key=first_number)
    return _Playlists().read(path, files)


class _Playlists(NamedSets):
    noun, item_noun, example = "playlist", "track", "mpd.slice.0-999.json"
    id_field, items_field, description_field = "pid", "tracks", "description"
    columns = ("title", "artist", "album", "duration_ms")

    def entries(self, content: Any) -> Any:
        return content.get("playlists") if isinstance(content, dict) else None

    def item_id(self, row: Any, set_id: str, place: str) -> str:
        # One string for each track, however many playlists hold it.
        return sys.intern(required(row, "track_uri", str, place))

    def values(self, row: Any, place: str) -> tuple[Any, ...]:
        title = required(row, "track_name", str, place).strip()
        artist = required(row, "artist_name", str, place).strip() or None
        album = optional_text(row, "album_name") or None
        text = f"{title} by {artist}" if title and artist else title
        return text, title, artist, album, optional_number(row, "duration_ms", place)
