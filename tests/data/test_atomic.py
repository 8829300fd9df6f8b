"""Atomic files are read as they are written: by one rule here and in RecBole, and by RecBole's own where that is CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from recbole.config import Config
from recbole.data import create_dataset
from recbole_alone import columns_of

from recbole_rlmrec.data import lines
from recbole_rlmrec.data.atomic import AtomicFile, digest_files, read_atomic, read_columns, read_header, write_atomic
from recbole_rlmrec.data.lines import check_lines
from recbole_rlmrec.errors import DataError

ALONE = Path(__file__).parents[1] / "support" / "recbole_alone.py"
HEADER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float", "review:token")
ROWS = [
    ("u1", "i1", "4", "1.5e9", 'good, really "good"'),
    ("u1", "i2", "3.25", "1700000020", "plain; and | so on"),
    ("u2", "i1", "", "1700000040", "a\nbreak, and\r\nanother"),
    ("007", "1e3", "5", "1700000060", ""),
    ("NA", "i3", "1", "1700000080", "no user"),
    ("u 4", "i'3", "1", "1700000080", "\u00e4\u6620"),
]


def as_csv(separator, quote=csv.QUOTE_MINIMAL, end="\n", rows=ROWS):
    text = io.StringIO()
    text.write(separator.join(HEADER) + end)
    csv.writer(text, delimiter=separator, quoting=quote, lineterminator=end).writerows(rows)
    return text.getvalue()


FILES = {
    "comma": (",", as_csv(",")),
    "all quoted": (",", as_csv(",", csv.QUOTE_ALL)),
    "windows": (",", as_csv(",", end="\r\n")),
    "semicolon": (";", as_csv(";")),
    "bar": ("|", as_csv("|", csv.QUOTE_NONNUMERIC)),
    "empty lines": (",", as_csv(",").replace("\n", "\n\n", 1) + "\n   \n"),
    "no last line end": (",", as_csv(",").rstrip("\n")),
    "marks within": (",", ",".join(HEADER) + '\nu1,i1,1,2,12" disk\nu2,i2,1,2,a "b" c\n'),
    "two characters": ("::", "::".join(HEADER) + '\nu1::i1::1::2::"x"\nu2::i2::1::2::y y\n'),
    "tabs, no marks": ("\t", "\t".join(HEADER) + "\nu1\ti1\t1\t2\tx\nu2\ti2\t\t2\ty y\n"),
    "tabs, ids in marks": ("\t", "\t".join(HEADER) + '\n"u1"\t"i1"\t"1"\t2\t"say ""so"""\nu1\ti2\t1\t2\t""\n'),
    "other order": (",", 'rating:float,item_id:token,review:token,user_id:token,timestamp:float\n3,i1,"a,b",u1,5\n'),
    "few columns": (",", as_csv(","), ["item_id", "user_id"]),
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What RecBole reads from ``FILES`` in a process without this package, and the options."""
    root, jobs = tmp_path_factory.mktemp("alone"), []
    for number, (separator, text, *columns) in enumerate(FILES.values()):
        name = f"shop{number}"
        (root / name).mkdir()
        (root / name / f"{name}.inter").write_bytes(text.encode())
        loaded = columns[0] if columns else [column.split(":")[0] for column in HEADER]
        jobs.append({"dataset": name, "data_path": str(root), "field_separator": separator, "load_col": {"inter": loaded}})
    command = [sys.executable, str(ALONE), json.dumps(jobs)]
    said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, env=_without_package()).stdout
    return dict(zip(FILES, zip(jobs, json.loads(said.splitlines()[-1]))))


def _without_package():
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.parametrize("kind", FILES)
def test_recbole_reads_what_it_reads_alone(alone, kind, workdir):
    options, expected = alone[kind]
    assert isinstance(expected, dict), expected
    found = columns_of(Config("BPR", options["dataset"], config_dict={"gpu_id": "", **options}))
    for column in {"rating", "timestamp"} & set(found):  # missing numbers are filled here, and left alone there
        found[column] = [None if theirs is None else mine for mine, theirs in zip(found[column], expected[column])]
    assert found == expected


@pytest.mark.parametrize("kind", FILES)
def test_both_readers_agree(alone, kind, workdir):
    options, expected = alone[kind]
    path = Path(options["data_path"]) / options["dataset"] / f"{options['dataset']}.inter"
    table = read_atomic(path, options["field_separator"]).table
    table = table[(table["user_id"] != "") & (table["item_id"] != "")]
    for column in set(expected) & {"user_id", "item_id", "review"}:
        assert table[column].tolist() == [value.replace("[PAD]", "") for value in expected[column]]


def write(folder, text, name="file.inter", encoding="utf-8"):
    path = Path(folder) / name
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return path


def test_text_that_starts_with_a_mark_is_text_between_tabs(tmp_path):
    path = write(tmp_path, 'a:token\tb:token\n"Great\tx\n"A" and "B"\ty"\n"\t""\n"""q"""\t"NA"\n')
    assert read_atomic(path).table.values.tolist() == [['"Great', "x"], ['"A" and "B"', 'y"'], ['"', ""], ['"q"', ""]]


SHAPES = {
    "too few": ("\t", "a:token\tb:token\n1\t2\n3\n", "line 3: 1 field where the header has 2"),
    "too many": ("\t", "a:token\tb:token\n1\t2\n\n3\t4\t5\n", "line 4: 3 fields where the header has 2"),
    "comma, too many": (",", 'a:token,b:token\n"x,\ny",2\n1,2,3\n', "line 4: 3 fields where the header has 2.*quotation marks"),
    "comma, too few": (",", 'a:token,b:token\n"x,\n\ny",2\n1\n', "line 5: 1 field "),
    "comma, marks within": (",", 'a:token,b:token\n5" x,2\n1,2,3\n', "line 3: 3 fields"),
    "comma, never closed": (",", 'a:token,b:token\n1,2\n3,"4\n5,6\n', "line 3.*never closed"),
    "comma, badly closed": (",", 'a:token,b:token\n1,2\n3,"4" 5\n5,6\n', "line 2.*do not match"),
    "break in marks": ("\t", 'a:token\tb:token\n1\t"one\ntwo"\n', "line 3: 1 field.*line break, as pandas"),
    "tab in marks": ("\t", 'a:token\tb:token\n1\t"one\ttwo"\n', "line 2: 3 fields.*holds a tab"),
    "break in marks, first column": ("\t", 'a:token\tb:token\n"one\ntwo"\t1\n', "line 2: 1 field.*line break, as pandas"),
    "NUL": ("\t", "a:token\tb:token\n1\t2\n1\tx\0y\n", "line 3: there is a NUL"),
    "NUL, comma": (",", "a:token,b:token\n1,2\n1,x\0y\n", "line 3: there is a NUL"),
    "lone return": (",", "a:token,b:token\n1,2\n1,x\ry\n", "line 3: there is a carriage return"),
    "lone return, marks": (",", 'a:token,b:token\n"1",2" x\n1,x\ry\n', "line 3: there is a carriage return"),
    "old line ends": ("\t", "a:token\tb:token\r1\t2\r", "end in carriage returns"),
    "encoding": ("\t", b"a:token\tb:token\n1\t2\n\xff\t2\n", "line 3, is not in utf-8.*--encoding=latin-1"),
    "two characters": ("::", "a:token::b:token\n1::2\n1::2::3\n", "line 3: 3 fields where the header has 2"),
    "header in marks": (",", '"a:token","b:token"\n1,2\n', "no quotation marks"),
    "byte order mark": (",", "\ufeffa:token,b:token\n1,2\n", "byte order mark.*--encoding=utf-8-sig"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_line_that_cannot_be_meant_is_named(tmp_path, shape):
    separator, text, said = SHAPES[shape]
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=f"file.inter.*{said}"):
        read_atomic(path, separator)
    with pytest.raises(DataError):
        read_columns(path, ["a"], separator)


@pytest.mark.parametrize("shape", ["too few", "comma, too many", "tab in marks", "NUL", "encoding", "comma, badly closed"])
def test_recbole_stops_at_the_same_lines(workdir, shape):
    separator, text, said = SHAPES[shape]
    text = text if isinstance(text, bytes) else text.encode()
    text = text.replace(b"a:token", b"user_id:token").replace(b"b:token", b"item_id:token")
    (workdir / "dataset" / "shop").mkdir(parents=True)
    write(workdir / "dataset" / "shop", text, "shop.inter")
    with pytest.raises(DataError, match=f"shop.inter.*{said}"):
        create_dataset(Config("BPR", "shop", config_dict={"gpu_id": "", "field_separator": separator}))


def test_what_is_odd_but_clear_is_read(tmp_path):
    long = "x" * 200_000
    path = write(tmp_path, f"a:token\tb:float\tc:token\r\n1\t2\tq\rw\r\n\r\n\r\n2\t3\t{long}\u2028\x0b\x1c\r\n")
    table = read_atomic(path).table
    assert table.values.tolist() == [["1", "2", "q\rw"], ["2", "3", f"{long}\u2028\x0b\x1c"]]
    assert read_columns(path, ["b", "a"], numbers=["b"]).to_dict("list") == {"a": ["1", "2"], "b": [2.0, 3.0]}
    marked = write(tmp_path, f'a:token,b:float\n"{long}\r{long}",1_000\n5" {long},2\n', "marked")
    assert read_columns(marked, ["a", "b"], ",", numbers=["b"]).values.tolist() == [
        [f"{long}\r{long}", 1000.0],
        [f'5" {long}', 2.0],
    ]
    wide = write(tmp_path, "a:token\tb:token\n\u00e4\t2\n", "wide", "utf-16")
    assert read_atomic(wide, encoding="utf-16").table.values.tolist() == [["\u00e4", "2"]]
    with pytest.raises(DataError, match="wide is not in utf-8"):
        read_atomic(wide)


def test_a_number_that_is_none_is_named(tmp_path):
    path = write(tmp_path, "a:token\tb:float\n1\t2\n\n2\tmany\n")
    with pytest.raises(DataError, match="line 4: 'many' in the column b is no number"):
        read_columns(path, ["a", "b"], numbers=["b"])


def test_numbers_are_exact_also_in_marks(tmp_path):
    drawn = np.random.default_rng(1).uniform(-1e12, 1e12, 500).tolist()
    texts = [*map(repr, drawn), "1700000020", "9007199254740993"]
    for mark in ("", '"'):
        path = write(tmp_path, "a:token\tb:float\n" + "".join(f"x\t{mark}{text}{mark}\n" for text in texts), f"f{len(mark)}")
        assert read_columns(path, ["b"], numbers=["b"])["b"].tolist() == list(map(float, texts))


def test_rows_without_a_user_and_rows_without_an_item_are_left_out(workdir):
    (workdir / "dataset" / "shop").mkdir(parents=True)
    write(
        workdir / "dataset" / "shop",
        "user_id:token\titem_id:token\nNA\ti1\nu1\ti1\nu2\tnull\nu3\ti2\n\ti3\nu4\ti4\n",
        "shop.inter",
    )
    data = create_dataset(Config("BPR", "shop", config_dict={"gpu_id": ""}))
    assert columns_of_dataset(data, "user_id") == ["u1", "u3", "u4"]
    assert columns_of_dataset(data, "item_id") == ["i1", "i2", "i4"]


def columns_of_dataset(data, field):
    return [str(data.field2id_token[field][value]) for value in data.inter_feat[field]]


PIECES = st.lists(st.sampled_from([*"ab,;|\"' \t\u00e4\n", "\r\n"]), max_size=6)
TEXT = PIECES.map("".join)
TABLES = st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(rows=TABLES, separator=st.sampled_from(",;|"), quote=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_csv_is_read_as_pandas_reads_it(tmp_path_factory, rows, separator, quote):
    text = io.StringIO()
    text.write(separator.join(["a:token", "b:token", "c:token"]) + "\n")
    csv.writer(text, delimiter=separator, quoting=quote, lineterminator="\n").writerows(rows)
    path = write(tmp_path_factory.mktemp("csv"), text.getvalue())
    expected = pd.read_csv(path, sep=separator, dtype=object, engine="python").fillna("")
    lines._checked.cache_clear()
    assert read_atomic(path, separator).table.values.tolist() == expected.values.tolist()


@settings(max_examples=200, deadline=None)
@given(rows=TABLES, separator=st.sampled_from("\t,;"))
def test_what_is_written_is_read(tmp_path_factory, rows, separator):
    clean = [tuple(value.replace("\t", " ").replace("\r", "").replace("\n", " ") for value in row) for row in rows]
    rows = [(row[0] or "x", *row[1:]) for row in (clean if separator == "\t" else rows)]
    folder = tmp_path_factory.mktemp("written")
    types = read_header(write(folder, separator.join(["a:token", "b:token", "c:token"]) + "\n", "like"), separator, "utf-8")
    write_atomic(folder / "file", AtomicFile(folder, pd.DataFrame(), types), pd.DataFrame(rows, columns=list(types)), separator)
    found = read_atomic(folder / "file", separator).table
    assert list(map(tuple, found.values.tolist())) == rows


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.text(st.sampled_from(list('ab,\t" \n')), max_size=9), max_size=9), separator=st.sampled_from("\t,"))
def test_the_pass_over_blocks_and_the_slow_reader_agree(tmp_path_factory, rows, separator):
    path = write(tmp_path_factory.mktemp("blocks"), separator.join(["a:token", "b:token"]) + "\n" + "\n".join(rows))

    def outcome(check):
        try:
            return check()
        except DataError as error:
            return str(error)

    before, lines.BLOCK = lines.BLOCK, 7
    try:
        lines._checked.cache_clear()
        fast = outcome(lambda: check_lines(path, separator))
    finally:
        lines.BLOCK = before
    slow = outcome(lambda: lines._each_line(path, separator, "utf-8"))
    assert isinstance(fast, str) == isinstance(slow, str)
    if not isinstance(fast, str):
        assert fast.rows == slow.rows


def test_names_are_no_patterns(tmp_path):
    folder = tmp_path / "data[2023]"
    folder.mkdir()
    write(folder, "user_id:token\n1\n", "data[2023].inter")
    first = digest_files(folder, "data[2023]")
    write(folder, "user_id:token\n1\n2\n", "data[2023].inter")
    assert digest_files(folder, "data[2023]") != first
    write(folder, "user_id:token\n1\n", "data2.inter")
    assert digest_files(folder, "data*") == digest_files(tmp_path, "nothing")
