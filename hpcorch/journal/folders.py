"""Folders with all that is in them, however deep somebody has nested them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(
    top: Path, *, on_error: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """The folders from ``top`` down as :func:`os.walk` gives them, links not followed.

    Before Python 3.12 :func:`os.walk` calls itself for each level, and ends in a RecursionError. Here a folder
    whose path is longer than the system takes is one that cannot be read.

    :param on_error: gets the error of each folder that cannot be read, which is passed over
    :return: path, names of folders, and names of all else; folders taken out of the list are not entered
    """
    left = [os.fspath(top)]
    while left:
        folder = left.pop()
        folders: list[str] = []
        names: list[str] = []
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            if on_error is not None:
                on_error(error)
            continue
        for entry in found:
            (folders if _is_folder(entry) else names).append(entry.name)
        links = {entry.name for entry in found if entry.is_symlink()}
        yield folder, folders, names
        left += [f"{folder}{os.sep}{name}" for name in reversed(folders) if name not in links]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or where this user may not look
        return False


def raise_error(error: OSError) -> None:
    """For :func:`walk`: a folder that cannot be read is an error.

    :raises OSError: it
    """
    raise error
