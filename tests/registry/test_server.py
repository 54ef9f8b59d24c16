"""Our server by bare HTTP: what the distribution specification asks of each endpoint."""

import http.client
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rundlet.registry.server import RegistryServer
from rundlet.spec import mediatype
from rundlet.spec.digest import Digest

CONTENT = b"0123456789"
SUM = str(Digest.of(CONTENT))
MANIFEST = b'{"schemaVersion": 2}'
ABSENT = str(Digest.of(b"absent"))


class Answered:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def code(self):
        return json.loads(self.body)["errors"][0]["code"]


@pytest.fixture
def call(server):
    """One request over a connection that is kept between calls."""
    host, port = server.address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)

    def send(method, path, body=None, headers=None, **options):
        connection.request(method, path, body, headers or {}, **options)
        return Answered(connection.getresponse())

    yield send
    connection.close()


@pytest.fixture
def stored(call):
    """The path of a blob that is there."""
    assert call("POST", f"/v2/a/b/blobs/uploads/?digest={SUM}", CONTENT).status == 201
    return f"/v2/a/b/blobs/{SUM}"


def test_it_says_what_it_is(call):
    answered = call("GET", "/v2/")
    assert answered.status == 200
    assert answered.headers["Docker-Distribution-API-Version"] == "registry/2.0"


def test_an_upload_in_pieces(call):
    begun = call("POST", "/v2/a/b/blobs/uploads/")
    assert (begun.status, begun.headers["Range"]) == (202, "0-0")
    location = begun.headers["Location"]
    first = call("PATCH", location, CONTENT[:4], {"Content-Range": "0-3"})
    assert (first.status, first.headers["Range"]) == (202, "0-3")
    assert call("PATCH", location, b"x", {"Content-Range": "7-7"}).status == 416
    assert call("PATCH", location, iter([CONTENT[4:6], CONTENT[6:8]]), encode_chunked=True).status == 202
    state = call("GET", location)
    assert (state.status, state.headers["Range"]) == (204, "0-7")
    done = call("PUT", f"{location}?digest={SUM}", CONTENT[8:])
    assert (done.status, done.headers["Location"]) == (201, f"/v2/a/b/blobs/{SUM}")
    assert call("GET", done.headers["Location"]).body == CONTENT


def test_an_upload_with_another_digest_leaves_nothing(call, tmp_path):
    refused = call("POST", f"/v2/a/b/blobs/uploads/?digest={SUM}", b"other")
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")
    assert list((tmp_path / "registry" / "uploads").iterdir()) == []
    assert call("GET", f"/v2/a/b/blobs/{SUM}").status == 404


def test_an_upload_can_be_cancelled(call):
    location = call("POST", "/v2/a/b/blobs/uploads/").headers["Location"]
    assert call("DELETE", location).status == 204
    assert call("GET", location).code == "BLOB_UPLOAD_UNKNOWN"


def test_a_blob_is_taken_over_from_another_repository(call, stored):
    mounted = call("POST", f"/v2/c/blobs/uploads/?mount={SUM}&from=a/b")
    assert (mounted.status, mounted.headers["Location"]) == (201, f"/v2/c/blobs/{SUM}")
    assert call("GET", f"/v2/c/blobs/{SUM}").body == CONTENT
    assert call("POST", f"/v2/d/blobs/uploads/?mount={ABSENT}&from=a/b").status == 202


def test_a_blob_belongs_to_its_repository(call, stored):
    assert call("GET", stored).status == 200
    other = call("GET", f"/v2/other/blobs/{SUM}")
    assert (other.status, other.code) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-", 200, CONTENT, None),
        ("bytes=3-", 206, CONTENT[3:], "bytes 3-9/10"),
        ("bytes=3-5", 206, CONTENT[3:6], "bytes 3-5/10"),
        ("bytes=3-99", 206, CONTENT[3:], "bytes 3-9/10"),
        ("bytes=-4", 206, CONTENT[6:], "bytes 6-9/10"),
        ("bytes=0-2,5-6", 200, CONTENT, None),
        ("bytes=-", 200, CONTENT, None),
        ("lines=1-2", 200, CONTENT, None),
    ],
)
def test_ranges(call, stored, asked, status, body, content_range):
    answered = call("GET", stored, headers={"Range": asked})
    assert (answered.status, answered.body) == (status, body)
    assert answered.headers["Content-Range"] == content_range


def test_a_range_behind_the_end(call, stored):
    assert call("GET", stored, headers={"Range": "bytes=10-"}).status == 416


def test_head_has_the_headers_alone(call, stored):
    answered = call("HEAD", stored)
    assert (answered.status, answered.body) == (200, b"")
    assert answered.headers["Content-Length"] == "10"
    assert answered.headers["Docker-Content-Digest"] == SUM
    assert call("HEAD", f"/v2/a/b/blobs/{ABSENT}").status == 404


def test_a_manifest_by_tag_and_digest(call):
    put = call("PUT", "/v2/a/b/manifests/t", MANIFEST, {"Content-Type": mediatype.OCI_MANIFEST})
    digest = str(Digest.of(MANIFEST))
    assert (put.status, put.headers["Docker-Content-Digest"]) == (201, digest)
    for reference in ("t", digest):
        answered = call("GET", f"/v2/a/b/manifests/{reference}")
        assert answered.body == MANIFEST
        assert answered.headers["Content-Type"] == mediatype.OCI_MANIFEST
        assert answered.headers["Docker-Content-Digest"] == digest


def test_a_manifest_that_is_not_what_it_says(call):
    assert call("PUT", f"/v2/a/b/manifests/{ABSENT}", MANIFEST).code == "DIGEST_INVALID"
    assert call("PUT", "/v2/a/b/manifests/t", b"no json").status == 400
    assert call("PUT", "/v2/a/b/manifests/t", b"[]").status == 400
    missing = call("GET", "/v2/a/b/manifests/t")
    assert (missing.status, missing.code) == (404, "MANIFEST_UNKNOWN")


def test_a_manifest_beyond_the_limit_is_refused(call):
    assert call("PUT", "/v2/a/b/manifests/t", b" " * ((4 << 20) + 1)).status == 413
    assert call("GET", "/v2/").status == 200


def test_tags_in_pages(call):
    assert call("GET", "/v2/a/b/tags/list").code == "NAME_UNKNOWN"
    for tag in ("c", "a", "b"):
        call("PUT", f"/v2/a/b/manifests/{tag}", MANIFEST)
    assert json.loads(call("GET", "/v2/a/b/tags/list").body) == {"name": "a/b", "tags": ["a", "b", "c"]}
    first = call("GET", "/v2/a/b/tags/list?n=2")
    assert json.loads(first.body)["tags"] == ["a", "b"]
    following = first.headers["Link"].split(">")[0].removeprefix("<")
    rest = call("GET", following)
    assert json.loads(rest.body)["tags"] == ["c"]
    assert rest.headers["Link"] is None
    assert json.loads(call("GET", "/v2/a/b/tags/list?n=0").body)["tags"] == []
    assert call("GET", "/v2/a/b/tags/list?n=x").status == 400


def test_a_blob_is_deleted(call, stored):
    assert call("DELETE", stored).status == 202
    assert call("GET", stored).status == 404
    assert call("DELETE", stored).code == "BLOB_UNKNOWN"


def test_a_tag_and_then_its_manifest_are_deleted(call):
    for tag in ("one", "two"):
        digest = call("PUT", f"/v2/a/b/manifests/{tag}", MANIFEST).headers["Docker-Content-Digest"]
    assert call("DELETE", "/v2/a/b/manifests/one").status == 202
    assert call("GET", f"/v2/a/b/manifests/{digest}").status == 200
    assert call("DELETE", f"/v2/a/b/manifests/{digest}").status == 202
    assert call("GET", "/v2/a/b/manifests/two").status == 404
    assert json.loads(call("GET", "/v2/a/b/tags/list").body)["tags"] == []


def artifact(artifact_type, subject):
    empty = {"mediaType": mediatype.OCI_EMPTY, "digest": str(Digest.of(b"{}")), "size": 2}
    manifest = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty,
        "layers": [empty],
        "subject": {"mediaType": mediatype.OCI_MANIFEST, "digest": subject, "size": 20},
        "annotations": {"kind": artifact_type},
    }
    return json.dumps(manifest).encode()


def test_referrers_are_listed(call):
    for kind in ("a/one", "a/two"):
        raw = artifact(kind, ABSENT)
        typed = {"Content-Type": mediatype.OCI_MANIFEST}
        put = call("PUT", f"/v2/a/b/manifests/{Digest.of(raw)}", raw, typed)
        assert put.headers["OCI-Subject"] == ABSENT
    everything = call("GET", f"/v2/a/b/referrers/{ABSENT}")
    assert everything.headers["Content-Type"] == mediatype.OCI_INDEX
    listed = json.loads(everything.body)["manifests"]
    assert {each["artifactType"] for each in listed} == {"a/one", "a/two"}
    some = call("GET", f"/v2/a/b/referrers/{ABSENT}?artifactType=a/one")
    assert some.headers["OCI-Filters-Applied"] == "artifactType"
    assert [each["annotations"] for each in json.loads(some.body)["manifests"]] == [{"kind": "a/one"}]
    assert json.loads(call("GET", f"/v2/a/b/referrers/{SUM}").body)["manifests"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/",
        "/v2/../../etc/passwd",
        "/v2/../blobs/" + SUM,
        "/v2/a/../b/blobs/" + SUM,
        "/v2//a/blobs/" + SUM,
        "/v2/_blobs/blobs/" + SUM,
        "/v2/a/blobs/sha256:abc",
        "/v2/a/blobs/md5:" + "a" * 32,
        "/v2/a/manifests/..",
        "/v2/a/manifests/" + "t" * 200,
        "/v2/a/blobs/uploads/../../x",
        "/v2/a/blobs/uploads/" + "a" * 32,
    ],
)
def test_names_that_lead_elsewhere(call, path):
    assert call("GET", path).status in {400, 404}


def test_an_unread_body_is_not_taken_for_a_request(call):
    smuggled = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    assert call("PUT", "/nowhere", smuggled).headers["Connection"] == "close"


def test_a_malformed_length_is_refused(call):
    assert call("PUT", "/v2/a/b/manifests/t", b"{}", {"Content-Length": "-2"}).status == 400


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.text("abv2/._:%?=&-", max_size=30),
    method=st.sampled_from(["GET", "PUT", "POST", "PATCH", "DELETE"]),
)
def test_any_path_is_answered(call, path, method):
    assert call(method, f"/v2/{path}").status < 500


def test_content_outlives_the_server(tmp_path):
    for method, path, body in [("PUT", "/v2/a/manifests/t", MANIFEST), ("GET", "/v2/a/manifests/t", None)]:
        server = RegistryServer(str(tmp_path))
        server.start()
        host, port = server.address.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request(method, path, body)
        assert connection.getresponse().status < 300
        server.stop()
        connection.close()
