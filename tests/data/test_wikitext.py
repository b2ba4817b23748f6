from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from suite.data import wikitext
from suite.data.base import Dataset
from suite.data.folders import content
from suite.data.wikitext import WikiText2, tokenise
from suite.errors import BadInput
from suite.spec.base import Shape

TRAIN, TEST = b" \n = Title = \n \n the cat \xe2\x80\xa8 sat . \n", b" \n = Other = \n"
SHUFFLED = b" the cat \xe2\x80\xa8 sat . \n \n = Title = \n \n"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WikiText-2 of two lines and no network."""

    def split(real: wikitext.Split, **texts: bytes) -> wikitext.Split:
        known = {hashlib.sha1(text).hexdigest(): what for what, text in texts.items()}
        return replace(real, editions=known, size=len(next(iter(texts.values()))))

    monkeypatch.setattr(wikitext, "_TRAIN", split(wikitext._TRAIN, original=TRAIN, shuffled=SHUFFLED))
    monkeypatch.setattr(wikitext, "_TEST", split(wikitext._TEST, original=TEST))
    counts = {"train": len(TRAIN), "test": len(TEST)}
    monkeypatch.setattr(wikitext, "_TOKENS", {"bytes": counts, "gpt2": {"train": 14, "test": 6}})
    for name in ("_ZIP", "_ENCODER", "_MERGES"):
        monkeypatch.setattr(wikitext, name, replace(getattr(wikitext, name), url="http://127.0.0.1:9/file"))


def write(folder: Path, **texts: bytes) -> Path:
    (folder / "wikitext-2").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "wikitext-2" / f"{name.replace('_', '-')}.txt").write_bytes(text)
    return folder


def load(*folders: Path, cache: Path, **fields: Any) -> Dataset:
    return WikiText2.model_validate({"tokens": "bytes", "length": 3} | fields).load(folders, cache)


@pytest.mark.usefixtures("small")
def test_windows_of_bytes(tmp_path: Path) -> None:
    data = load(write(tmp_path, train=TRAIN, test=TEST), cache=tmp_path / "cache")
    count = len(TRAIN) // 4
    assert WikiText2(tokens="bytes", length=3).train_size() == len(data.train_inputs) == count
    assert data.train_inputs.dtype == data.train_targets.dtype == np.int64
    for i in range(count):
        assert bytes(data.train_inputs[i].tolist()) == TRAIN[4 * i : 4 * i + 3]
        assert bytes(data.train_targets[i].tolist()) == TRAIN[4 * i + 1 : 4 * i + 4]
    assert bytes(data.test_inputs.ravel()[:3].tolist()) == TEST[:3]
    assert len(data.test_inputs) == len(TEST) // 4
    assert data.test_weights is None
    assert (data.description.d, data.description.classes) == (3, 256)


@pytest.mark.usefixtures("small")
def test_limits_take_the_first(tmp_path: Path) -> None:
    folder = write(tmp_path, train=TRAIN, test=TEST)
    whole, data = load(folder, cache=tmp_path), load(folder, cache=tmp_path, train_limit=2, test_limit=1)
    assert np.array_equal(data.train_inputs, whole.train_inputs[:2])
    assert np.array_equal(data.test_targets, whole.test_targets[:1])
    assert WikiText2(tokens="bytes", length=3, train_limit=2).train_size() == 2


@pytest.mark.usefixtures("small")
def test_the_description_says_which_edition_was_used(tmp_path: Path) -> None:
    original = write(tmp_path / "a", train=TRAIN, test=TEST)
    shuffled = write(tmp_path / "b", train_shuffled=SHUFFLED, test=TEST)
    first, second = load(original, cache=tmp_path), load(shuffled, cache=tmp_path)
    assert "train train.txt (original)" in first.description.origin
    assert "train train-shuffled.txt (shuffled)" in second.description.origin
    assert first.description.checksum != second.description.checksum
    assert load(shuffled, original, cache=tmp_path).description == second.description  # folders in turn


@pytest.mark.usefixtures("small")
def test_the_original_order_is_preferred_within_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path, train_shuffled=SHUFFLED, train=TRAIN, test=TEST)
    assert "train train.txt (original)" in load(folder, cache=tmp_path).description.origin


@pytest.mark.usefixtures("small")
def test_the_published_zip_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "wikitext-2").mkdir()
    path = tmp_path / "wikitext-2" / "wikitext-2-v1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wikitext-2/wiki.train.tokens", TRAIN)
        archive.writestr("wikitext-2/wiki.test.tokens", TEST)
    assert "wikitext-2-v1.zip (original)" in load(cache=tmp_path).description.origin
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadInput, match=r"wikitext-2-v1\.zip is damaged.*delete"):
        load(cache=tmp_path)


@pytest.mark.usefixtures("small")
def test_an_unknown_text_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, train=TRAIN + b"more", test=TEST)
    with pytest.raises(BadInput, match=rf"train\.txt is not WikiText-2's train split.*found {len(TRAIN) + 4} bytes"):
        load(folder, cache=tmp_path)


@pytest.mark.usefixtures("small")
def test_absent_files_say_where_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"wikitext-2-v1\.zip .*put it as wikitext-2/train\.txt .*SUITE_DATA_DIR"):
        load(tmp_path, cache=tmp_path / "cache")
    folder = write(tmp_path, train=TRAIN, test=TEST)
    with pytest.raises(BadInput, match=r"encoder\.json .*put it as gpt2-bpe/encoder\.json .*SUITE_DATA_DIR"):
        load(folder, cache=tmp_path / "cache", tokens="gpt2")


@pytest.mark.usefixtures("small")
def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, train=TRAIN, test=TEST)
    (folder / "gpt2-bpe").mkdir()
    (folder / "gpt2-bpe" / "encoder.json").write_text("{}")
    with pytest.raises(BadInput, match=r"encoder\.json is not GPT-2's: expected sha256 1961.*delete"):
        load(folder, cache=tmp_path / "cache", tokens="gpt2")


def test_shapes() -> None:
    assert WikiText2(tokens="bytes", length=64).shape() == Shape("tokens", 64, 256, 256, True)
    assert WikiText2(tokens="gpt2", length=64).shape() == Shape("tokens", 64, 50_257, 50_257, True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 0}, "greater than 0"),
        ({"length": 1_256_449}, "length 1256449 is more than the test split has: 1,256,449 tokens"),
        ({"length": 99_999, "train_limit": 108}, "train_limit is 108, the train split has 107 sequences"),
        ({"length": 99_999, "test_limit": 13}, "test_limit is 13, the test split has 12 sequences"),
        ({"tokens": "words"}, "'bytes'"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WikiText2.model_validate({"tokens": "bytes", "length": 10} | fields)


@pytest.fixture
def bpe(data_dir: Path) -> tuple[Path, Path]:
    folder = data_dir / "gpt2-bpe"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder / "encoder.json", folder / "vocab.bpe"


@pytest.mark.data
def test_gpt2_tokens_of_a_known_text(bpe: tuple[Path, Path]) -> None:
    made = tokenise({"a": b"Hello world!", "b": b"Hello\n world!"}, *bpe)
    assert made["a"].tolist() == [15496, 995, 0]
    assert made["b"].tolist() == [15496, 198, 995, 0]
    assert made["a"].dtype == np.uint16


@pytest.mark.data
@pytest.mark.usefixtures("small")
def test_gpt2_tokens_are_kept_and_a_damaged_keep_is_named(bpe: tuple[Path, Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "f", train=TRAIN, test=TEST)
    for path in bpe:
        (folder / "gpt2-bpe").mkdir(exist_ok=True)
        (folder / "gpt2-bpe" / path.name).write_bytes(path.read_bytes())
    before = sorted(folder.rglob("*"))
    counts = {name: len(made) for name, made in tokenise({"train": TRAIN, "test": TEST}, *bpe).items()}
    with pytest.raises(BadInput, match="tokenizers library gives"):
        load(folder, cache=tmp_path / "cache", tokens="gpt2")
    wikitext._TOKENS["gpt2"].update(counts)
    first = load(folder, cache=tmp_path / "cache", tokens="gpt2")
    assert sorted(folder.rglob("*")) == before
    (kept,) = (tmp_path / "cache" / "wikitext-2").iterdir()
    (folder / "gpt2-bpe" / "encoder.json").unlink()  # not needed any more
    assert load(folder, cache=tmp_path / "cache", tokens="gpt2").description == first.description
    kept.write_bytes(kept.read_bytes()[:-7])
    with pytest.raises(BadInput, match=rf"{kept} is damaged .*delete it"):
        load(folder, cache=tmp_path / "cache", tokens="gpt2")


def test_kept_tokens_are_checksummed(tmp_path: Path) -> None:
    path = tmp_path / "tokens.npz"
    tokens = {"train": np.arange(9, dtype=np.uint16), "test": np.arange(4, dtype=np.uint16)}
    wikitext._keep(path, tokens)
    kept = wikitext._kept(path)
    assert all(np.array_equal(kept[name], tokens[name]) for name in tokens)
    with np.load(path) as arrays:
        written = dict(arrays)
    # whole files of the right form with other content: nothing but the checksum tells
    for changed in ({"train": tokens["train"][::-1]}, {"test": tokens["train"]}, {"test": tokens["test"] + 1}):
        np.savez(path, **(written | changed))
        with pytest.raises(BadInput, match=rf"{path} is damaged \(its tokens have sha256 .* was written\): delete it"):
            wikitext._kept(path)
    np.savez(path, **tokens)
    with pytest.raises(BadInput, match=rf"{path} is damaged .*checksum.*delete it"):
        wikitext._kept(path)


@pytest.mark.usefixtures("small")
def test_tokens_kept_for_another_encoding_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"train": np.arange(14, dtype=np.uint16), "test": np.arange(6, dtype=np.uint16)}
    monkeypatch.setattr(wikitext, "_bpe_file", lambda *_: tmp_path)
    monkeypatch.setattr(wikitext, "tokenise", lambda *_: made)
    load(write(tmp_path, train=TRAIN, test=TEST), cache=tmp_path / "cache", tokens="gpt2")
    monkeypatch.setattr(wikitext, "_MERGES", replace(wikitext._MERGES, sha256="0" * 64))
    load(tmp_path, cache=tmp_path / "cache", tokens="gpt2")
    assert len(list((tmp_path / "cache" / "wikitext-2").iterdir())) == 2


@pytest.mark.usefixtures("small")
def test_the_files_found_are_those_that_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path, train_shuffled=SHUFFLED)
    assert WikiText2.files((folder,), tmp_path / "cache") == {
        "wikitext-2/train.txt": folder / "wikitext-2" / "train-shuffled.txt",
        "wikitext-2/test.txt": None,
        "gpt2-bpe/encoder.json": None,
        "gpt2-bpe/vocab.bpe": None,
    }


@pytest.mark.data
def test_the_real_files_have_the_known_numbers_of_tokens(
    data_dir: Path, bpe: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = data_dir / "wikitext-2"
    if not (folder / "train-shuffled.txt.gz").is_file():
        pytest.skip(f"no {folder}/train-shuffled.txt.gz")
    texts = {"train": content(folder / "train-shuffled.txt.gz"), "test": (folder / "test.txt").read_bytes()}
    assert {name: len(text) for name, text in texts.items()} == wikitext._TOKENS["bytes"]
    assert (texts["train"].count(b"\n"), len(texts["train"].split())) == (36_718, 2_051_910)
    made = tokenise(texts, *bpe)
    assert {name: len(tokens) for name, tokens in made.items()} == wikitext._TOKENS["gpt2"]
    data = load(data_dir, cache=tmp_path, tokens="gpt2", length=128)
    assert data.train_inputs.shape == (WikiText2(tokens="gpt2", length=128).train_size(), 128)
    assert "train-shuffled.txt.gz (articles in a shuffled order)" in data.description.origin
    assert data.train_inputs.max() < 50_257
