"""WikiText-2 (Merity et al. 2017, arXiv:1609.07843) as bytes or as GPT-2's byte-pair tokens."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from suite.data.base import Dataset, Description
from suite.data.folders import Remote, checksum, content, damaged, fetch, first_file
from suite.errors import BadInput
from suite.spec.base import DataSpec, Shape

# Known numbers of tokens, so that a spec can be checked without the files; tests/data/test_wikitext.py counts them
# again. They are the same for every order of the lines, because lines are tokenised one by one.
_TOKENS = {"bytes": {"train": 10_797_148, "test": 1_256_449}, "gpt2": {"train": 2_448_382, "test": 295_877}}
_VOCABULARY = {"bytes": 256, "gpt2": 50_257}

_LINES_AT_ONCE = 4096

_ZIP = Remote(
    "wikitext-2-v1.zip",
    "https://wikitext.smerity.com/wikitext-2-v1.zip",  # one of its authors; the first address is gone
    "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
)
_BPE_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
_ENCODER = Remote(
    "encoder.json",
    f"{_BPE_URL}encoder.json",
    "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
)
_MERGES = Remote(
    "vocab.bpe",
    f"{_BPE_URL}vocab.bpe",
    "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
)


@dataclass(frozen=True)
class Split:
    """A split of the data set and the texts known to be it.

    Attributes:
        name: `train` or `test`.
        names: file names it goes by, those of the original order first.
        member: its name in the published zip.
        size: bytes of the text.
        editions: what is known of a text, by its sha1 (hex).
    """

    name: str
    names: tuple[str, ...]
    member: str
    size: int
    editions: dict[str, str]


# The sums of the original texts are those that gluon-nlp (Apache MXNet) verifies its WikiText2 with. Its sum of the
# test text agrees with the original file we hold, and so does that of the validation text, which is not used here. The
# original train text we do not hold: we know its sum and size, and that the shuffled text has its lines.
_TRAIN = Split(
    "train",
    ("train.txt", "wiki.train.tokens", "train-shuffled.txt", "train-shuffled.txt.gz"),
    "wikitext-2/wiki.train.tokens",
    10_797_148,
    {
        "863f29c46ef9d167fff4940ec821195882fe29d1": "articles in the original order",
        "ddc62251223002638e180ea946fbe909bb7f477a": "articles in a shuffled order",
    },
)
_TEST = Split(
    "test",
    ("test.txt", "wiki.test.tokens"),
    "wikitext-2/wiki.test.tokens",
    1_256_449,
    {"c7b8ce0aa086fb34dab808c5c49224211eb2b172": "original"},
)


class WikiText2(DataSpec):
    """WikiText-2, word level (v1), cut into windows; the next token is predicted at every position.

    A split is one text, tokenised line by line (with its newline) and cut into windows of length + 1 tokens that do
    not overlap; what is left at the end is dropped. Inputs are the first `length` tokens of a window, targets the
    last. Testing is on the test split (`test.txt`), not on the validation split, which is not used.
    """

    kind: Literal["wikitext-2"] = "wikitext-2"
    tokens: Literal["bytes", "gpt2"] = Field(description="bytes (256), or GPT-2's byte-pair encoding (50,257)")
    length: PositiveInt = Field(description="tokens per input")
    train_limit: PositiveInt | None = Field(default=None, description="train on the first sequences only, that many")
    test_limit: PositiveInt | None = Field(default=None, description="test on the first sequences only, that many")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        for split, limit in (("train", self.train_limit), ("test", self.test_limit)):
            windows = _TOKENS[self.tokens][split] // (self.length + 1)
            if windows == 0:
                raise ValueError(
                    f"length {self.length} is more than the {split} split has: {_TOKENS[self.tokens][split]:,} tokens "
                    f"({self.tokens})"
                )
            if limit is not None and limit > windows:
                raise ValueError(
                    f"{split}_limit is {limit}, the {split} split has {windows} sequences of length {self.length}: "
                    "lower it, or leave it out for all"
                )
        return self

    def shape(self) -> Shape:
        """`length` tokens, as many classes as tokens, a target at every position."""
        size = _VOCABULARY[self.tokens]
        return Shape("tokens", features=self.length, outputs=size, vocabulary=size, every_position=True)

    def train_size(self) -> int:
        """Windows in the train split, or the limit."""
        return self.train_limit or _TOKENS[self.tokens]["train"] // (self.length + 1)

    @classmethod
    def files(cls, folders: tuple[Path, ...], cache: Path) -> dict[str, Path | None]:
        """The two texts (or the zip they come in), and the two files of GPT-2's byte-pair encoding."""
        texts = {place: first_file(_places(split, folders, cache)) for place, split in _texts().items()}
        encoding = {place: first_file(_bpe_places(remote, folders, cache)) for place, remote in _encoding().items()}
        return texts | encoding

    @classmethod
    def verify(cls, place: str, path: Path) -> None:
        """A text is known by its sha1, a file of the encoding by its sha256."""
        if split := _texts().get(place):
            identify(path, _text(path, split), split)
        elif remote := _encoding().get(place):
            _verify_bpe(path, remote)

    def load(self, folders: tuple[Path, ...], cache: Path) -> Dataset:
        """Inputs and targets, int64 `n × length`.

        Files are sought as `<folder>/wikitext-2/…` and `<folder>/gpt2-bpe/…`, then in the cache, then downloaded into
        it. GPT-2's tokens are kept in the cache.

        Raises:
            BadInput: a file is damaged or unknown, or is nowhere and cannot be downloaded.
        """
        texts, editions = {}, {}
        for split in (_TRAIN, _TEST):
            path, texts[split.name] = _read(split, folders, cache)
            editions[split.name] = f"{path.name} ({identify(path, texts[split.name], split)})"
        tokens = _bytes(texts) if self.tokens == "bytes" else _gpt2(texts, folders, cache)
        train, test = (tokens[name] for name in ("train", "test"))
        arrays = (*_windows(train, self.length, self.train_limit), *_windows(test, self.length, self.test_limit))
        description = Description(
            n_train=len(arrays[0]),
            n_test=len(arrays[2]),
            d=self.length,
            classes=_VOCABULARY[self.tokens],
            checksum=checksum(arrays),
            origin=f"WikiText-2 v1: train {editions['train']}, test {editions['test']}; {self.tokens} tokens",
        )
        return Dataset(*arrays, test_weights=None, description=description)


def identify(path: Path, text: bytes, split: Split) -> str:
    """Which known edition of a split a text is.

    Raises:
        BadInput: none that is known.
    """
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    if digest in split.editions:
        return split.editions[digest]
    known = " or ".join(f"sha1 {known} ({what})" for known, what in split.editions.items())
    found = f"{len(text)} bytes, sha1 {digest}"
    raise damaged(path, f"is not WikiText-2's {split.name} split", f"{split.size} bytes, {known}", found)


def _texts() -> dict[str, Split]:
    """By where a user puts them, relative to a data folder."""
    return {f"wikitext-2/{split.names[0]}": split for split in (_TRAIN, _TEST)}


def _encoding() -> dict[str, Remote]:
    """Likewise."""
    return {f"gpt2-bpe/{remote.name}": remote for remote in (_ENCODER, _MERGES)}


def _read(split: Split, folders: tuple[Path, ...], cache: Path) -> tuple[Path, bytes]:
    """Where a split's text was found, and the text, not yet verified."""
    path = first_file(_places(split, folders, cache))
    if path is None:
        path = fetch(_ZIP, cache / "wikitext-2", f"wikitext-2/{split.names[0]} (or the zip as wikitext-2/{_ZIP.name})")
    return path, _text(path, split)


def _text(path: Path, split: Split) -> bytes:
    """The text in a file, not yet verified: as it is, unpacked from gzip, or the split's member of the zip."""
    if path.suffix != ".zip":
        return content(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(split.member)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise damaged(path, "is damaged", f"a zip file with {split.member}", str(error)) from None


def _places(split: Split, folders: tuple[Path, ...], cache: Path) -> Iterator[Path]:
    for folder in (*folders, cache):
        original, shuffled = [[n for n in split.names if ("shuffled" in n) is s] for s in (False, True)]
        for name in (*original, _ZIP.name, *shuffled):
            yield folder / "wikitext-2" / name


def _bytes(texts: dict[str, bytes]) -> dict[str, NDArray[np.uint8]]:
    return {name: np.frombuffer(text, np.uint8) for name, text in texts.items()}


def _gpt2(texts: dict[str, bytes], folders: tuple[Path, ...], cache: Path) -> dict[str, NDArray[np.uint16]]:
    """GPT-2's tokens of each text, from the cache if these very texts were tokenised before by this encoding."""
    key = hashlib.sha256(f"{_ENCODER.sha256} {_MERGES.sha256}".encode())
    for name in sorted(texts):
        key.update(hashlib.sha256(texts[name]).digest())
    path = cache / "wikitext-2" / f"gpt2-tokens-{key.hexdigest()[:16]}.npz"
    if path.is_file():
        return _kept(path)
    tokens = tokenise(texts, *(_bpe_file(remote, folders, cache) for remote in (_ENCODER, _MERGES)))
    for name, known in _TOKENS["gpt2"].items():
        if len(tokens[name]) != known:
            raise BadInput(
                f"the tokenizers library gives {len(tokens[name])} GPT-2 tokens for WikiText-2's {name} split, "
                f"known are {known}: install another version of tokenizers"
            )
    with contextlib.suppress(PermissionError):  # where the cache cannot be written they are made again each time
        _keep(path, tokens)
    return tokens


def tokenise(texts: dict[str, bytes], encoder: Path, merges: Path) -> dict[str, NDArray[np.uint16]]:
    """GPT-2's byte-pair tokens (Radford et al. 2019) of UTF-8 texts, line by line, each line with its newline.

    On both splits of WikiText-2 that gives the same tokens as a whole text at once, in a fifth of the time.

    Args:
        texts: by name.
        encoder: `encoder.json`, token strings and their numbers.
        merges: `vocab.bpe`, the merges in order of rank.

    Returns:
        uint16 `n` for each name (there are 50,257 tokens).
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE.from_file(str(encoder), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = {}
    for name, text in texts.items():
        lines = list(io.StringIO(text.decode(), newline="\n"))  # str.splitlines would split at other characters too
        parts = [
            np.array([token for line in tokenizer.encode_batch(lines[start:][:_LINES_AT_ONCE]) for token in line.ids])
            for start in range(0, len(lines), _LINES_AT_ONCE)
        ]
        made[name] = np.concatenate(parts).astype(np.uint16)
    return made


def _bpe_file(remote: Remote, folders: tuple[Path, ...], cache: Path) -> Path:
    """Where a verified file of the byte-pair encoding lies; it is downloaded if it lies nowhere."""
    found = first_file(_bpe_places(remote, folders, cache))
    if found is None:
        return fetch(remote, cache / "gpt2-bpe", f"gpt2-bpe/{remote.name}")
    _verify_bpe(found, remote)
    return found


def _verify_bpe(path: Path, remote: Remote) -> None:
    digest = hashlib.sha256(content(path)).hexdigest()
    if digest != remote.sha256:
        raise damaged(path, "is not GPT-2's", f"sha256 {remote.sha256}", digest)


def _bpe_places(remote: Remote, folders: tuple[Path, ...], cache: Path) -> Iterator[Path]:
    return (folder / "gpt2-bpe" / remote.name for folder in (*folders, cache))


def _kept(path: Path) -> dict[str, NDArray[np.uint16]]:
    try:
        with np.load(path) as arrays:
            tokens = {name: arrays[name] for name in ("train", "test")}
            expected = str(arrays["checksum"])
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError, OSError) as error:
        raise BadInput(f"{path} is damaged ({error}): delete it, it will be made again") from None
    if (found := checksum(tokens.values())) != expected:
        raise BadInput(
            f"{path} is damaged (its tokens have sha256 {found}, {expected} was written): "
            "delete it, it will be made again"
        )
    return tokens


def _keep(path: Path, tokens: dict[str, NDArray[np.uint16]]) -> None:
    """Write then rename: a killed process leaves no half file under the name, and two at once do not mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            train, test = tokens["train"], tokens["test"]
            np.savez(part, train=train, test=test, checksum=np.array(checksum((train, test))))
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).replace(path)
        finally:
            Path(part.name).unlink(missing_ok=True)


def _windows(
    tokens: NDArray[np.uint8] | NDArray[np.uint16], length: int, limit: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inputs and targets, int64 `n × length`, of the windows of length + 1 tokens that do not overlap."""
    count = len(tokens) // (length + 1)
    windows = tokens[: count * (length + 1)].reshape(count, length + 1)[:limit].astype(np.int64)
    return windows[:, :-1].copy(), windows[:, 1:].copy()
