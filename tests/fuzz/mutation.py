"""Ways to change an input a little: as bytes, as words, as the tree of a JSON document, as a tar's headers.

A mutation takes an input and a source of chance and gives another input; the same chance gives the same.
What knows the structure goes past the first check; what does not (one time in eight) tests that check.
"""

import json
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

BYTES_MAX = 64 << 10
_NUMBERS = (
    -1,
    0,
    1,
    7,
    255,
    65535,
    65536,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    1 << 64,
    10**30,
)
_TEXTS = (
    "",
    "/",
    "..",
    "../..",
    "a\0b",
    "é",
    "\ud800",
    "a" * 300,
    "%s",
    "\n",
    "=",
    ":",
    "-1",
    "0x10",
    "1e9",
    "１",
    "\u2028",
    "9" * 5000,
)
_RAW = (
    b"\0",
    b"\xff",
    b"\n",
    b"\r\n",
    b" ",
    b"=",
    b":",
    b"/",
    b"..",
    b"\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"9" * 40,
)


def of_bytes(words: Iterable[bytes] = ()) -> Mutation:
    """Cut, double, overwrite, put a word in."""
    known = (*_RAW, *words)

    def mutate(data: bytes, random: Random) -> bytes:
        for _ in range(random.randint(1, 3)):
            data = _change_bytes(data, random, known)
        return data[:BYTES_MAX]

    return mutate


def _change_bytes(data: bytes, random: Random, known: tuple[bytes, ...]) -> bytes:
    start = random.randint(0, len(data))
    end = min(len(data), start + random.choice((0, 1, 1, 2, 4, 16, 64)))
    piece = data[start:end]
    match random.randrange(5):
        case 0:
            piece = b""
        case 1:
            piece *= random.choice((2, 3, 50))
        case 2:
            piece = random.choice(known)
        case 3:
            piece += random.choice(known)
        case _:
            piece = bytes(byte ^ 1 << random.randrange(8) for byte in piece) or random.randbytes(1)
    return data[:start] + piece + data[end:]


def of_words(words: str, marks: str = ':/=,@.-[]{} \n"') -> Mutation:
    """Text as words between marks: one dropped, doubled, exchanged for another or for one of `words`."""
    known = (*words.split(), *_TEXTS, *marks)
    raw = of_bytes(word.encode() for word in words.split())

    def mutate(data: bytes, random: Random) -> bytes:
        if not random.randrange(8):
            return raw(data, random)
        parts = _split(data.decode(errors="surrogateescape"), marks) or [""]
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(parts))
            match random.randrange(5):
                case 0:
                    parts[at] = ""
                case 1:
                    parts[at] *= random.choice((2, 3, 40))
                case 2:
                    parts[at], other = random.choice(parts), parts[at]
                    parts[random.randrange(len(parts))] = other
                case _:
                    parts.insert(at, random.choice(known))
        return "".join(parts).encode(errors="surrogatepass")[:BYTES_MAX]

    return mutate


def _split(text: str, marks: str) -> list[str]:
    parts = [""]
    for character in text:
        if character in marks:
            parts += [character, ""]
        else:
            parts[-1] += character
    return [part for part in parts if part]


def of_json(words: str = "") -> Mutation:
    """A document as a tree: a value replaced, removed, doubled, moved, nested; a member renamed or added."""
    known = (None, True, False, 1.5, [], {}, *_NUMBERS, *_TEXTS, *words.split())
    raw = of_bytes((b'"', b"{}", b"[]", b"[" * 2000, b'{"a":' * 2000, b"NaN", b"1e999", b"\\ud800"))

    def mutate(data: bytes, random: Random) -> bytes:
        try:
            value = [json.loads(data)]
        except (ValueError, RecursionError):
            return raw(data, random)
        if not random.randrange(8):
            return raw(data, random)
        for _ in range(random.randint(1, 3)):
            _change_tree(value, random, known)
        return json.dumps(value[0]).encode()[:BYTES_MAX]

    return mutate


def _change_tree(top: list[Any], random: Random, known: tuple[Any, ...]) -> None:
    places = list(_places(top))
    holder, key = random.choice(places)
    match random.randrange(7):
        case 0 if len(places) > 1 and holder is not top:
            del holder[key]
        case 1 if isinstance(holder, list) and holder is not top:
            holder.insert(key, _copy(holder[key]))
        case 2:
            other, there = random.choice(places)
            holder[key] = _copy(other[there])
        case 3 if isinstance(holder, dict):
            holder[random.choice([name for place, name in places if isinstance(place, dict)])] = holder.pop(
                key
            )
        case 4 if isinstance(holder[key], dict):
            holder[key][str(random.choice(known))] = _copy(random.choice(known))
        case 5 if isinstance(holder[key], str):
            holder[key] = random.choice(
                (holder[key] * 2, holder[key][1:], holder[key] + random.choice(_TEXTS))
            )
        case _:
            holder[key] = _copy(random.choice(known))


def _places(value: Any) -> Iterable[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


# offset and size of the fields of a tar header (POSIX.1-2017, ustar), and what they are tried with
_TAR_FIELDS = (
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (136, 12),
    (156, 1),
    (157, 100),
    (257, 8),
    (329, 8),
    (345, 155),
)
_TAR_NAMES = (
    b"..", b"../../escape", b"/etc/passwd", b"a/../../b", b".wh.a", b".wh..wh..opq", b".wh...", b"a", b"a/b", b"./",
    b"link/x", b"/proc/self/root", b"\xff", b"a" * 100, b"0", b"7777777\0", b"\x80" + bytes(6) + b"\x09", b"\xff" * 8, b" ",
    *(bytes([kind]) for kind in b"0123456789xgLKSV\0"),
)  # fmt: skip


def of_tar(data: bytes, random: Random) -> bytes:
    """A field of a header set, a block doubled, dropped or moved; sums are right again in seven of eight."""
    blocks = [data[at : at + 512].ljust(512, b"\0") for at in range(0, len(data), 512)] or [bytes(512)]
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(blocks))
        match random.randrange(6):
            case 0 if len(blocks) > 1:
                del blocks[at]
            case 1:
                blocks.insert(at, random.choice(blocks))
            case 2:
                blocks[at] = of_bytes(_TAR_NAMES)(blocks[at], random).ljust(512, b"\0")[:512]
            case _:
                blocks[at] = _set_field(blocks[at], random)
    return b"".join(blocks)[:BYTES_MAX]


def _set_field(block: bytes, random: Random) -> bytes:
    start, size = random.choice(_TAR_FIELDS)
    value = random.choice(_TAR_NAMES).ljust(size, b"\0")[:size]
    block = block[:start] + value + block[start + size :]
    total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:] if random.randrange(8) else block
