"""HTTP/1.1's grammar: heads, bodies by length, in chunks or until the close, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.registry.wire import HEAD_BYTES_MAX, Body, Garbled, Head, Headers, Inflow, write_head


def inflow_of(*pieces):
    """What a connection brings, piece by piece."""
    waiting = list(pieces)

    def receive(size):
        if not waiting:
            return b""
        data = waiting.pop(0)
        if len(data) > size:
            waiting.insert(0, data[size:])
        return data[:size]

    return Inflow(receive)


def split(data, sizes):
    """`data` in pieces of these sizes, the rest in one."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in (*pieces, data) if piece]


def read_answer(raw, method="GET", sizes=()):
    inflow = inflow_of(*split(raw, sizes))
    head = inflow.read_head()
    body = Body(inflow, method, head)
    read = b""
    while data := body.read(7):
        read += data
    return head, read, body.ended


BODY = bytes(range(256))


@given(sizes=st.lists(st.integers(1, 40), max_size=30))
@pytest.mark.parametrize(
    ("raw", "ended"),
    [
        (b"Content-Length: 256\r\n\r\n" + BODY, True),
        (b"Transfer-Encoding: chunked\r\n\r\n80\r\n%b\r\n80;x=y\r\n%b\r\n0\r\nT: x\r\n\r\n" % (BODY[:128], BODY[128:]), True),
        (b"\r\n" + BODY, False),
    ],
)  # fmt: skip
def test_a_body_is_the_same_however_it_arrives(raw, ended, sizes):
    head, body, told = read_answer(b"HTTP/1.1 200 OK\r\n" + raw, sizes=sizes)
    assert (head.status, body, told) == (200, BODY, ended)


def test_names_ignore_case_and_repeated_fields_are_joined():
    head, _, _ = read_answer(b"HTTP/1.1 204 No\r\nLINK: <a>\r\nlink:<b>\t\r\nOdd: \xe9\r\n\r\n")
    assert (head.headers["Link"], head.headers["odd"], head.headers.get("x", "")) == ("<a>, <b>", "\xe9", "")
    assert dict(head.headers) == {"link": "<a>, <b>", "odd": "\xe9"}


@pytest.mark.parametrize(("line", "said", "keeps"), [
    (b"HTTP/1.1 200 OK", b"", True),
    (b"HTTP/1.1 200", b"Connection: Close\r\n", False),
    (b"HTTP/1.0 200 OK", b"", False),
    (b"HTTP/1.0 200 OK", b"Connection: keep-alive\r\n", True),
])  # fmt: skip
def test_whether_the_connection_stays(line, said, keeps):
    assert inflow_of(line + b"\r\n" + said + b"\r\n").read_head().keeps_open is keeps


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_without_a_body_announces_one_in_vain(method, status):
    raw = b"HTTP/1.1 %d X\r\nContent-Length: 9\r\n\r\n" % status
    assert read_answer(raw, method)[1:] == (b"", True)
    chunked = b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n" % status
    assert read_answer(chunked, method)[1:] == (b"", True)


def test_interim_answers_are_passed_over():
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert read_answer(raw)[0] == Head(200, Headers([("Content-Length", "0")]), True)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nfolded: a\r\n  b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: x\r\n" * 200,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * HEAD_BYTES_MAX,
    ],
)
def test_what_is_no_answer_is_garbled(raw):
    with pytest.raises(Garbled):
        read_answer(raw)


@given(raw=st.binary(max_size=200))
def test_garbage_is_an_answer_or_garbled(raw):
    try:
        read_answer(b"HTTP/1.1 200 OK\r\n" + raw)
    except Garbled:
        pass


def test_a_request_is_one_line_a_field():
    assert write_head("GET", "/v2/a b/\u00e9?x=%20", {"Host": "h"}) == (
        b"GET /v2/a%20b/%C3%A9?x=%20 HTTP/1.1\r\nHost: h\r\n\r\n"
    )
    assert b"\r\nX" not in write_head("GET", "/\r\nX: y", {})
    for name, value in (("A", "x\r\nB: y"), ("A\r\nB", "x"), ("A", "\0"), ("", "x")):
        with pytest.raises(ValueError, match="malformed header field"):
            write_head("GET", "/", {name: value})
