import threading

import pytest

from rundlet.errors import Unavailable
from rundlet.image.follow import Follower, Restarted


@pytest.fixture
def growing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    with Follower(str(path)) as follower, open(path, "ab", buffering=0) as file:

        def grow(data):
            file.write(data)
            follower.grew(file.tell())

        yield follower, grow


def test_what_is_there_is_read_and_the_end_waits_for_the_verdict(growing):
    follower, grow = growing
    grow(b"abcdef")
    assert follower.read(4) == b"abcd"
    assert follower.read(4) == b"ef"
    follower.finish(None)
    assert follower.read(4) == b""


def test_a_reader_waits_for_more(growing):
    follower, grow = growing
    timer = threading.Timer(0.05, grow, [b"late"])
    timer.start()
    assert follower.read(10) == b"late"
    timer.join()


def test_the_error_of_the_download_reaches_the_reader(growing):
    follower, grow = growing
    grow(b"abc")
    follower.finish(Unavailable("gone"))
    with pytest.raises(Unavailable, match="gone"):
        follower.read(10)
    with pytest.raises(Unavailable, match="gone"):
        follower.check()


def test_a_download_that_begins_anew_is_told(growing):
    follower, grow = growing
    grow(b"abc")
    follower.read(3)
    follower.grew(0)
    with pytest.raises(Restarted):
        follower.read(3)


def test_a_download_that_begins_anew_before_anything_was_read_does_not_matter(growing):
    follower, grow = growing
    follower.grew(0)
    grow(b"abc")
    assert follower.read(3) == b"abc"


def test_a_file_that_was_cut_off_is_a_new_beginning(growing):
    follower, grow = growing
    grow(b"abcdef")
    follower.read(2)
    with open(follower.path, "wb"), pytest.raises(Restarted):
        follower.read(4)
