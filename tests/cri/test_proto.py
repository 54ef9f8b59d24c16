"""The committed proto and generated code are what the generator makes of the facts."""

import importlib.util
import json
from pathlib import Path

import pytest

from rundlet.cri.proto import api_pb2 as api

ROOT = Path(__file__).resolve().parents[2]
FACTS = json.loads((ROOT / "tools/cri_v1.json").read_text())
GENERATED = ("api.proto", "api_pb2.py", "api_pb2.pyi", "api_pb2_grpc.py", "api_pb2_grpc.pyi")


def load_generator():
    spec = importlib.util.spec_from_file_location("make_cri_proto", ROOT / "tools/make_cri_proto.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_files_are_fresh(tmp_path):
    pytest.importorskip("grpc_tools", reason="grpcio-tools not on this host")
    load_generator().make(tmp_path)
    stale = [
        name
        for name in GENERATED
        if (tmp_path / name).read_bytes() != (ROOT / "src/rundlet/cri/proto" / name).read_bytes()
    ]
    assert stale == [], "run: python tools/make_cri_proto.py"


def test_every_field_has_its_number():
    for name, fields in FACTS["messages"].items():
        descriptor = getattr(api, name).DESCRIPTOR
        assert {field.name: field.number for field in descriptor.fields} == {
            key: fact[0] for key, fact in fields.items()
        }, name


def test_every_rpc_has_its_types_and_direction():
    for service, rpcs in FACTS["services"].items():
        methods = api.DESCRIPTOR.services_by_name[service].methods_by_name
        assert set(methods) == set(rpcs)
        for name, (ask, answer) in rpcs.items():
            method = methods[name]
            assert method.input_type.name == ask
            assert ("stream " if method.server_streaming else "") + method.output_type.name == answer


def test_services_are_called_as_the_kubelet_calls_them():
    assert api.DESCRIPTOR.services_by_name["RuntimeService"].full_name == "runtime.v1.RuntimeService"
    assert api.DESCRIPTOR.services_by_name["ImageService"].full_name == "runtime.v1.ImageService"
