import subprocess
from pathlib import Path

import pytest

from rundlet.engine.apparmor import DEFAULT_PROFILE, choose_profile, find_parser, read_loaded
from rundlet.engine.options import Security, SecurityProfile
from rundlet.errors import InvalidArgument


@pytest.mark.parametrize(
    "profile", [SecurityProfile("runtime-default"), SecurityProfile("localhost", "mine")]
)
def test_a_kernel_without_apparmor_refuses_a_profile(profile: SecurityProfile) -> None:
    with pytest.raises(InvalidArgument, match="AppArmor is off"):
        choose_profile(Security(apparmor=profile), enabled=False)


@pytest.mark.parametrize(
    "security",
    [
        Security(),
        Security(apparmor=SecurityProfile("unconfined")),
        Security(apparmor=SecurityProfile("localhost", "mine"), privileged=True),
    ],
)
def test_nothing_asked_is_nothing_refused(security: Security) -> None:
    assert choose_profile(security, enabled=False) == ""


def test_a_profile_must_be_loaded() -> None:
    with pytest.raises(InvalidArgument, match="'mine' is not loaded"):
        choose_profile(Security(apparmor=SecurityProfile("localhost", "mine")), enabled=True)
    unconfined = Security(apparmor=SecurityProfile("unconfined"))
    assert choose_profile(unconfined, enabled=True) == "unconfined"


def test_loaded_profiles_are_read(tmp_path: Path) -> None:
    path = tmp_path / "profiles"
    path.write_text("rundlet-default (enforce)\n/usr/bin/man (complain)\nlsb_release (odd name) (enforce)\n")
    assert read_loaded(str(path)) == {"rundlet-default", "/usr/bin/man", "lsb_release (odd name)"}
    assert read_loaded(str(tmp_path / "absent")) == frozenset()


def test_the_default_profile_can_be_compiled() -> None:
    if not find_parser():
        pytest.skip("apparmor_parser not on this host")
    compiled = subprocess.run(
        [find_parser(), "--skip-kernel-load", "--skip-cache", "--stdout"],
        input=DEFAULT_PROFILE.encode(),
        capture_output=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stderr
    assert b"rundlet-default" in compiled.stdout
