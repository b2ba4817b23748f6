"""Damage that any text file may take on its way: in its bytes, in its lines, in its encoding."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Damage = Callable[[Random, bytes], bytes]
MEBI = 2**20

_STRANGE = (
    b"\x00", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\x1b[2J", b"\x07", b"\x0b", b"\x85", "\u2028".encode(),
    "\u202e".encode(), "\ufeff".encode(), "é".encode("latin-1"), "𝟙".encode(), b"\t", b"\r", b"\\", b'"', b"'", b"`",
    b"%", b"{", b"]", b"<!--", b"=cmd|' /C calc'!A0", b"@", b"$(id)", b"../", b"\\u0000",
)  # fmt: skip


def flipped_bits(random: Random, content: bytes) -> bytes:
    """A few bits are others."""
    made = bytearray(content)
    for _ in range(random.randint(1, 8) if made else 0):
        made[random.randrange(len(made))] ^= 1 << random.randrange(8)
    return bytes(made)


def strange_bytes(random: Random, content: bytes) -> bytes:
    """Bytes that mean something to somebody are put in: nulls, escapes, halves of characters, quotes."""
    for _ in range(random.randint(1, 4)):
        place = random.randint(0, len(content))
        content = content[:place] + random.choice(_STRANGE) * random.randint(1, 3) + content[place:]
    return content


def cut_short(random: Random, content: bytes) -> bytes:
    """The end is missing, mostly from the middle of a line."""
    return content[: random.randrange(len(content))] if content else content


def piece_gone(random: Random, content: bytes) -> bytes:
    """Some bytes in the middle are missing."""
    start = random.randint(0, len(content))
    return content[:start] + content[start + random.randint(1, 40) :]


def piece_twice(random: Random, content: bytes) -> bytes:
    """Some bytes are there twice."""
    start = random.randint(0, len(content))
    stop = min(len(content), start + random.randint(1, 200))
    return content[:stop] + content[start:]


def lines_gone(random: Random, content: bytes) -> bytes:
    """A few lines are missing."""
    lines = content.splitlines(keepends=True)
    gone = {random.randrange(len(lines)) for _ in range(random.randint(1, 3))} if lines else set()
    return b"".join(line for number, line in enumerate(lines) if number not in gone)


def lines_twice(random: Random, content: bytes) -> bytes:
    """A few lines are there twice, side by side or far apart."""
    lines = content.splitlines(keepends=True)
    for _ in range(random.randint(1, 3) if lines else 0):
        lines.insert(random.randint(0, len(lines)), random.choice(lines))
    return b"".join(lines)


def lines_in_disorder(random: Random, content: bytes) -> bytes:
    """Lines have changed places: two of them, or all."""
    lines = content.splitlines(keepends=True)
    if random.random() < 0.3 or len(lines) < 2:
        random.shuffle(lines)
        return b"".join(lines)
    one, other = random.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def other_line_ends(random: Random, content: bytes) -> bytes:
    """Lines end as on other systems, all of them or some."""
    ends = random.choice([[b"\r\n"], [b"\r"], [b"\n", b"\r\n"], [b"\n", b"\r"], [b"\x0b"], [b"\n\n"], [b"\n\r"]])
    return b"".join(line + random.choice(ends) for line in content.splitlines())


def other_encoding(random: Random, content: bytes) -> bytes:
    """The text is encoded otherwise, or begins with a byte order mark."""
    text = content.decode("utf-8", "replace")
    kind = random.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7", "cp037"])
    return text.encode(kind, "replace")


def tabs(random: Random, content: bytes) -> bytes:
    """Spaces have become tabs, at the beginnings of lines or everywhere."""
    if random.random() < 0.3:
        return content.replace(b" ", b"\t")
    lines = content.splitlines(keepends=True)
    inside = [number for number, line in enumerate(lines) if line.startswith(b"  ")]
    for number in random.sample(inside, min(len(inside), random.randint(1, 4))):
        lines[number] = b"\t" + lines[number].lstrip(b" ")
    return b"".join(lines)


def nearly_nothing(random: Random, content: bytes) -> bytes:
    """An empty file, blanks, a mark, a null."""
    nothing = [b"", b"\n", b"   \n\t\n", b"\x00", b"\xef\xbb\xbf", b"#", b"-", b"0", b"null", b"{}", b"[]", b'""', b","]
    return random.choice(nothing)


def junk(random: Random, content: bytes) -> bytes:
    """What is no text at all: another kind of file, or noise."""
    beginning = random.choice(
        [b"", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x7fELF", b"\x1f\x8b\x08", b"PAR1", b"%PDF-1.7\n"]
    )
    return beginning + random.randbytes(random.randint(1, 4000))


def enormous(random: Random, content: bytes) -> bytes:
    """Some 10 MB: the file over and over, one endless line, or a sea of blanks."""
    kind = random.randrange(4)
    if kind == 0:
        return (content or b"a: 1\n") * (10 * MEBI // max(1, len(content)) + 1)
    if kind == 1:
        return content + b"x" * (10 * MEBI) + b"\n"
    if kind == 2:
        return content + b" " * (10 * MEBI)
    return content + b"\n" * (10 * MEBI)


ANY: dict[str, Damage] = {
    "bits flipped": flipped_bits,
    "strange bytes": strange_bytes,
    "cut short": cut_short,
    "a piece gone": piece_gone,
    "a piece twice": piece_twice,
    "lines gone": lines_gone,
    "lines twice": lines_twice,
    "lines in disorder": lines_in_disorder,
    "other line ends": other_line_ends,
    "other encoding": other_encoding,
    "tabs": tabs,
    "nearly nothing": nearly_nothing,
    "junk": junk,
    "10 MB": enormous,
}
"""By name, for whatever file."""
