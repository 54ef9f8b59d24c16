"""Settings of metrics and spans, and what operations add up to."""

import tomllib

import pytest

from rundlet.engine.configfile import format_settings, load_settings
from rundlet.engine.criofile import format_taken, take_crio
from rundlet.engine.settings import Settings, check_settings
from rundlet.engine.tally import Tally, name_size
from rundlet.engine.telemetry import Listen, MetricsSettings, TracingSettings, parse_listen
from rundlet.errors import InvalidArgument, NotFound
from rundlet.step import step
from rundlet.trace.span import advances, describe
from rundlet.trace.tracer import Tracer


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:9537", Listen("127.0.0.1", 9537)),
        ("localhost:0", Listen("localhost", 0)),
        ("[::1]:9537", Listen("::1", 9537)),
        ("unix:///run/m.sock", Listen("", 0, "/run/m.sock")),
    ],
)
def test_where_to_listen(text, found):
    assert parse_listen(text, "x") == found


@pytest.mark.parametrize(
    "text", ["", ":9537", "9537", "host:", "host:70000", "host:-1", "host:x", "unix://m"]
)
def test_where_nobody_can_listen(text):
    with pytest.raises(InvalidArgument, match=r"^metrics\.listen: "):
        parse_listen(text, "metrics.listen")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (Settings(metrics=MetricsSettings(listen="x")), "metrics.listen"),
        (Settings(metrics=MetricsSettings(tls_cert="/c")), "metrics.tls_key"),
        (Settings(tracing=TracingSettings(endpoint="unix:///x")), "tracing.endpoint"),
        (
            Settings(tracing=TracingSettings(sampling_rate_per_million=-1)),
            "tracing.sampling_rate_per_million",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_key(settings, key):
    with pytest.raises(InvalidArgument) as told:
        check_settings(settings)
    assert told.value.message.startswith(f"{key}: ")


def test_the_sections_of_the_file_are_read_merged_and_printed(tmp_path):
    path = tmp_path / "rundlet.toml"
    path.write_text('[metrics]\nlisten = "127.0.0.1:9537"\n[tracing]\nsampling_rate_per_million = 7')
    drop_in = tmp_path / "rundlet.toml.d"
    drop_in.mkdir()
    (drop_in / "1.toml").write_text('[tracing]\nendpoint = "127.0.0.1:4317"')
    settings = load_settings(str(path), {"log_level": "debug"})
    assert settings.metrics == MetricsSettings(listen="127.0.0.1:9537")
    assert settings.tracing == TracingSettings(endpoint="127.0.0.1:4317", sampling_rate_per_million=7)
    printed = tomllib.loads(format_settings(settings, {}))
    assert printed["metrics"]["listen"] == "127.0.0.1:9537"
    path.write_text('[metrics]\nlistn = "x"')
    with pytest.raises(InvalidArgument, match=r"metrics\.listn: unknown key"):
        load_settings(str(path))


def test_crio_conf_is_taken_over():
    text = """
    [crio.metrics]
    enable_metrics = true
    metrics_port = 9537
    metrics_cert = "/c"
    metrics_key = "/k"
    metrics_collectors = ["operations"]
    [crio.tracing]
    enable_tracing = true
    tracing_sampling_rate_per_million = 1000000
    """
    taken = take_crio(tomllib.loads(text))
    assert taken.left == [("crio.metrics.metrics_collectors", ["operations"])]
    again = tomllib.loads(format_taken(taken, "crio.conf"))
    assert again["metrics"] == {"listen": "127.0.0.1:9537", "tls_cert": "/c", "tls_key": "/k"}
    assert again["tracing"] == {"endpoint": "127.0.0.1:4317", "sampling_rate_per_million": 1_000_000}
    off = take_crio(tomllib.loads("[crio.metrics]\nenable_metrics = false\nmetrics_port = 9090"))
    assert off == ({}, [])


def run_pod(tracer):
    with tracer.operation("RunPodSandbox"), tracer.operation("run", "pod", "p"), step("pod.network"):
        set_up_network()


def set_up_network():
    with step("network.add.bridge"):
        pass


def test_operations_are_counted_and_pulls_measured():
    tracer, tally = Tracer(), Tally()
    tracer.observe(tally)
    for _ in range(3):
        run_pod(tracer)
    with tracer.operation("PullImage"), tracer.operation("pull", "image", label="redis"):
        with step("layer.download", "sha256:0"):
            describe("application/x")
            advances(2_000_000, 2_000_000)
        with step("layer.reuse", "sha256:1"):
            advances(0, 30)
    with pytest.raises(NotFound), tracer.operation("PullImage"), tracer.operation("pull", "image"):
        raise NotFound("no such image")
    totals = tally.read()
    assert totals.operations["RunPodSandbox"].number == 3
    assert totals.operations["network_setup_overall"].number == 3
    assert 0 < totals.operations["network_setup_pod"].sum < totals.operations["network_setup_overall"].sum
    assert totals.operations["PullImage"].buckets[-1] == 2
    assert totals.errors == {"PullImage": 1}
    assert totals.steps["run pod"][0] == 3
    assert (totals.pulls, totals.pull_failures) == (1, {"NOT_FOUND": 1})
    assert totals.pulled_bytes == {("application/x", "10000000"): 2_000_000}
    assert (totals.reused_layers, totals.skipped_bytes) == (1, {"1000": 30})
    assert totals.layer_sizes.number == 1


def test_quantiles_and_buckets():
    from rundlet.engine.tally import Distribution

    values = Distribution((1.0, 10.0))
    for number in range(1, 101):
        values.add(number / 10)
    found = values.read()
    assert found.buckets == (10, 100, 100)
    assert found.quantiles == pytest.approx((5.1, 9.1, 10.0))
    assert name_size(10**11) == "+Inf"
