"""The corpus: raw text of the atomic files, and training interactions of the run's own split alone."""

from __future__ import annotations

import hashlib
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_rlmrec.data import pairs, rows
from recbole_rlmrec.data.atomic import read_atomic
from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.pairs import split_hash
from recbole_rlmrec.errors import ConfigError, DataError


def split(options: dict, **more):
    """Config and the three splits of a run."""
    config = Config("BPR", options["dataset"], config_dict={**options, **more})
    init_seed(config["seed"], config["reproducibility"])
    return config, create_dataset(config).build()


def corpus_of(options: dict, **more) -> Corpus:
    config, splits = split(options, **more)
    return Corpus.from_config(config, splits[0])


def write(folder, suffix: str, *lines: str, name: str = "tiny") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def pairs_of(dataset) -> set[tuple[str, str]]:
    users = dataset.id2token(dataset.uid_field, dataset.inter_feat[dataset.uid_field].numpy())
    items = dataset.id2token(dataset.iid_field, dataset.inter_feat[dataset.iid_field].numpy())
    return {(str(user), str(item)) for user, item in zip(users, items, strict=True)}


@pytest.fixture
def folder(tiny, workdir):
    return workdir / "dataset" / "tiny"


def test_interactions_are_those_of_the_training_split_with_raw_values(tiny, folder):
    config, (train, valid, test) = split(tiny, normalize_all=True)
    corpus = Corpus.from_config(config, train)
    found = set(zip(corpus.interactions["user"], corpus.interactions["item"], strict=True))
    assert found == pairs_of(train)
    assert not found & (pairs_of(valid) | pairs_of(test))
    raw = {tuple(line.split("\t")) for line in (folder / "tiny.inter").read_text().splitlines()[1:]}
    assert set(corpus.interactions[["user", "item", "rating", "timestamp"]].itertuples(index=False, name=None)) <= raw


def test_interactions_come_by_user_and_then_by_time(tiny):
    rows = corpus_of(tiny).interactions
    users = rows["user"].tolist()
    assert len(set(users)) == sum(a != b for a, b in zip([None, *users], users, strict=False))
    for _, times in rows.groupby("user")["timestamp"]:
        assert times.astype(float).is_monotonic_increasing


LATEST = {"eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}}}
LATEST["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}


@pytest.mark.parametrize("more", [{}, {"rm_dup_inter": "first"}, LATEST])
def test_ranges_of_users_change_neither_rows_nor_hash(tiny, monkeypatch, more):
    whole = corpus_of(tiny, **more)
    monkeypatch.setattr(pairs, "_AT_ONCE", 2)
    monkeypatch.setattr(pairs, "_PASSES", 1000)
    parts = corpus_of(tiny, **more)
    assert len(np.unique(pairs.ranges(np.bincount(parts.pairs()[0])))) > 2
    assert parts.split_hash == whole.split_hash and parts.interactions.equals(whole.interactions)


def test_ranges_are_of_whole_users_in_order(monkeypatch):
    monkeypatch.setattr(pairs, "_AT_ONCE", 4)
    for counts in ([], [0], [5], [0, 9, 0, 1], [1] * 40, [100] + [1] * 30, [1] * 3000):
        found = pairs.ranges(np.array(counts, dtype=np.int64)).astype(int)
        assert len(found) == len(counts) and (np.diff(found) >= 0).all() and found.max(initial=0) <= 64
        sizes = np.bincount(found, counts, 1)
        assert sizes.max() < max(4, sum(counts) / 64 + 1) + max(counts, default=0)


def test_matching_takes_few_bytes_a_row(monkeypatch):
    """Users, items and rows stay, four bytes each; the rest is of one range of users."""
    monkeypatch.setattr(pairs, "_AT_ONCE", 1)
    users, items = np.repeat(np.arange(1, 20_001), 10), np.tile(np.arange(1, 11), 20_000)
    known = pairs.Interactions(users, items, None)
    train = SimpleNamespace(rlmrec_interactions=known, item_num=11, user_num=20_001, config={"val_interval": None})
    keys = np.random.default_rng(0).permutation(pairs.pair_key(users, items, 11))
    times = np.random.default_rng(1).random(len(keys))
    tracemalloc.start()
    found = rows.matching_rows(train, keys, times, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs.pair_key(found[0] + 1, found[1] + 1, 11).tolist() == keys[found[2]].tolist()
    assert (np.diff(times[found[2]])[np.diff(found[0]) == 0] > 0).all()
    assert peak < 32 * len(keys), peak / len(keys)


def test_values_of_items_are_those_of_the_table(tiny, folder):
    lines = [f"i{n}\tone|two {n}|-\t drama \t{n}" for n in range(1, 40)]
    write(folder, "item", "item_id:token\ttags:token_seq\tgenre:token\tplace:token", *lines, "i1\tsecond\trow\t0")
    corpus = corpus_of(tiny)
    for column in ("tags", "genre"):
        table = corpus.item_values(column)
        expected = {item: found["value"].tolist() for item, found in table.groupby("item")}
        assert [*corpus.values_of_items(column)] == [expected.get(item, []) for item in corpus.items]
    assert corpus.item_fields is not None  # the tables have been made
    assert [*corpus.values_of_items("genre")] == [["drama"] if item in expected else [] for item in corpus.items]


def test_all_columns_are_read_whatever_is_loaded_and_tokens_follow_the_run(tiny):
    config, (train, _, _) = split(tiny, load_col={"inter": ["user_id", "item_id"]})
    corpus = Corpus.from_config(config, train)
    assert list(corpus.item_fields) == ["title", "release_year", "genre", "description"]
    assert list(corpus.user_fields) == ["age", "occupation"]
    assert {"rating", "timestamp"} <= set(corpus.interactions)
    assert corpus.users == [str(token) for token in train.id2token("user_id", range(1, train.user_num))]
    assert corpus.items == [str(token) for token in train.id2token("item_id", range(1, train.item_num))]
    assert corpus.field_types["genre"].value == "token_seq"


def test_lists_of_items_are_no_attributes(tiny, workdir):
    path = workdir / "dataset" / "tiny" / "tiny.item"
    lines = path.read_text().splitlines()
    also = [f"{line}\ti{n} i{n + 1}\tcalm {('bright', 'dark')[n % 2]}" for n, line in enumerate(lines[1:])]
    also = [f"{line}\ti{n},i{n + 1}\t['i{n}', 'i{n + 2}']\tcalm, mild" for n, line in enumerate(also)]
    names = "\talso_buy:token_seq\tmoods:token_seq\tbought:token\trelated:token\ttones:token"
    path.write_text("\n".join([lines[0] + names, *also]) + "\n")
    assert corpus_of(tiny).columns().attributes == ["genre", "moods", "tones"]


def test_what_users_liked_and_lists_of_which_few_are_in_the_run_are_no_attributes(tiny, folder):
    users = [f"u{n}\tcity{n % 3}\ti{n} i{n + 1}\ti{n}\t{n % 9}" for n in range(24)]
    write(folder, "user", "user_id:token\tcity:token\tliked:token_seq\tlatest:token\tage:token", *users)
    codes = [[f"B{1000 + 7 * n + k}" for k in range(9)] + [f"i{(n + 3) % 30}"] * (n % 8 == 0) for n in range(30)]
    items = [f"i{n}\t{' '.join(some)}\t{1990 + n % 20}\tNo {n % 2}\tP{n % 3}123" for n, some in enumerate(codes)]
    write(folder, "item", "item_id:token\tseen_with:token_seq\tyear:token\tshelf:token_seq\tmodel:token", *items)
    columns = corpus_of(tiny).columns()
    assert columns.user_attributes == ["city", "age"]
    assert columns.attributes == ["shelf", "model"] and columns.year == "year"
    assert corpus_of(tiny).columns(attributes=["seen_with"]).attributes == ["seen_with"]  # whoever asks for it gets it


@pytest.mark.parametrize(("width", "role"), [(20, "description"), (6, "title")])
def test_lists_of_items_are_no_texts(tiny, workdir, width, role):
    path = workdir / "dataset" / "tiny" / "tiny.item"
    rows = [" ".join(f"i{(number * step + 1) % 30}" for step in range(2, width + 2)) for number in range(30)]
    lines = [f"i{number}\tcalm\t{row}" for number, row in enumerate(rows)]
    path.write_text("\n".join(["item_id:token\tmood:token_seq\tbought:token_seq", *lines]) + "\n")
    assert getattr(corpus_of(tiny).columns(), role) is None
    assert getattr(corpus_of(tiny).columns(**{role: "bought"}), role) == "bought"


def test_roles_are_guessed_and_can_be_set(tiny):
    corpus = corpus_of(tiny)
    columns = corpus.columns()
    assert (columns.title, columns.description, columns.year) == ("title", "description", "release_year")
    assert (columns.rating, columns.timestamp) == ("rating", "timestamp")
    assert (columns.attributes, columns.user_attributes, columns.reviews) == (["genre"], ["age", "occupation"], [])
    other = corpus.columns(title="genre", description=None)
    assert (other.title, other.description, other.attributes) == ("genre", None, ["title"])
    with pytest.raises(ConfigError, match="no column 'plot'.*title, release_year"):
        corpus.columns(description="plot")


COUNTED = {
    "avg_rating": "4.2",
    "members": "1203",
    "num_ratings": "88",
    "averageRating": "3.9",
    "ratings_count": "7",
    "vote_average": "6.5",
    "text_reviews_count": "12",
    "rating_number": "51",
    "salesRank": "1,204",
    "popularity": "0.83",
    "rating": "4.5",
    "stars": "3.5",
    "scored_by": "99",
    "imdb_votes": "12",
    "play_cnt": "36",
    "valid_play_user_num": "7",
    "positive_ratings": "4",
    "no_of_ratings": "16",
    "averagerating": "7.1",
    "numVotes": "900",
    "average_playtime": "31",
    "recommendations": "84",
    "times_bought": "3",
    "salesrank": "42",
    "rank": "17",
}
PLAIN = {
    "page_cnt": "3",
    "showtime": "8 pm",
    "average_height": "2",
    "rating_class": "PG-13",
    "num_pages": "288",
    "score_by": "John Williams",
    "rank_name": "Captain",
    "runtime": "90",
}


@pytest.mark.parametrize("kind", ["token", "float"])
def test_counts_and_means_of_interactions_are_left_out_unless_asked_for(tiny, folder, kind):
    kinds = {**dict.fromkeys(COUNTED, kind), **dict.fromkeys(PLAIN, "token")}
    names = ["item_id:token", "title:token_seq", *(f"{name}:{kind}" for name, kind in kinds.items())]
    values = [value.replace(",", "") if kind == "float" else value for value in COUNTED.values()]
    rows = ["\t".join([f"i{n}", f"Film {n}", *values, *PLAIN.values()]) for n in range(30)]
    write(folder, "item", "\t".join(names), *rows)
    write(folder, "user", "user_id:token\tage:token\treview_count:float\taverage_stars:float\tfans:float", "u1\t30\t12\t3.5\t4")
    corpus = corpus_of(tiny)
    columns = corpus.columns()
    assert columns.attributes == list(PLAIN) and columns.user_attributes == ["age"]
    assert columns.aggregates == sorted([*COUNTED, "review_count", "average_stars", "fans"])
    asked = corpus.columns(attributes=["avg_rating", "runtime"], user_attributes=["age", "fans"])
    assert asked.attributes == ["avg_rating", "runtime"] and asked.user_attributes == ["age", "fans"]
    assert not {"avg_rating", "fans"} & set(asked.aggregates)


def test_a_place_among_the_sales_is_left_out(tiny, folder):
    rows = [f"i{n}\tFilm {n}\t{n},{n}34 in Books (\t{('first', 'second')[n % 2]}" for n in range(1, 30)]
    write(folder, "item", "item_id:token\ttitle:token_seq\trank:token_seq\tranking:token", *rows)
    columns = corpus_of(tiny).columns()
    assert columns.attributes == ["ranking"] and columns.aggregates == ["rank"]


def test_a_rating_that_is_a_word_is_an_attribute(tiny, folder):
    rows = [f"i{n}\tFilm {n}\t{('PG-13', 'R', 'G')[n % 3]}" for n in range(30)]
    write(folder, "item", "item_id:token\ttitle:token_seq\trating:token", *rows)
    columns = corpus_of(tiny).columns()
    assert columns.attributes == ["rating"] and columns.aggregates == []


def test_quotation_marks_missing_values_and_repeated_ids_are_kept_as_recbole_sees_them(tiny, folder):
    write(
        folder,
        "item",
        "item_id:token\tname:token_seq\tplot:token_seq",
        'i1\t"Heroes" and more\t"It begins',
        "i2\t\tNaN",
        "i1\tsecond\tlater",
        "i3\tNa\u00efve \u6620\u753b\tends\r",
        "\tno id\tx",
    )
    corpus = corpus_of(tiny)
    assert corpus.item_fields.loc["i1"].tolist() == ['"Heroes" and more', '"It begins']
    assert corpus.item_fields.loc["i2"].tolist() == ["", ""]
    assert corpus.item_fields.loc["i3"].tolist() == ["Na\u00efve \u6620\u753b", "ends"]
    assert len(corpus.item_fields) == 3


def test_sequences_with_a_separator_of_their_own_are_shown_as_lists(tiny, folder):
    write(folder, "item", "item_id:token\ttitle:token_seq\ttags:token_seq", "i1\tOne|Two\tbig city|rain", "i2\tX\t")
    corpus = corpus_of(tiny, seq_separator="|")
    assert corpus.item_fields.loc["i1", "tags"] == "big city, rain"
    values = corpus.item_values("tags")
    assert values.values.tolist() == [["i1", "big city"], ["i1", "rain"]]


def test_without_item_and_user_files_there_is_a_corpus_but_no_text(tiny, folder):
    (folder / "tiny.item").unlink()
    (folder / "tiny.user").unlink()
    corpus = corpus_of(tiny)
    assert corpus.item_fields is None and corpus.user_fields is None
    with pytest.raises(DataError, match="neither an .item nor a .user file.*title:token_seq.*import"):
        corpus.require_text(corpus.columns())


def test_files_without_readable_text_are_named(tiny, folder):
    rows = [f"i{i}\t{100000 + i}\thttp://example.org/{i}.png\t0.1 0.2" for i in range(30)]
    write(folder, "item", "item_id:token\tasin_no:token\tcover:token\tvector:float_seq", *rows)
    (folder / "tiny.user").unlink()
    corpus = corpus_of(tiny)
    assert corpus.columns().attributes == []
    with pytest.raises(DataError, match="no readable text in tiny.item"):
        corpus.require_text(corpus.columns())


def test_titles_and_descriptions_under_unknown_names_are_found_by_their_shape(tiny, folder):
    long = " ".join(["palabra"] * 20)
    rows = [f"i{i}\trojo\tPelicula {i}\t{long} {i}" for i in range(30)]
    write(folder, "item", "item_id:token\tclase:token\ttitulo:token_seq\ttexto:token_seq", *rows)
    columns = corpus_of(tiny).columns()
    assert (columns.title, columns.description, columns.attributes) == ("titulo", "texto", ["clase"])


def test_reviews_are_found_by_name_or_length(tiny, folder):
    lines = (folder / "tiny.inter").read_text().splitlines()
    body = [f"{line}\tgood number {n} to watch again\tx" for n, line in enumerate(lines[1:])]
    write(folder, "inter", lines[0] + "\treviewText:token_seq\tsource:token", *body)
    corpus = corpus_of(tiny)
    assert corpus.columns().reviews == ["reviewText"]
    assert corpus.interactions["reviewText"].str.startswith("good number").all()


def repeated(folder, *rows: str) -> None:
    """A dataset in which user u0 has item i0 several times, each with another note, among others."""
    filler = [f"u{u}\ti{i}\t{u * 10 + i}\tnote" for u in range(6) for i in range(1, 9)]
    write(folder, "inter", "user_id:token\titem_id:token\ttimestamp:float\tnote:token_seq", *rows, *filler)


def test_a_repeated_pair_keeps_no_text_where_one_of_its_rows_is_held_out(tiny, folder):
    repeated(folder, *(f"u0\ti0\t{500 + n}\tsecret {n}" for n in range(12)))
    options = {"eval_args": {"split": {"RS": [0.5, 0.25, 0.25]}, "group_by": "user", "order": "RO", "mode": "full"}}
    config, splits = split(tiny, **options)
    assert all(("u0", "i0") in pairs_of(part) for part in splits)
    rows = Corpus.from_config(config, splits[0]).interactions
    row = rows[(rows["user"] == "u0") & (rows["item"] == "i0")]
    assert row[["timestamp", "note"]].values.tolist() == [["", ""]]
    assert (rows.drop(index=row.index)["note"] == "note").all()


@pytest.mark.parametrize(("keep", "note"), [("first", "early"), ("last", "late")])
def test_a_repeated_pair_that_a_filter_made_unique_keeps_the_row_that_the_filter_kept(tiny, folder, keep, note):
    repeated(folder, "u0\ti0\t900\tlate", "u0\ti0\t800\tearly")
    rows = [corpus_of(tiny, rm_dup_inter=keep, seed=seed).interactions for seed in range(3)]
    found = [row for table in rows for row in table[table["item"] == "i0"]["note"]]
    assert found and set(found) == {note}


def test_a_row_that_a_filter_of_values_took_away_is_not_quoted(tiny, folder):
    """The pair is in training alone; which of its rows the filter left is not known, so none of their texts is taken."""
    repeated(folder, "u0\ti0\t500\tfine", "u0\ti0\t900\ttaken away")
    filtered = {"val_interval": {"timestamp": "(-inf,899]"}, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    config, splits = split(tiny, **filtered, eval_args={"split": {"RS": [1.0, 0.0, 0.0]}})
    rows = Corpus.from_config(config, splits[0]).interactions
    assert rows[rows["item"] == "i0"]["note"].tolist() == [""]
    assert (rows[rows["item"] != "i0"]["note"] == "note").all()


def test_repeats_that_came_after_a_run_do_not_replace_what_it_has_read(tiny, folder):
    repeated(folder, "u0\ti0\t500\tfirst", "u0\ti0\t600\tsecond")
    config, splits = split(tiny, eval_args={"split": {"RS": [1.0, 0.0, 0.0]}})
    repeated(folder, "u0\ti0\t500\tfirst", "u0\ti0\t600\tsecond", "u0\ti0\t700\tlater")
    rows = Corpus.from_config(config, splits[0]).interactions
    assert rows[rows["item"] == "i0"]["note"].tolist() == ["second"]


def test_a_split_that_does_not_know_what_is_held_out_gives_away_nothing(tiny, folder):
    repeated(folder, "u0\ti0\t900\tlate", "u0\ti0\t800\tearly")
    config, (train, _, _) = split(tiny, rm_dup_inter="first", eval_args={"split": {"RS": [1.0, 0.0, 0.0]}})
    del train.rlmrec_heldout
    rows = Corpus.from_config(config, train).interactions
    assert set(rows[rows["item"] == "i0"]["note"]) <= {""}


def test_benchmark_files_give_the_rows_of_the_training_file(tiny, workdir):
    folder = workdir / "dataset" / "parts"
    head = "user_id:token\titem_id:token\trating:float\ttip:token_seq"
    write(folder, "train.inter", head, "u1\ti1\t5\tkept", "u1\ti2\t3\talso", "u2\ti1\t4\tmine", name="parts")
    write(folder, "valid.inter", head, "u1\ti1\t1\theld out", "u2\ti2\t2\tx", name="parts")
    write(folder, "test.inter", head, "u2\ti3\t2\ty", name="parts")
    corpus = corpus_of({**tiny, "dataset": "parts"}, benchmark_filename=["train", "valid", "test"])
    assert corpus.interactions.values.tolist() == [
        ["u1", "i1", "5", "kept"],
        ["u1", "i2", "3", "also"],
        ["u2", "i1", "4", "mine"],
    ]
    assert corpus.items == ["i1", "i2", "i3"]


def test_split_hash_is_over_sorted_token_pairs_and_differs_between_seeds(tiny):
    _, (train, _, _) = split(tiny)
    lines = "".join(f"{user}\t{item}\n" for user, item in sorted(pairs_of(train)))
    assert split_hash(train) == hashlib.sha256(lines.encode()).hexdigest()
    assert split_hash(train) == split_hash(split(tiny)[1][0])
    assert split_hash(train) != split_hash(split(tiny, seed=1)[1][0])


def test_bad_files_are_named_with_what_to_do(tiny, folder, tmp_path):
    with pytest.raises(DataError, match="x.item is missing"):
        read_atomic(tmp_path / "x.item")
    write(folder, "item", "item_id\ttitle", "i1\tx")
    with pytest.raises(DataError, match="tiny.item does not start with a line of name:type"):
        corpus_of(tiny)
    write(folder, "item", "item_id:token\ttitle:token_seq", "i1\tx\ttoo many")
    with pytest.raises(DataError, match="tiny.item, line 2: 3 fields where the header has 2"):
        corpus_of(tiny)
    write(folder, "item", "movie:token\ttitle:token_seq", "i1\tx")
    with pytest.raises(DataError, match="no column 'item_id'"):
        corpus_of(tiny)


def test_an_inter_file_of_another_run_is_refused(tiny, folder):
    config, (train, _, _) = split(tiny)
    lines = (folder / "tiny.inter").read_text().splitlines()
    write(folder, "inter", *lines[: len(lines) // 2])
    with pytest.raises(DataError, match="lacks \\d+ training interactions"):
        Corpus.from_config(config, train)


def test_ml_100k_default_split(tiny):
    corpus = corpus_of({**tiny, "dataset": "ml-100k"})
    columns = corpus.columns()
    assert (len(corpus.users), len(corpus.items), len(corpus.interactions)) == (943, 1682, 80808)
    assert (columns.title, columns.year, columns.attributes) == ("movie_title", "release_year", ["class"])
    assert columns.user_attributes == ["age", "gender", "occupation"]
    assert set(corpus.interactions["rating"]) == {"1", "2", "3", "4", "5"}


def test_real_benchmark_dataset(tiny, shared_data):
    corpus = corpus_of(
        {**tiny, "dataset": "ml-100k-llm"},
        data_path=str(shared_data),
        benchmark_filename=["train", "valid", "test"],
    )
    columns = corpus.columns()
    assert len(corpus.interactions) == 44140
    assert (columns.title, columns.description, columns.year) == ("title", "overview", "release_year")
    assert columns.attributes == ["genres", "tagline"]


def test_real_dataset_of_ids_alone(tiny, shared_data):
    corpus = corpus_of(
        {**tiny, "dataset": "rlmrec-yelp"},
        data_path=str(shared_data),
        benchmark_filename=["train", "valid", "test"],
    )
    assert len(corpus.interactions) == 166620
    with pytest.raises(DataError, match="neither an .item nor a .user"):
        corpus.require_text(corpus.columns())
