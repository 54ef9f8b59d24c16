"""podman's options of run and create, from the command line to RunOptions."""

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rundlet.cli.local.command import FAILED, local_command, passing_on
from rundlet.cli.local.flags import declare
from rundlet.cli.local.runflags import read_run_options
from rundlet.cli.local.runtable import CREATE, RUN
from rundlet.local.options import RunOptions

ENVIRON = {"HOME": "/home/me", "TERM": "xterm"}


def parse(*arguments):
    """The options that a command line gives, or the click Result of one that is refused."""
    found = []

    @local_command(name="run", context_settings={"allow_interspersed_args": False})
    @passing_on("IMAGE [COMMAND]...")
    @declare(RUN)
    def run(words, **flags):
        found.append(read_run_options(flags, words, ENVIRON))

    result = CliRunner().invoke(run, list(arguments))
    if found:
        return found[0]
    return result


def test_nothing_but_an_image_is_all_defaults():
    assert parse("redis") == RunOptions(image="redis")


def test_what_follows_the_image_is_the_container_s():
    options = parse("--rm=true", "redis", "sh", "-c", "--rm=maybe", "--", "-v")
    assert options.remove
    assert options.command == ("sh", "-c", "--rm=maybe", "--", "-v")


def test_short_options_stick_together():
    options = parse("-it", "-eA=1", "-e", "HOME", "-w/srv", "-u", "1:2", "redis")
    assert options.tty
    assert options.stdin
    assert (options.env, options.workdir, options.user) == ((("A", "1"), ("HOME", "/home/me")), "/srv", "1:2")


def test_a_switch_that_is_on_can_be_switched_off():
    assert parse("--read-only", "--read-only-tmpfs=false", "redis").read_only_tmpfs is False


def test_the_value_of_an_option_may_look_like_a_switch():
    assert parse("--name", "x", "--entrypoint", "--rm=true", "redis").entrypoint == ("--rm=true",)


def test_limits():
    limits = parse(
        "-m", "1g", "--memory-swap", "2g", "--cpus", "0.5", "--pids-limit", "-1", "redis"
    ).resources
    assert (limits.memory_limit_bytes, limits.memory_swap_limit_bytes) == (1 << 30, 2 << 30)
    assert (limits.cpu_quota_us, limits.cpu_period_us, limits.pids_limit) == (50_000, 100_000, -1)


def test_lists_are_split_at_commas_and_arrays_are_not():
    options = parse("--cap-add", "net_admin,sys_time", "-e", "A=1,2", "-l", "k=a,b", "-p", "80,81", "redis")
    assert options.confinement.capabilities.add == ("CAP_NET_ADMIN", "CAP_SYS_TIME")
    assert options.env == (("A", "1,2"),)
    assert options.labels == {"k": "a,b"}
    assert [port.container_port for port in options.ports] == [80, 81]


def test_address_options_belong_to_the_network():
    choice = parse("--network", "front", "--ip", "10.0.0.5", "--network-alias", "a,b", "redis").network
    assert (choice.names, choice.ip, choice.aliases) == (("front",), "10.0.0.5", ("a", "b"))


def test_the_time_zone_is_a_file_of_this_host():
    options = parse("--tz", "local", "redis")
    assert [mount.target for mount in options.mounts] == ["/etc/localtime"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--memry", "1g", "redis"), "no such option --memry\nhint: did you mean --memory?"),
        (("--memory", "lots", "redis"), "--memory lots: not a size"),
        (("-p", "80:x", "redis"), "--publish 80:x: not a port"),
        (("-v", "/a:b", "redis"), "--volume /a:b: the target must be an absolute path"),
        (("--mount", "type=bnd,dst=/a", "redis"), "hint: did you mean bind?"),
        (("--restart", "alway", "redis"), "hint: did you mean always?"),
        (("--cap-add", "NET_ADMN", "redis"), "hint: did you mean CAP_NET_ADMIN?"),
        (("--memory-swap", "1g", "redis"), "--memory-swap needs --memory"),
        (("--cpus", "1", "--cpu-quota", "5", "redis"), "--cpus excludes --cpu-period and --cpu-quota"),
        (("--rm=maybe", "redis"), "--rm: neither true nor false"),
        (("--network", "host", "--network", "front", "redis"), "cannot be joined"),
        (("--network", "none", "--ip", "10.0.0.5", "redis"), "no address"),
        (("--tz", "Mars/Olympus", "redis"), "no such time zone"),
        (("--env-file", "/nowhere", "redis"), "no file /nowhere"),
        (("-v", "/a:/x", "--tmpfs", "/x", "redis"), "two mounts at /x"),
        (("--stop-signal", "SIGNOPE", "redis"), "--stop-signal SIGNOPE"),
        (("--health-interval", "5s", "redis"), "--health-* options need --health-cmd"),
        ((), "missing argument"),
    ],
)
def test_wrong_options_are_one_line_that_names_them(arguments, said):
    result = parse(*arguments)
    assert result.exit_code == FAILED
    assert said in result.stderr
    assert result.stderr.count("\n") <= 2


def test_every_option_of_create_is_one_of_run():
    assert {flag.names for flag in CREATE} <= {flag.names for flag in RUN}


@given(
    st.lists(st.sampled_from(["--rm", "--rm=false", "-i", "--init=true", "-it", "--name=x", "--name", "x"]))
)
def test_switches_are_told_from_the_image_wherever_they_stand(words):
    command = click.Command("run", params=[])
    assert command is not None
    arguments = [word for word in words if word not in ("--name", "x")]
    options = parse(*arguments, "redis", "x", "--rm=false")
    assert options.command == ("x", "--rm=false")
    assert options.stdin == bool({"-i", "-it"} & set(arguments))
