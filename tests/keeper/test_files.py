import os

import pytest

from rundlet.keeper.container import STATE_FILE
from rundlet.keeper.files import read_json, remove_tree, write_json


def test_a_removal_cut_short_leaves_no_container_without_its_stdin(tmp_path):
    """The next supervisor took what was left for a container, missed its stdin and died of that, for ever."""
    directory = tmp_path / "c1"
    directory.mkdir()
    write_json(f"{directory}/{STATE_FILE}", {"id": "c1"})
    os.mkfifo(directory / "stdin")
    (directory / "a-directory").mkdir()  # what ends the removal, wherever it stands in the list
    with pytest.raises(OSError, match="a-directory"):
        remove_tree(str(directory), first=STATE_FILE)
    assert read_json(f"{directory}/{STATE_FILE}") is None
