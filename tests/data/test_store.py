"""Profiles as JSON lines: what is written is read again, what is damaged is named and left alone."""

from __future__ import annotations

import json
import multiprocessing
import threading

import pytest

from recbole_rlmrec.data.profile import digest_of, text_digest
from recbole_rlmrec.data.store import Profile, ProfileStore, check_tag, list_tags
from recbole_rlmrec.errors import ConfigError, DataError, StoreError
from recbole_rlmrec.exchange.profiles import ImportSummary, import_profiles


@pytest.fixture
def store(tmp_path) -> ProfileStore:
    return ProfileStore(tmp_path / "tag")


def jsonl(path, *records) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def test_what_is_written_is_read_again(store):
    profiles = [
        Profile("b", 'line\nbreak \u2028 and \u00e4\u6620 "quoted"', "because", [("u1", "b"), ("u2", "b")], {"key": [1]}),
        Profile("a", "plain", pairs=[]),
        Profile("c", "unknown"),
    ]
    store.write("item", profiles)
    assert list(store.read("item").values()) == profiles
    record = json.loads(store.path("item").read_text(encoding="utf-8").split("\n")[0])
    assert record["item_id"] == "b" and record["pairs"] == [["u1", "b"], ["u2", "b"]] and record["key"] == [1]
    assert store.read("user") == {}


def test_text_that_utf8_cannot_hold_does_not_stop_the_writer(store):
    store.write("item", [Profile("a", "half a pair \ud83d")])
    assert store.read("item")["a"].profile == "half a pair ?"


def test_the_last_line_of_a_token_wins(store):
    store.write("user", [Profile("a", "old"), Profile("b", "x"), Profile("a", "new")])
    assert {token: profile.profile for token, profile in store.read("user").items()} == {"a": "new", "b": "x"}
    assert [profile.profile for profile in store.iter("user")] == ["old", "x", "new"]
    assert store.texts("user") == {"a": "new", "b": "x"}


def test_a_line_cut_off_in_writing_is_passed_over_and_reported_once(store, caplog):
    store.write("user", [Profile("a", "one"), Profile("b", "two")])
    path = store.path("user")
    path.write_bytes(path.read_bytes()[:-9])
    with caplog.at_level("WARNING"):
        assert list(store.read("user")) == ["a"]
        assert list(store.read("user")) == ["a"]
    assert [r.message for r in caplog.records] == [f"{path}: line 2 was cut off in writing and is passed over."]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "Expecting value"),
        ("[1]", "not a JSON object"),
        ('{"user_id": "a"}', "'profile' are required"),
        ('{"user_id": "a", "profile": 3}', "must be texts"),
        ('{"user_id": true, "profile": "x"}', "an id must be"),
        ('{"user_id": "a", "profile": "x", "pairs": [["u"]]}', "'pairs' must be a list"),
        ("", "Expecting value"),
    ],
)
def test_any_other_bad_line_is_named_and_the_file_left_alone(store, line, reason):
    store.write("user", [Profile("a", "one")])
    path = store.path("user")
    path.write_text(path.read_text() + line + "\n" + '{"user_id": "z", "profile": "x"}\n')
    before = path.read_bytes()
    with pytest.raises(StoreError, match=rf"users.jsonl, line 2: .*{reason}.*left as it is"):
        store.read("user")
    assert path.read_bytes() == before


def test_appending_from_threads_and_after_a_killed_writer(store):
    store.write("item", [Profile("first", "x")])
    with open(store.path("item"), "ab") as file:
        file.write(b'{"item_id": "lost", "prof')
    with store.appender("item") as appender:
        threads = [
            threading.Thread(target=lambda n=n: [appender.append(Profile(f"{n}-{i}", "t" * 500)) for i in range(50)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        appender.flush()
        assert len(store.read("item")) == 201
    assert "lost" not in store.read("item")


def test_a_whole_last_line_without_newline_survives_appending(store):
    store.write("item", [Profile("a", "x" * 100_000)])
    path = store.path("item")
    path.write_bytes(path.read_bytes()[:-1])
    with store.appender("item") as appender:
        appender.append(Profile("b", "y"))
    assert list(store.read("item")) == ["a", "b"]


def test_a_cut_line_longer_than_a_read_is_removed(store):
    store.write("item", [Profile("a", "x"), Profile("b", "x" * 200_000)])
    path = store.path("item")
    path.write_bytes(path.read_bytes()[:-5])
    with store.appender("item"):
        pass
    assert list(store.read("item")) == ["a"]


def test_an_unfinished_write_changes_nothing(store):
    store.write("item", [Profile("a", "x")])

    def broken():
        yield Profile("b", "y")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        store.write("item", broken())
    assert list(store.read("item")) == ["a"]
    assert [path.name for path in store.folder.iterdir()] == ["items.jsonl"]


def test_the_digest_depends_on_tokens_and_texts_alone(store):
    store.write("item", [Profile("a", "x"), Profile("b", "y", pairs=[])])
    digest = store.digest("item")
    store.write("item", [Profile("b", "y", "a reason"), Profile("a", "x"), Profile("c", " ")])
    assert store.digest("item") == digest == digest_of([("a", text_digest("x")), ("b", text_digest("y"))])
    store.write("item", [Profile("b", "x"), Profile("a", "y")])
    assert store.digest("item") != digest


def test_quoted_pairs_of_both_sides(store):
    store.write("user", [Profile("u1", "x", pairs=[("u1", "i1"), ("u1", "i2")]), Profile("u1", "x", pairs=[("u1", "i2")])])
    store.write("item", [Profile("i2", "x", pairs=[("u1", "i2"), ("u3", "i2")])])
    pairs, unknown = store.quoted_pairs()
    assert pairs.values.tolist() == [["u1", "i2"], ["u3", "i2"]] and not unknown
    store.write("item", [Profile("i2", "x")])
    pairs, unknown = store.quoted_pairs()
    assert pairs.values.tolist() == [["u1", "i2"]] and unknown


def test_manifest(store):
    assert not store.exists
    with pytest.raises(StoreError, match="manifest.json is missing"):
        _ = store.manifest
    store.write_manifest({"dataset": "d", "by": "template"})
    assert store.exists and store.manifest == {"format": 1, "dataset": "d", "by": "template"}
    (store.folder / "manifest.json").write_text("{half")
    with pytest.raises(StoreError, match="manifest.json cannot be read"):
        _ = store.manifest
    (store.folder / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="format 99.*upgrade"):
        _ = store.manifest
    assert list_tags(store.folder.parent) == ["tag"]


def _hold(folder, started, stop):
    with ProfileStore(folder).locked():
        started.set()
        stop.wait(30)


def test_a_second_process_is_refused(store):
    context = multiprocessing.get_context("fork")
    started, stop = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(store.folder, started, stop))
    process.start()
    started.wait(30)
    with pytest.raises(StoreError, match="Another process is writing"), store.locked():
        pass
    stop.set()
    process.join()
    with store.locked():
        pass


@pytest.mark.parametrize("tag", ["", "a/b", "..", ".hidden", "a b", "x\n"])
def test_tags_are_names_of_folders(tag):
    with pytest.raises(ConfigError, match="cannot be a tag"):
        check_tag(tag)
    assert check_tag("gpt-4o_mini.v2") == "gpt-4o_mini.v2"


def test_import_takes_both_sides_by_successive_calls(tmp_path):
    jsonl(tmp_path / "a.jsonl", {"user_id": 7, "profile": "likes drama", "pairs": [[7, "i1"]], "model": "m"})
    jsonl(tmp_path / "b.jsonl", {"item_id": "i1", "profile": "a drama", "reasoning": "r"}, {"item_id": "i2", "profile": " "})
    summary = import_profiles(tmp_path / "a.jsonl", tmp_path / "semantic", "tiny", "mine")
    assert isinstance(summary, ImportSummary) and summary.provenance == "recorded"
    summary = import_profiles(tmp_path / "b.jsonl", tmp_path / "semantic", "tiny", "mine")
    assert (summary.users, summary.items, summary.blank, summary.provenance) == (0, 1, 1, "unknown")
    assert "1 item profiles" in str(summary) and "1 without text passed over" in str(summary)
    store = ProfileStore(tmp_path / "semantic" / "mine")
    assert store.read("user") == {"7": Profile("7", "likes drama", "", [("7", "i1")], {"model": "m"})}
    assert store.read("item") == {"i1": Profile("i1", "a drama", "r")}
    manifest = store.manifest
    assert manifest["by"] == "import a.jsonl, b.jsonl" and (manifest["users"], manifest["items"]) == (1, 1)
    assert manifest["provenance"] == "unknown" and manifest["split_hash"] is None


def test_import_again_replaces_and_says_so(tmp_path):
    jsonl(tmp_path / "a.jsonl", {"item_id": "i1", "profile": "old"}, {"item_id": "i2", "profile": "same"})
    import_profiles(tmp_path / "a.jsonl", tmp_path, "tiny", "mine")
    jsonl(tmp_path / "a.jsonl", {"item_id": "i1", "profile": "new"}, {"item_id": "i3", "profile": "more"})
    summary = import_profiles(tmp_path / "a.jsonl", tmp_path, "tiny", "mine")
    assert summary.replaced == 1 and "1 of them in place of earlier ones" in str(summary)
    assert ProfileStore(tmp_path / "mine").texts("item") == {"i1": "new", "i2": "same", "i3": "more"}


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([{"item_id": "a", "profile": "x"}, {"profile": "x"}], "line 2: not a JSON object with either"),
        ([{"item_id": "a", "user_id": "b", "profile": "x"}], "line 1: not a JSON object with either"),
        ([{"item_id": "a"}], "line 1: .*'profile' are required"),
        ([{"item_id": "a", "profile": "x"}, {"item_id": "a", "profile": "y"}], "line 2: item 'a' comes a second time"),
        ([{"item_id": None, "profile": "x"}], "line 1: an id must be"),
        ([{"item_id": "a", "profile": ""}], "holds no profile"),
        ([], "holds no profile"),
    ],
)
def test_a_bad_import_writes_nothing(tmp_path, records, reason):
    jsonl(tmp_path / "bad.jsonl", *records)
    with pytest.raises(DataError, match=reason):
        import_profiles(tmp_path / "bad.jsonl", tmp_path / "semantic", "tiny", "mine")
    assert not (tmp_path / "semantic").exists()


def test_an_import_that_was_killed_is_completed_by_the_next(tmp_path, monkeypatch):
    file = tmp_path / "p.jsonl"
    file.write_text('{"user_id": "u1", "profile": "likes drama"}\n{"item_id": "i1", "profile": "a drama"}\n')

    def killed(self, side, profiles):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ProfileStore, "write", killed)
        import_profiles(file, tmp_path / "semantic", "tiny", "mine")
    summary = import_profiles(file, tmp_path / "semantic", "tiny", "mine")
    assert (summary.users, summary.items) == (1, 1)
    assert set(ProfileStore(tmp_path / "semantic" / "mine").read("user")) == {"u1"}


def test_import_keeps_out_of_tags_of_others(tmp_path):
    jsonl(tmp_path / "a.jsonl", {"item_id": "i1", "profile": "x"})
    with pytest.raises(DataError, match="nowhere.jsonl cannot be read"):
        import_profiles(tmp_path / "nowhere.jsonl", tmp_path, "tiny", "mine")
    import_profiles(tmp_path / "a.jsonl", tmp_path, "tiny", "mine")
    with pytest.raises(StoreError, match="belongs to dataset 'tiny'"):
        import_profiles(tmp_path / "a.jsonl", tmp_path, "other", "mine")
    store = ProfileStore(tmp_path / "mine")
    store.write_manifest({**store.manifest, "by": "chat m"})
    with pytest.raises(StoreError, match="made by 'chat m'"):
        import_profiles(tmp_path / "a.jsonl", tmp_path, "tiny", "mine")
    (store.folder / "manifest.json").unlink()
    with pytest.raises(StoreError, match="no manifest.json; it is left as it is"):
        import_profiles(tmp_path / "a.jsonl", tmp_path, "tiny", "mine")


def test_import_of_real_profiles(tmp_path, shared_data):
    for side, count in (("item", 1591), ("user", 942)):
        file = shared_data / "ml-100k-llm" / f"{side}_profiles.jsonl"
        import_profiles(file, tmp_path, "ml-100k-llm", "real")
        assert len(ProfileStore(tmp_path / "real").read(side)) == count
    manifest = ProfileStore(tmp_path / "real").manifest
    assert (manifest["users"], manifest["items"], manifest["provenance"]) == (942, 1591, "unknown")
