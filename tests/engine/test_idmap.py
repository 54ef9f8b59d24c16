"""Which root file system a container in a user namespace gets: decided from what the host can do."""

import pytest

from rundlet.engine.idmap import Abilities, Wanted, can_map_users, choose_data, read_abilities, uses_idmap

ALL, USERS, NOTHING = Abilities(users=True, idmap=True), Abilities(users=True), Abilities()


@pytest.mark.parametrize(
    ("wanted", "abilities", "possible", "idmap"),
    [
        ("auto", ALL, True, True),
        ("auto", USERS, True, False),
        ("auto", NOTHING, False, False),
        ("idmap", ALL, True, True),
        ("idmap", USERS, False, True),
        ("metacopy", ALL, True, False),
        ("copy", ALL, True, False),
        ("copy", NOTHING, False, False),
    ],
)
def test_what_is_possible(wanted: Wanted, abilities: Abilities, possible: bool, idmap: bool) -> None:
    assert can_map_users(wanted, abilities) == possible
    assert uses_idmap(wanted, abilities) == idmap


@pytest.mark.parametrize(
    ("wanted", "metacopy", "layers", "data"),
    [
        ("auto", True, 5, "refer"),
        ("metacopy", True, 5, "refer"),
        ("copy", True, 5, "copy"),
        ("auto", False, 5, "copy"),
        ("metacopy", False, 5, "copy"),
        ("auto", True, 31, "copy"),  # their names would not fit
    ],
)
def test_how_the_data_is_held(wanted: Wanted, metacopy: bool, layers: int, data: str) -> None:
    assert choose_data(wanted, metacopy=metacopy, layers=layers) == data


@pytest.mark.kernel
def test_what_this_kernel_can_do(tmp_path: object) -> None:
    """procfs is the same through every mapping: it cannot be idmapped."""
    assert read_abilities(["/proc"], (99, 0)) == USERS
    assert read_abilities([str(tmp_path)], (6, 12)) == USERS
    assert read_abilities([f"{tmp_path}/absent"], (99, 0)) == USERS
