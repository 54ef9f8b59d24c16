"""registries.conf and its drop-ins from disk, merged in the order of containers-registries.conf.d(5)."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.registry.places import Places
from rundlet.spec.registries import RegistriesConf, RegistriesFile, merge_registries, parse_registries


class LoadedRegistries(NamedTuple):
    """`notices` are the lines of the files that have no effect."""

    conf: RegistriesConf = RegistriesConf()
    notices: tuple[str, ...] = ()


def load_registries(places: Places) -> LoadedRegistries:
    """What the files at `places` say together; none of them need be there but one that was named.

    Raises InvalidArgument "FILE: registry[0].location: …", NotFound, FailedPrecondition (unreadable).
    """
    files = list(_read_files(places))
    return LoadedRegistries(merge_registries(files), tuple(notice for one in files for notice in one.notices))


def _read_files(places: Places) -> Iterator[RegistriesFile]:
    text = read_text(places.registries_conf)
    if text is None and places.registries_conf_named:
        raise NotFound(f"no registries configuration at {places.registries_conf}")
    if text is not None:
        yield parse_registries(text, places.registries_conf)
    for path in (*_list_drop_ins(places.registries_conf_dirs), places.short_name_aliases):
        text = read_text(path)
        if text is not None:
            yield parse_registries(text, path, drop_in=True)


def _list_drop_ins(directories: tuple[str, ...]) -> Iterator[str]:
    for directory in directories:
        yield from (path for path in list_directory(directory) if path.endswith(".conf"))


def list_directory(directory: str) -> list[str]:
    """Paths of what is in a directory, by name; none when it is not there."""
    try:
        return [f"{directory}/{name}" for name in sorted(os.listdir(directory))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(directory, error) from error


def read_text(path: str) -> str | None:
    """A configuration file's content, None when it is not there."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path}: not UTF-8 text") from error
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: OSError) -> FailedPrecondition:
    """An existing file that cannot be read is never taken for a missing one: it may forbid something."""
    return FailedPrecondition(f"cannot read {path}: {os.strerror(error.errno or 0).lower()}")
