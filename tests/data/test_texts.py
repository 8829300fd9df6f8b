"""Columns of text on disk, and atomic files read block by block."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from recbole_rlmrec.data import streams, texts
from recbole_rlmrec.data.atomic import FeatureType, read_atomic
from recbole_rlmrec.data.streams import Entities, Plain, stream_atomic
from recbole_rlmrec.data.texts import Picked, Texts, Tokens, filled, preview

WORDS = ["", "plain", "na\u00efve \u6620\u753b", "plain", "x" * 50, ""]


@pytest.fixture(params=[0, 1 << 20], ids=["on disk", "in memory"])
def column(request, monkeypatch) -> Texts:
    monkeypatch.setattr(texts, "IN_MEMORY", request.param)
    found = Texts()
    found.append(pa.array([], type=pa.string()))
    found.append(pa.array(["cut off", *WORDS[:2]])[1:])
    found.append(
        pa.array([None if word == "" and n == 5 else word for n, word in enumerate(WORDS)][2:], type=pa.large_string())
    )
    return found


def test_texts_are_what_was_added(column):
    assert [column[n] for n in range(len(column))] == WORDS
    assert filled(column).tolist() == [word != "" for word in WORDS]
    column.append(pa.array(["one more"]))
    assert column[6] == "one more" and column[2] == WORDS[2] and len(column) == 7


def test_some_texts_are_taken_equal_ones_once(column):
    taken = column.take(np.array([4, 1, -1, 3, 0]))
    assert taken.tolist() == [WORDS[4], "plain", "", "plain", ""]
    assert taken[1] is taken[3]
    rows = np.array([4, 1, -1, 3, 0, 1, 2])
    assert column._read_rows(rows).tolist() == column.take(rows).tolist()
    assert column._read_rows(np.array([-1, -1])).tolist() == ["", ""] and not len(column._read_rows(rows[:0]))
    picked = Picked(column, np.array([3, -1, 2], dtype=np.int32))
    assert list(picked) == picked.values().tolist() == ["plain", "", WORDS[2]]
    assert filled(picked).tolist() == [True, False, True] and len(picked) == 3


def test_a_preview_shows_what_is_there_evenly_spaced(column):
    many = Texts()
    many.append(pa.array([str(n) if n % 2 else "" for n in range(1000)]))
    table = preview({"few": column, "many": many}, 10)
    assert table["many"].tolist() == [str(n) for n in range(1, 1000, 100)]
    assert table["few"].tolist()[:4] == [word for word in WORDS if word] and set(table["few"][4:]) == {""}


@pytest.mark.parametrize("longest", [3, 300, 70_000])
@pytest.mark.parametrize("count", [255, 256, 257, 1000])
def test_many_texts_are_found_by_their_lengths(count, longest, monkeypatch):
    monkeypatch.setattr(texts, "IN_MEMORY", 1000)
    lengths = np.random.default_rng(count).integers(0, 3, count)
    lengths[count // 2 :: 100] = longest
    words = [str(n % 10) * length for n, length in enumerate(lengths)]
    found = Texts()
    for start in range(0, count, 77):
        found.append(pa.array(words[start : start + 77]))
        assert found[start] == words[start]
    assert [*found] == words and filled(found).tolist() == [word != "" for word in words]
    rows = np.random.default_rng(0).integers(-1, count, 500)
    assert found.take(rows).tolist() == [words[row] if row >= 0 else "" for row in rows]
    with pytest.raises(IndexError):
        found[count]


def test_a_short_text_takes_few_bytes_beside_itself(monkeypatch):
    monkeypatch.setattr(texts, "IN_MEMORY", 0)
    block, found = pa.array(["1700000000"] * 10_000), Texts()
    tracemalloc.start()
    for _ in range(50):
        found.append(block)
    assert found[499_999] == "1700000000"
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2.2 * len(found) and peak < 6 * len(found), (held, peak)


def test_tokens_are_those_of_the_array_as_texts():
    names = [f"u{n}" for n in range(5)]
    tokens = Tokens(np.array(names))
    assert tokens == names and names == tokens and tokens != names[:4] and tokens != [*names[:4], "x"]
    assert np.asarray(tokens) is tokens.array and np.array(tokens, dtype=object).tolist() == names
    assert type(tokens[2]) is str and tokens[1:3] == ["u1", "u2"] and [*tokens] == names and {type(t) for t in tokens} == {str}


FILES = {
    "plain": ("\t", "utf-8", "a:token\tb:token_seq\n1\tone two\nNA\t\n\n3\tNaN\n"),
    "quoted": ("\t", "utf-8", 'a:token\tb:token_seq\n"1"\t"one ""two"""\n"NA"\t"open\n3\tin "the" middle\n'),
    "windows": ("\t", "utf-8", "a:token\tb:token_seq\r\n1\tone\r\n2\ttwo\r\n"),
    "lone returns": ("\t", "utf-8", "a:token\tb:token_seq\n1\tone\rtwo\n2\tx\n"),
    "one column": ("\t", "utf-8", "a:token\n1\n \n2\n"),
    "commas": (",", "utf-8", 'a:token,b:token_seq\n1,"x, ""y"""\n2,\n'),
    "latin": ("\t", "latin-1", "a:token\tb:token_seq\n1\tna\u00efve\n"),
    "no rows": ("\t", "utf-8", "a:token\tb:token_seq\n"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("block", [64, 1 << 20])
def test_blocks_hold_what_a_file_holds(tmp_path, kind, block, monkeypatch):
    separator, encoding, content = FILES[kind]
    path = tmp_path / "x.item"
    path.write_bytes((content + content.partition("\n")[2] * 20).encode(encoding))
    monkeypatch.setattr(streams, "BLOCK", block)
    expected = read_atomic(path, separator, encoding).table
    sizes = []

    def take(blocks):
        found = {name: [] for name in expected}
        sizes.clear()
        for part in blocks:
            sizes.append(len(part["a"]))
            for name in found:
                found[name] += part[name].to_pylist()
        return found

    found = stream_atomic(path, take, separator, encoding)
    assert found == {name: expected[name].tolist() for name in expected}
    if block == 64 and kind in ("plain", "quoted", "windows"):
        assert len(sizes) > 2


def test_a_line_longer_than_a_block_is_read(tmp_path, monkeypatch):
    path = tmp_path / "x.item"
    path.write_text("a:token\tb:token_seq\n1\tshort\n2\t" + "long " * 100 + "\n")
    monkeypatch.setattr(streams, "BLOCK", 64)
    about = Entities(path, "a", read_atomic(path).types)
    assert stream_atomic(path, about.take) is about
    assert (
        about.ids.to_pylist() == ["1", "2"] and about.columns["b"][1].split() == ["long"] * 100 and len(about.columns["b"]) == 2
    )


def test_markup_goes_and_is_told_once(caplog):
    types = {"b": FeatureType.TOKEN_SEQ, "c": FeatureType.FLOAT}
    plain = Plain(types, "x.item")
    with caplog.at_level("INFO"):
        first = plain({"b": pa.array(["<b>bold</b> move", "a < b", "x &amp; y"]), "c": pa.array(["<", "1", "2"])})
        plain({"b": pa.array(["nothing"])})
        plain.tell()
    assert first["b"].to_pylist() == ["bold move", "a < b", "x & y"] and first["c"].to_pylist() == ["<", "1", "2"]
    assert "x.item: 2 of 4 values of b held markup" in caplog.text and " of c " not in caplog.text


def test_entities_are_found_by_their_first_row(tmp_path):
    path = tmp_path / "x.item"
    path.write_text("a:token\tb:token_seq\n2\tfirst\n\tnobody\n2\tsecond\n1\tother\n")
    about = stream_atomic(path, Entities(path, "a", read_atomic(path).types).take)
    assert about.rows_of(["1", "9", "2"]).tolist() == [3, -1, 0]
    frame = about.frame("item")
    assert frame["b"].to_dict() == {"2": "first", "1": "other"} and frame.index.name == "item"


def test_the_memory_does_not_grow_with_the_texts(tmp_path):
    path, held = tmp_path / "x.item", []
    for words in (100, 1000):
        path.write_text("a:token\tb:token_seq\n" + "".join(f"{n}\t{'word ' * words}{n}\n" for n in range(6000)))
        about = Entities(path, "a", read_atomic(path).types)
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        stream_atomic(path, about.take)
        assert about.columns["b"][5999].endswith("word 5999")
        held.append(tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before)
        tracemalloc.stop()
    assert path.stat().st_size > 29e6 and held[1] < 2e6 and held[1] < 1.5 * held[0] + 1e6
