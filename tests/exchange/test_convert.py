"""Tables of people's own become atomic files that hold what the tables held."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st
from recbole.config import Config
from recbole.data import create_dataset

from recbole_rlmrec import datasets
from recbole_rlmrec.cli import main
from recbole_rlmrec.data.atomic import read_atomic
from recbole_rlmrec.exchange.convert import counts, table
from recbole_rlmrec.exchange.convert.values import texts

NASTY = [
    "plain",
    'she said "yes"',
    '"all of it"',
    'a "" b',
    '"',
    "comma, semicolon; bar|",
    "two\nlines\r\nand\rreturns",
    "a\ttab",
    "back\\slash",
    "5 < 6 & 7 > 6, <3",
    "映画 äöü ’",
    "line\u2028separator\u0085and\x00NUL",
]
LINES = ["two lines and returns", "a tab", "line separator and NUL"]
CLEAN = [LINES[0] if "two" in one else LINES[1] if "\t" in one else LINES[2] if "\0" in one else one for one in NASTY]
MODES = {
    "minimal": {},
    "all": {"quoting": csv.QUOTE_ALL},
    "nonnumeric": {"quoting": csv.QUOTE_NONNUMERIC},
    "none": {"quoting": csv.QUOTE_NONE, "escapechar": "\\"},
    "escaped quotes": {"doublequote": False, "escapechar": "\\"},
    "tabs": {"sep": "\t"},
    "semicolons, Windows": {"sep": ";", "lineterminator": "\r\n"},
    "with the index": {"index": True},
    "latin": {"encoding": "utf-16"},
}


@pytest.fixture(autouse=True)
def _here(workdir):
    return workdir


def frame(**columns) -> pd.DataFrame:
    n = len(next(iter(columns.values()))) if columns else 3
    base = {"user": [f"u{row % 3}" for row in range(n)], "item": [f"i{row}" for row in range(n)]}
    return pd.DataFrame({**base, **columns})


def read(name: str = "shop", side: str = "inter", separator: str = "\t"):
    return read_atomic(datasets.Path("dataset") / name / f"{name}.{side}", separator)


def column(name: str, side: str = "inter") -> list[str]:
    return read(side=side).table[name].tolist()


def convert(*argv, name: str = "shop") -> int:
    return main(["convert", *map(str, argv), "--dataset", name])


@pytest.mark.parametrize("mode", MODES)
def test_csv_as_pandas_writes_it(mode):
    written = frame(rating=[0.1 + 0.2] * len(NASTY), time=range(1_700_000_000, 1_700_000_000 + len(NASTY)), review=NASTY)
    if mode == "none":
        written["review"] = [one.replace("\0", "\u2028") for one in NASTY]
    written.to_csv("shop.csv", **{"index": False, **MODES[mode]})
    options = ["--escape", "\\"] if "escapechar" in MODES[mode] else []
    options += ["--quote", ""] if mode == "none" else []
    options += ["--encoding", "utf-16"] if mode == "latin" else []
    assert convert("shop.csv", *options) == 0
    assert column("review") == CLEAN
    assert column("user_id") == written["user"].tolist() and column("item_id") == written["item"].tolist()
    assert column("timestamp") == [str(time) for time in written["time"]]
    assert [float(value) for value in column("rating")] == written["rating"].tolist()
    assert list(read().types) == ["user_id", "item_id", "rating", "timestamp", "review"]


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
@pytest.mark.parametrize("more", [(), ("--escape", "\\")])
def test_rows_between_two_stray_quotation_marks_are_not_swallowed(separator, more, capsys):
    reviews = ["fine", '"Best" ever', '"So good', "fine", "fine", '"Not so good', "fine"]
    rows = [separator.join([f"u{n}", f"i{n}", str(n), text]) for n, text in enumerate(reviews)]
    datasets.Path("shop.tsv").write_text("\n".join([separator.join(["user", "item", "rating", "review"]), *rows]) + "\n")
    assert convert("shop.tsv", "--separator", separator, *more) == 2
    assert "review holds whole rows ('So good u3" in capsys.readouterr().err.replace(separator, " ")
    assert convert("shop.tsv", "--separator", separator, "--quote", "") == 0
    assert column("review") == reviews


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=6))
def test_any_text_keeps_its_characters(tmp_path_factory, found):
    """Reading what was written gives the text, but for white space and markup."""
    folder = tmp_path_factory.mktemp("any")
    arrow = pa.array([text.replace("<", "(").replace("&", "+") for text in found])
    lines = texts(arrow).to_pylist()
    assert not any(set(line) & set("\t\n\r\0") for line in lines)
    (folder / "a.inter").write_text("".join(["n:token\tt:token\n", *(f"x\t{line}\n" for line in lines)]), newline="")
    back = read_atomic(folder / "a.inter").table["t"].tolist()
    missing = {"", *table.values._ABSENT.to_pylist()}
    for text, again in zip(arrow.to_pylist(), back):
        kept = "".join(one for one in text if not (one.isspace() or ord(one) < 160 and not one.isprintable()))
        if text not in missing:
            assert "".join(one for one in again if not one.isspace()) == kept or again == "" and kept in missing


def test_markup_goes_and_what_only_looks_like_it_stays():
    given_, wanted = zip(
        ("one<br /><br>two", "one two"),
        ("<p class='x'>Hi &amp; bye&#33;</p>", "Hi & bye!"),
        ("<script>alert(1)</script>text<!-- no -->", "text"),
        ("I <3 you, x<y and List<String>", "I <3 you, x<y and List<String>"),
        ("AT&T &unknown; R&D", "AT&T &unknown; R&D"),
        ("&lt;b&gt;bold&lt;/b&gt; &#10; line", "bold line"),
    )
    datasets.from_frames(frame(review=list(given_)), name="shop")
    assert column("review") == list(wanted)


def test_parquet_with_nested_lists_and_types(capsys):
    rows = frame(
        stars=[5, 3, 4],
        purchased_at=pd.to_datetime(["2024-02-29 12:00:00.25", "2024-03-01", "1969-12-31 23:59:59"], format="ISO8601"),
        ok=[True, False, None],
    )
    rows.to_parquet("orders.parquet")
    items = pd.DataFrame(
        {
            "item": ["i0", "i1", "i9"],
            "title": ["A", None, "C"],
            "categories": [["Home & Garden", "Pots | Pans"], [], None],
            "nested": [[["a", "b c"], ["d"]], [["e"]], []],
            "sizes": [[1.5, 2.0], [3.25], None],
            "price": [1.5, np.nan, 3.0],
            "year": [1999.0, 2001.0, np.nan],
            "record": [{"a": 1}, {"a": 2}, None],
        }
    )
    items.to_parquet("items.parquet")
    assert convert("orders.parquet", "--items", "items.parquet") == 0
    assert column("timestamp") == ["1709208000250", "1709251200000", "-1000"]
    assert column("rating") == ["5", "3", "4"] and column("ok") == ["true", "false", ""]
    found = read(side="item")
    assert found.table["categories"].tolist() == ["Home & Garden;Pots | Pans", "", ""]
    assert found.table["nested"].tolist() == ["a;b c;d", "e", ""] and found.table["sizes"].tolist() == ["1.5;2", "3.25", ""]
    assert found.table["title"].tolist() == ["A", "", "C"] and found.table["year"].tolist() == ["1999", "2001", ""]
    kinds = {name: kind.value for name, kind in found.types.items()}
    assert kinds == {
        **{"item_id": "token", "title": "token", "categories": "token_seq", "nested": "token_seq"},
        **{"sizes": "float_seq", "price": "float", "year": "token"},
    }
    said = capsys.readouterr().out
    assert "record" in said and "that are not in it: 1" in said and "';'" in said
    config = Config(
        "BPR", "shop", config_file_list=["dataset/shop/shop.yaml"], config_dict={"load_col": None, "gpu_id": "", "min": None}
    )
    data = create_dataset(config)
    tokens = data.field2id_token["categories"][data.item_feat["categories"][data.token2id("item_id", "i0")]]
    assert [token for token in tokens if token != "[PAD]"] == ["Home & Garden", "Pots | Pans"]


def test_sqlite(capsys):
    pytest.importorskip("sqlalchemy")
    with sqlite3.connect("shop.db") as base:
        base.execute("CREATE TABLE orders (who INTEGER, what TEXT, stars REAL, at TEXT)")
        rows = [(1, "p:1", 4.5, "2024-01-01T00:00:00+01:00"), (2, "p:2", None, "2024-01-02 10:20:30"), (None, "p:1", 1.0, None)]
        base.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows)
        base.execute("CREATE TABLE products (code TEXT, name TEXT)")
        base.executemany("INSERT INTO products VALUES (?, ?)", [("p:1", "100% wool\nhat"), ("p:2", 'a "b"')])
    base.close()
    query = "SELECT who AS customer, what AS product, stars, at AS date FROM orders WHERE what LIKE 'p:%' OR at < '10:00'"
    items = ["--items-query", "SELECT * FROM products", "--items-id", "code"]
    assert convert("sqlite:///shop.db", "--query", query, *items) == 0
    assert read().table.values.tolist() == [["1", "p:1", "4.5", "1704063600"], ["2", "p:2", "", "1704190830"]]
    assert column("name", "item") == ["100% wool hat", 'a "b"']
    assert "1 without user_id" in capsys.readouterr().out
    assert convert("sqlite:///shop.db", "--query", "SELECT * FROM missing", name="b") == 2
    assert convert("sqlite:///none.db", "--query", "SELECT 1", name="b") == 2
    assert convert("sqlite:///shop.db", name="b") == 2
    assert convert("nodialect://u:hidden@h/x", "--query", "SELECT 1", name="b") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4 and "hidden" not in "".join(said) and not os.path.exists("none.db")
    assert "no such table: missing" in said[0] and "no database none.db" in said[1] and "--query" in said[2]


def write_lines(path, rows, opened=open):
    with opened(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_the_layout_of_amazon_reviews_2023(capsys):
    review = {"rating": 4.0, "title": "Such a lovely scent", "images": [], "asin": "B00A", "user_id": "AGK"}
    reviews = [
        {**review, "text": "I did.<br /><br />Then &#34;no&#34;.", "parent_asin": "B00P", "timestamp": 1588687728923},
        {**review, "text": "", "parent_asin": "B00Q", "timestamp": 1588615855070, "images": [{"url": "x"}]},
    ]
    write_lines("All_Beauty.jsonl.gz", [{**one, "verified_purchase": True} for one in reviews], gzip.open)
    meta = {"main_category": "All Beauty", "average_rating": 4.8, "rating_number": 10, "images": [{"large": "x"}], "store": "S"}
    meta |= {"details": {"UPC": "1"}, "videos": [], "bought_together": None, "subtitle": None}
    items = [
        {**meta, "parent_asin": "B00P", "title": "Howard", "description": ["A, b.", "C | d."], "features": ["F 1", "F 2"]},
        {**meta, "parent_asin": "B00Q", "title": "Yes", "description": [], "features": [], "price": "—", "author": {"n": 1}},
    ]
    write_lines("meta.jsonl", [{"price": 9.99, "categories": ["Premium Beauty", "Hair"], **one} for one in items])
    assert convert("All_Beauty.jsonl.gz", "--items", "meta.jsonl") == 0
    assert list(read().table.columns[:5]) == ["user_id", "item_id", "rating", "timestamp", "review"]
    assert read().table.iloc[:, :5].values.tolist() == [
        ["AGK", "B00P", "4", "1588687728923", 'I did. Then "no".'],
        ["AGK", "B00Q", "4", "1588615855070", ""],
    ]
    assert "review_title" in read().types and "title" not in read().types
    found = read(side="item")
    assert found.table["description"].tolist() == ["A, b.;C | d.", ""]
    assert found.table["categories"].tolist() == ["Premium Beauty;Hair"] * 2
    assert found.table["price"].tolist() == ["9.99", "—"] and found.types["price"].value == "token"
    said = capsys.readouterr().out
    assert "item = parent_asin" in said and "images" in said and "details" in said


def test_the_layout_of_goodreads(capsys):
    base = {"user_id": "842", "is_read": True, "started_at": "Sat Mar 25 00:00:00 -0700 2017"}
    added = ("Wed Mar 22 11:37:04 -0700 2017", "Mon Sep 18 17:55:37 -0700 2017")
    rows = [
        {**base, "book_id": "18245960", "rating": 5, "date_added": added[0], "review_text": "Sci-fi\n\nYes"},
        {**base, "book_id": "16981", "rating": 0, "date_added": added[1], "review_text": ""},
    ]
    write_lines("interactions.json.gz", rows, gzip.open)
    book = {"title": "T", "authors": [{"author_id": "1", "role": ""}], "popular_shelves": [{"count": "2", "name": "x"}]}
    books = [{**book, "book_id": "18245960", "similar_books": ["1", "2"]}, {**book, "book_id": "16981", "similar_books": []}]
    write_lines("books.json", books)
    assert convert("interactions.json.gz", "--items", "books.json") == 0
    times = [datetime.datetime(2017, 3, 22, 18, 37, 4), datetime.datetime(2017, 9, 19, 0, 55, 37)]
    stamps = [str(int(time.replace(tzinfo=datetime.timezone.utc).timestamp())) for time in times]
    assert column("timestamp") == stamps and column("review") == ["Sci-fi Yes", ""]
    assert column("similar_books", "item") == ["1 2", ""] and read(side="item").types["similar_books"].value == "token_seq"
    assert "authors, popular_shelves" in capsys.readouterr().out


def test_the_layout_of_movielens_32m(capsys):
    pathlib = datasets.Path
    pathlib("ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,17,4.0,944249077\n1,25,1.0,944250228\n2,17,.5,944250228\n"
    )
    films = 'movieId,title,genres\n17,"Sense, and ""Sensibility"" (1995)",Drama|Romance|Sci-Fi\n25,Leaving,(no genres listed)\n'
    pathlib("movies.csv").write_text(films)
    assert convert("ratings.csv", "--items", "movies.csv") == 0
    assert column("rating") == ["4.0", "1.0", ".5"]
    assert column("title", "item") == ['Sense, and "Sensibility" (1995)', "Leaving"]
    assert column("genres", "item") == ["Drama|Romance|Sci-Fi", "(no genres listed)"]
    assert "seq_separator: '|'" in pathlib("dataset/shop/shop.yaml").read_text()
    pathlib("movies.csv").write_text(films.replace("(no genres listed)", "Drama"))
    assert convert("ratings.csv", "--items", "movies.csv", "--overwrite") == 0
    assert column("genres", "item") == ["Drama Romance Sci-Fi", "Drama"]
    assert "seq_separator" not in pathlib("dataset/shop/shop.yaml").read_text()
    assert sorted(path.name for path in pathlib("dataset/shop").iterdir()) == ["shop.inter", "shop.item", "shop.yaml"]
    before = pathlib("dataset/shop/shop.inter").read_bytes()
    assert convert("ratings.csv", "--overwrite") == 2  # the films of before would be read with other settings
    assert "shop.item is there from before" in capsys.readouterr().err
    assert pathlib("dataset/shop/shop.inter").read_bytes() == before


def test_lists_that_begin_late_are_lists():
    pathlib = datasets.Path
    pathlib("r.csv").write_text("user,item\n" + "".join(f"u{n},i{n}\n" for n in range(1500)))
    rows = [f"i{n},T {n}," + "\"['deep sea', 'far off']\"" * (n >= 1200) for n in range(1500)]
    pathlib("items.csv").write_text("item,title,tags\n" + "\n".join(rows) + "\n")
    assert convert("r.csv", "--items", "items.csv") == 0
    assert column("tags", "item")[-1] == "deep sea|far off" and read(side="item").types["tags"].value == "token_seq"


TIMES = {
    "seconds": (["1588687728", "0", "-5"], ["1588687728", "0", "-5"]),
    "milliseconds": ([1588687728923, 1588687728924, 1], ["1588687728923", "1588687728924", "1"]),
    "floats": ([1588687728.0, np.nan, 1.0], ["1588687728", "", "1"]),
    "scientific": (["1.588687728e9", "881250949.0", ""], ["1588687728", "881250949", ""]),
    "fractions": (["1588687728.25", "7", "NULL"], ["1588687728250", "7000", ""]),
    "microseconds": (["2024-01-01T00:00:00.000001Z", "2024-01-01", ""], ["1704067200000001", "1704067200000000", ""]),
    "zones": (["2024-01-01T00:00:00+05:30", "2024-01-01", "2023-12-31T19:00-0500"], ["1704047400", "1704067200", "1704067200"]),
    "date objects": ([datetime.date(2024, 1, 1), None, datetime.date(1970, 1, 2)], ["1704067200", "", "86400"]),
    "amazon 2018": (["09 1, 2014", "01 31, 2015", "12 5, 2016"], ["1409529600", "1422662400", "1480896000"]),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_are_exact(kind):
    values, wanted = TIMES[kind]
    datasets.from_frames(frame(timestamp=pd.Series(values, dtype=None if kind == "floats" else object)), name="shop")
    assert column("timestamp") == wanted


def test_times_with_and_without_a_format(capsys):
    frame(date=["31/12/2023 10:00", "01/02/2024 11:30", "x"]).to_csv("a.csv", index=False)
    assert convert("a.csv") == 2
    assert "--time-format" in capsys.readouterr().err and not datasets.Path("dataset/shop").exists()
    assert convert("a.csv", "--time-format", "%d/%m/%Y %H:%M") == 0
    assert column("timestamp") == ["1704016800", "1706787000"]
    assert "1 whose date is no time (first: row 3: 'x')" in capsys.readouterr().out


def test_times_of_any_batch_decide_the_unit(monkeypatch):
    for module in ("tables", "rows", "delimited"):
        monkeypatch.setattr(f"recbole_rlmrec.exchange.convert.{module}.ROWS", 2)
    rows = frame(timestamp=["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05 00:00:00.5"])
    made = datasets.from_frames(rows, name="shop")
    assert column("timestamp")[0] == "1704067200000" and column("timestamp")[4] == "1704412800500"
    assert made.rows == 5 and made.users == 3 and "milliseconds" in str(made)


def test_what_shows_late_counts_from_the_first_row(monkeypatch):
    monkeypatch.setattr("recbole_rlmrec.exchange.convert.rows.ROWS", 2)
    base = [{"user": "u", "item": f"i{row}"} for row in range(6)]
    base[0] |= {"tags": "two words", "info": "x", "number": 1}
    base[2] |= {"number": 2.5, "tags": None}
    base[4] |= {"tags": ["a|b", "c"], "info": {"a": 1}, "late": 7}
    write_lines("a.jsonl", base)
    assert convert("a.jsonl") == 0
    found = read()
    assert list(found.table.columns) == ["user_id", "item_id", "tags", "number", "late"]
    assert found.table["tags"].tolist() == ["two words", "", "", "", "a|b;c", ""]
    assert found.table["late"].tolist() == ["", "", "", "", "7", ""]
    assert found.types["tags"].value == "token_seq" and found.types["number"].value == "float"


def test_lists_in_texts():
    rows = frame(a=["['x', 'y z']", "[]", "['w']"], b=['["q", 1]', "", "[2]"], c=["red, green", "blue", ""], d=["a|b|c"] * 3)
    made = datasets.from_frames(rows, name="shop", lists={"c": ","})
    assert (column("a"), column("b")) == (["x|y z", "", "w"], ["q|1", "", "2"])
    assert (column("c"), column("d")) == (["red|green", "blue", ""], ["a|b|c"] * 3)
    assert made.settings["seq_separator"] == "|"


def test_bars_in_titles_and_reviews_are_characters():
    rows = frame(reviewText=["good | bad", "fine", "no"], tags=["a|b", "c", "d"])
    items = pd.DataFrame({"item": ["i0", "i1", "i2"], "title": ["Alien | Part 2", "Heat", "Ran|Chaos"]})
    datasets.from_frames(rows, items, name="shop")
    assert column("title", "item") == ["Alien | Part 2", "Heat", "Ran|Chaos"]
    assert read(side="item").types["title"].value == "token"
    assert read().types["tags"].value == "token_seq" and column("review")[0] == "good | bad"


def test_frames_of_arrow_and_ids_of_every_type():
    rows = pa.table({"user": pa.array([1.0, 2.0, None, 4.0]), "item": pa.array([" x ", "NA", "y", '"z"']).dictionary_encode()})
    made = datasets.from_frames(rows, name="shop")
    assert read().table.values.tolist() == [["1", "x"], ["4", '"z"']] and made.broken == 2
    data = pd.DataFrame({"user": pd.Categorical(["a", "b"]), "item": [2**62 + 1, 5], "price": [1, "dear"]})
    datasets.from_frames(data, users=pd.DataFrame({"user": ["a", "b"], "age": [1.5, 2]}), name="other")
    assert read("other").table.values.tolist() == [["a", str(2**62 + 1), "1"], ["b", "5", "dear"]]


def test_names_that_would_clash():
    rows = frame(rating=[1, 2, 3], text=["good", "bad", "so so"], title=["x", "y", "z"], when=["p", "q", "r"])
    rows["two words:x"] = 1
    items = pd.DataFrame({"item": ["i0", "i1"], "rating": [4.5, 3.5], "when": ["a", "b"], "user_id": [8, 9]})
    datasets.from_frames(rows, items, name="shop", time="none")
    assert list(read(side="item").types) == ["item_id", "item_rating", "when", "item_user_id"]
    wanted = ["user_id", "item_id", "rating", "review", "review_title", "inter_when", "two_words_x"]
    assert list(read().types) == wanted


def test_repeated_rows_are_counted(monkeypatch):
    monkeypatch.setattr(counts, "_AT_ONCE", 8)
    rows = pd.DataFrame({"user": list("aabbabcc"), "item": list("xyxxxxyy"), "rating": range(8)})
    items = pd.DataFrame({"item": list("xyxzy"), "title": ["first", "y", "second", "z", "again"]})
    made = datasets.from_frames(rows, items, name="shop")
    wanted = int(rows.duplicated(["user", "item"]).sum())
    assert (made.repeated, made.rows, made.users, made.items) == (wanted, 8, 3, 2)
    assert read(side="item").table.values.tolist() == [["x", "first"], ["y", "y"], ["z", "z"]]
    assert "rm_dup_inter" in str(made) and "their id stands above: 2" in str(made)


def test_broken_rows_of_csv_are_counted_and_told(capsys):
    datasets.Path("a.csv").write_text("user,item,rating\nu1,i1,5\nu2\nu3,i3,1,extra\nu4,,2\nu5,i5,many\n\nu6,i6,\n")
    assert convert("a.csv") == 0
    assert read().table.values.tolist() == [["u1", "i1", "5"], ["u6", "i6", ""]]
    said = capsys.readouterr().out
    assert "2 with too many or too few fields (first: a.csv, row 3: 'u2')" in said
    assert "1 without item_id" in said and "1 whose rating is no number" in said


BAD = {
    "missing file": (["none.csv"], "none.csv does not exist"),
    "no known suffix": (["a.xlsx"], ".parquet"),
    "empty": (["empty.csv"], "empty"),
    "no users": (["nouser.csv"], "--user COLUMN"),
    "unknown column": (["a.csv", "--rating", "stars"], "--rating stars"),
    "one column twice": (["a.csv", "--user", "item", "--item", "item"], "Two roles"),
    "two columns of a name": (["twice.csv"], "two columns named 'x'"),
    "never closed": (["open.csv"], "never closed"),
    "no text": (["binary.csv"], "--encoding"),
    "unknown encoding": (["a.csv", "--encoding", "klingon"], "klingon"),
    "long separator": (["a.csv", "--separator", "::"], "--separator"),
    "no rows": (["header.csv"], "no row"),
    "no JSON": (["bad.jsonl"], "JSON"),
    "array": (["array.json"], "jq"),
    "no Parquet": (["bad.parquet"], "cannot be read"),
    "items of others": (["a.csv", "--items", "others.csv"], "None of the items"),
    "items without ids": (["a.csv", "--items", "noid.csv"], "--items-id"),
    "list that is not there": (["a.csv", "--list", "x=,"], "--list x"),
    "list without separator": (["a.csv", "--list", "x"], "COLUMN=SEPARATOR"),
    "query of a file": (["a.csv", "--query", "SELECT 1"], "--query"),
    "id of no table": (["a.csv", "--items-id", "x"], "--items FILE"),
    "unknown option": (["a.csv", "--reveiw=x"], "--review"),
    "unusable name": (["a.csv"], "name of a data set"),
    "there already": (["a.csv"], "--overwrite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_nothing_is_left(case, capsys, workdir):
    files = {
        **{"a.csv": "user,item,rating\nu,i,1\n", "a.xlsx": "x", "empty.csv": "", "nouser.csv": "a,item\n1,2\n"},
        **{"header.csv": "user,item\n", "twice.csv": "user,item,x,x\n1,2,3,4\n", "open.csv": 'user,item\nu,"i\nv,j\n'},
        **{"bad.jsonl": "{\nx\n", "array.json": '[{"a": 1}]', "bad.parquet": "PAR"},
        **{"others.csv": "item,title\nj,x\n", "noid.csv": "a,b\n1,2\n"},
    }
    for name, text in files.items():
        (workdir / name).write_text(text)
    (workdir / "binary.csv").write_bytes(b"user,item\nu,\xff\xfe\xe9\n")
    if case == "there already":
        (workdir / "dataset/shop").mkdir(parents=True)
    before = sorted(workdir.rglob("*"))
    argv, wanted = BAD[case]
    assert convert(*argv, name="../x" if case == "unusable name" else "shop") == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1 and wanted in said.err and "Traceback" not in said.err and not said.out
    assert [path for path in sorted(workdir.rglob("*")) if path.name != "dataset"] == [p for p in before if p.name != "dataset"]


def test_overwriting_keeps_what_else_is_there(workdir):
    datasets.from_frames(frame(), name="shop")
    (workdir / "dataset/shop/semantic").mkdir()
    datasets.from_frames(frame(rating=[1, 2]), name="shop", overwrite=True)
    assert column("rating") == ["1", "2"]
    assert sorted(path.name for path in (workdir / "dataset/shop").iterdir()) == ["semantic", "shop.inter", "shop.yaml"]


def test_a_run_takes_what_was_converted(workdir):
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"customer": rng.integers(0, 12, 200), "sku": rng.integers(0, 15, 200), "date": "2024-01-01"})
    rows = rows.drop_duplicates()
    products = pd.DataFrame({"sku": range(15), "title": [f"Pot {n}" for n in range(15)], "tags": [["for home", "new"]] * 15})
    datasets.from_frames(rows, products, name="shop")
    code = "from recbole_rlmrec.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    options = ["--epochs=1", "--gpu_id=", "--show_progress=False", "--topk=[5]", "--valid_metric=Recall@5"]
    command = ["run", "--model=LightGCN_RLMRec", "--dataset=shop", "--config_files=dataset/shop/shop.yaml", *options]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    (tag,) = (workdir / "dataset/shop/semantic").glob("template-lsa-*")
    assert "for home, new" in (tag / "items.jsonl").read_text()
