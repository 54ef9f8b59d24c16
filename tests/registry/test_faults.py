"""The client and a peer that misbehaves: what passes is retried, what does not is told in one line."""

import threading

import pytest

from rundlet.errors import (
    DataLoss,
    DeadlineExceeded,
    Error,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference

CONTENT = bytes(range(256)) * 40_000  # 10 MB
SUM = Digest.of(CONTENT)
BLOB = Descriptor("x", str(SUM), len(CONTENT))
BLOB_PATH = f"/v2/a/b/blobs/{SUM}"
MANIFEST = b'{"schemaVersion": 2}'
MANIFEST_PATH = "/v2/a/b/manifests/t"


@pytest.fixture
def ref(peer):
    return parse_reference(f"{peer.address}/a/b:t")


@pytest.fixture
def download(client, ref, tmp_path):
    """Downloads the blob; returns what the file holds."""

    def run(descriptor=BLOB, **options):
        client.download_blob(ref, descriptor, str(tmp_path / "blob"), **options)
        return (tmp_path / "blob").read_bytes()

    return run


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(client, peer, ref, answer, virtual_time, status):
    peer.say(f"GET {MANIFEST_PATH}", answer(status), answer(status), answer(200, MANIFEST))
    assert client.resolve(ref).raw == MANIFEST
    assert virtual_time.slept == [0.25, 0.5]


def test_the_peer_s_own_wait_is_kept(client, peer, ref, answer, virtual_time, http_date):
    refusals = [answer(429, headers={"Retry-After": text}) for text in ("7", http_date(30), "soon", "-1")]
    peer.say(f"GET {MANIFEST_PATH}", *refusals, answer(200, MANIFEST))
    client.resolve(ref)
    assert virtual_time.slept == [7, 23, 1.0, 2.0]


def test_a_wait_beyond_reason_is_not_waited_for(client, peer, ref, answer, virtual_time):
    peer.say(f"GET {MANIFEST_PATH}", answer(429, headers={"Retry-After": "3600"}))
    with pytest.raises(ResourceExhausted) as caught:
        client.resolve(ref)
    assert caught.value.hint
    assert virtual_time.slept == []


@pytest.mark.parametrize(("status", "kind"), [(429, ResourceExhausted), (503, Unavailable)])
def test_patience_ends(make_client, peer, ref, answer, virtual_time, status, kind):
    peer.say(f"GET {MANIFEST_PATH}", answer(status))
    with pytest.raises(kind, match=f"registry {peer.address}: manifest a/b:t: HTTP status {status}"):
        make_client(retries=2).resolve(ref)
    assert len(virtual_time.slept) == 2


@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidArgument), (403, PermissionDenied), (404, NotFound), (418, Unavailable)]
)
def test_what_will_not_pass_is_told_at_once(client, peer, ref, answer, virtual_time, status, kind):
    body = b'{"errors": [{"code": "CODE", "message": "line\\none\\u001b[31m", "detail": {"x": 1}}]}'
    peer.say(f"GET {MANIFEST_PATH}", answer(status, body))
    with pytest.raises(kind, match=r"CODE: line one \[31m") as caught:
        client.resolve(ref)
    assert caught.value.message.isprintable()
    assert virtual_time.slept == []


def test_a_deadline_ends_the_waiting_before_it_begins(client, peer, ref, answer, virtual_time):
    peer.say(f"GET {MANIFEST_PATH}", answer(503, headers={"Retry-After": "20"}))
    with pytest.raises(DeadlineExceeded, match="503"):
        client.resolve(ref, deadline_ns=int((virtual_time.now_s + 10) * 1e9))
    assert virtual_time.slept == []


def test_a_deadline_that_has_passed_sends_nothing(client, peer, ref, virtual_time):
    with pytest.raises(DeadlineExceeded):
        client.resolve(ref, deadline_ns=int(virtual_time.now_s * 1e9))
    assert peer.seen == []


def test_a_reset_before_the_answer_is_tried_again(client, peer, ref, answer):
    peer.say(f"GET {MANIFEST_PATH}", answer(cut=0), answer(200, MANIFEST))
    assert client.resolve(ref).raw == MANIFEST


def test_a_silent_peer_times_out(make_client, peer, ref, answer):
    silence = threading.Event()
    peer.next_answer = lambda *_call: silence.wait(20) or answer()
    try:
        with pytest.raises(Unavailable, match="timed out"):
            make_client(read_timeout_s=0.05, retries=0).resolve(ref.with_tag("x"))
    finally:
        silence.set()


@pytest.mark.parametrize("cut", [1, 5_000_000, len(CONTENT) - 1])
def test_a_download_is_resumed_where_it_broke(download, peer, answer, cut):
    peer.say(f"GET {BLOB_PATH}", answer(200, CONTENT, cut=cut), answer(200, CONTENT, ranged=True))
    assert download() == CONTENT
    first, second = peer.asked(BLOB_PATH)
    assert "Range" not in first.headers
    assert second.headers["Range"] == f"bytes={cut}-{len(CONTENT) - 1}"


def test_a_connection_that_brings_much_is_worth_another(make_client, peer, ref, answer, tmp_path):
    brought = 2_000_000
    cuts = [answer(200, CONTENT, ranged=True, cut=brought) for _ in range(5)]
    peer.say(f"GET {BLOB_PATH}", *cuts, answer(200, CONTENT, ranged=True))
    make_client(retries=1).download_blob(ref, BLOB, str(tmp_path / "blob"))
    assert len(peer.asked(BLOB_PATH)) == 6


def test_a_download_that_always_breaks_ends_and_keeps_what_came(make_client, peer, ref, answer, tmp_path):
    peer.say(f"GET {BLOB_PATH}", answer(200, CONTENT, ranged=True, cut=1000))
    with pytest.raises(Unavailable, match="broke"):
        make_client(retries=2).download_blob(ref, BLOB, str(tmp_path / "blob"))
    assert (tmp_path / "blob").read_bytes() == CONTENT[:3000]


def test_a_peer_that_ignores_range_is_read_from_the_start(download, peer, answer, tmp_path):
    (tmp_path / "blob").write_bytes(CONTENT[:1234])
    peer.say(f"GET {BLOB_PATH}", answer(200, CONTENT))
    assert download() == CONTENT


@pytest.mark.parametrize("content_range", ["", "bytes 0-9/10", "bytes 7-1/2", "x"])
def test_a_wrong_range_is_not_believed(download, peer, answer, tmp_path, content_range):
    (tmp_path / "blob").write_bytes(CONTENT[:1234])
    wrong = answer(206, CONTENT[1234:], headers={"Content-Range": content_range})
    peer.say(f"GET {BLOB_PATH}", wrong, answer(200, CONTENT))
    assert download() == CONTENT


def test_wrong_content_is_data_loss(download, peer, answer, tmp_path):
    peer.say(f"GET {BLOB_PATH}", answer(200, b"x" * len(CONTENT)))
    with pytest.raises(DataLoss, match=f"registry {peer.address}: blob {SUM}"):
        download()
    assert not (tmp_path / "blob").exists()


@pytest.mark.parametrize("content", [CONTENT + b"x", CONTENT[:-1]])
@pytest.mark.parametrize("length", [None, ""])
def test_a_wrong_length_is_data_loss(make_client, peer, ref, answer, tmp_path, content, length):
    headers = {} if length is None else {"Content-Length": length}
    peer.say(f"GET {BLOB_PATH}", answer(200, content, headers=headers))
    with pytest.raises(DataLoss):
        make_client(retries=0).download_blob(ref, BLOB, str(tmp_path / "blob"))
    assert not (tmp_path / "blob").exists()


def test_an_endless_blob_is_cut_off(client, peer, ref, answer, tmp_path):
    small = Descriptor("x", str(Digest.of(b"abc")), 3)
    peer.say(f"GET /v2/a/b/blobs/{small.digest}", answer(200, b"abc" + CONTENT))
    with pytest.raises(DataLoss, match="longer than the 3 bytes"):
        client.download_blob(ref, small, str(tmp_path / "blob"))


@pytest.mark.parametrize("length", [None, ""])
def test_an_endless_manifest_is_cut_off(client, peer, ref, answer, length):
    headers = {} if length is None else {"Content-Length": length}
    peer.say(f"GET {MANIFEST_PATH}", answer(200, CONTENT, headers=headers))
    with pytest.raises(ResourceExhausted, match="longer than 4194304 bytes"):
        client.resolve(ref)


def test_a_manifest_with_another_digest_is_data_loss(client, peer, ref, answer):
    peer.say(f"GET /v2/a/b/manifests/{SUM}", answer(200, MANIFEST))
    with pytest.raises(DataLoss, match=str(SUM)):
        client.fetch_manifest(ref, SUM)
    peer.say(f"GET {MANIFEST_PATH}", answer(200, MANIFEST, {"Docker-Content-Digest": str(SUM)}))
    with pytest.raises(DataLoss, match=str(SUM)):
        client.resolve(ref)


@pytest.mark.parametrize("claim", ["", "nonsense", f"sha512:{'a' * 64}", "md5:abc"])
def test_a_senseless_claim_of_a_digest_is_passed_over(client, peer, ref, answer, claim):
    peer.say(f"GET {MANIFEST_PATH}", answer(200, MANIFEST, {"Docker-Content-Digest": claim}))
    assert client.resolve(ref).digest == Digest.of(MANIFEST)


@pytest.mark.parametrize(
    ("header", "body", "media_type"),
    [
        (
            "application/vnd.oci.image.index.v1+json; charset=utf-8",
            b"{}",
            "application/vnd.oci.image.index.v1+json",
        ),
        ("text/plain", b'{"mediaType": "a/b"}', "a/b"),
        ("", b'{"mediaType": null}', ""),
        ("", b"\xff", ""),
    ],
)
def test_a_manifest_s_type_by_header_or_document(client, peer, ref, answer, header, body, media_type):
    peer.say(f"GET {MANIFEST_PATH}", answer(200, body, {"Content-Type": header}))
    assert client.resolve(ref).media_type == media_type


def test_tags_come_in_pages(client, peer, ref, answer):
    link = {"Link": '</v2/a/b/tags/list?n=1&last=x>; rel="next"'}
    pages = [answer(200, b'{"tags": ["x"]}', link), answer(200, b'{"tags": null}')]
    peer.say("GET /v2/a/b/tags/list", *pages)
    assert client.list_tags(ref) == ["x"]


def test_endless_pages_end(client, peer, ref, answer):
    link = {"Link": "</v2/a/b/tags/list>; rel=next"}
    peer.say("GET /v2/a/b/tags/list", answer(200, b'{"tags": []}', link))
    with pytest.raises(Unavailable, match="pages"):
        client.list_tags(ref)


@pytest.mark.parametrize(
    "location", ["https://elsewhere.test/x", "//127.0.0.1:1/x", "ftp://x/", "http://[", "http://a b/", ""]
)
def test_an_upload_stays_with_the_registry(client, peer, ref, answer, location):
    peer.say("POST /v2/a/b/blobs/uploads/", answer(202, headers={"Location": location}))
    with pytest.raises(Unavailable, match="sent us"):
        client.push_blob(ref, SUM, CONTENT)


def test_an_upload_link_with_a_query_keeps_it(client, peer, ref, answer):
    peer.say("POST /v2/a/b/blobs/uploads/", answer(202, headers={"Location": "/up?state=a%2Fb"}))
    peer.say("PUT /up", answer(201))
    client.push_blob(ref, Digest.of(b"x"), b"x")
    (put,) = peer.asked("/up")
    assert put.path == f"/up?state=a%2Fb&digest=sha256%3A{Digest.of(b'x').hex}"
    assert put.body == b"x"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"errors": []}', b'{"errors": 7}'])
def test_a_refusal_without_a_reason(client, peer, ref, answer, body):
    peer.say(f"GET {MANIFEST_PATH}", answer(404, body))
    with pytest.raises(NotFound, match=r"HTTP status 404 \(hint"):
        client.resolve(ref)


@pytest.mark.parametrize("answered", [b"", b"[]", b"{", b'{"tags": 1}', b"\xff\xfe"])
def test_an_answer_that_is_no_document_is_refused(client, peer, ref, answer, answered):
    peer.say("GET /v2/a/b/tags/list", answer(200, answered))
    with pytest.raises(Error, match=f"registry {peer.address}: tags of a/b"):
        client.list_tags(ref)
