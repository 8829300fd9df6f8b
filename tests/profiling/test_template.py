"""Template profiles: what they say, what they quote, and the offline default that is made of them."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_rlmrec.data import texts
from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.pairs import split_hash
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.embeddings import read_embeddings
from recbole_rlmrec.errors import DataError, SemanticError
from recbole_rlmrec.profiling import sentences
from recbole_rlmrec.profiling.template import build_template_profiles
from recbole_rlmrec.semantic.default import ensure_offline_default
from recbole_rlmrec.semantic.leakage import check_leakage
from recbole_rlmrec.semantic.load import load_semantic


def split(options: dict, **more):
    config = Config("BPR", options["dataset"], config_dict={**options, **more})
    init_seed(config["seed"], config["reproducibility"])
    return config, create_dataset(config).build()


def profiles_of(options: dict, **more):
    config, (train, _, _) = split(options, **more)
    items, users = build_template_profiles(Corpus.from_config(config, train))
    return {p.token: p for p in items}, {p.token: p for p in users}, train


def write(folder, suffix: str, *lines: str) -> None:
    (folder / f"tiny.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tiny, workdir):
    return workdir / "dataset" / "tiny"


@pytest.fixture
def known(tiny, folder) -> dict:
    """A history whose profile can be told by hand: all of it is training data."""
    write(
        folder,
        "item",
        "item_id:token\ttitle:token_seq\tyear:token\tgenres:token_seq\tplot:token_seq",
        *(f"d{n}\tDrama {n}\t199{n}\tdrama\tA sad story, part {n}" for n in range(6)),
        *(f"w{n}\tWestern {n}\t195{n}\twestern drama\t" for n in range(4)),
        "x\t\t\t\t",
    )
    write(folder, "user", "user_id:token\tjob:token", "anna\tcook", "ben\t")
    rows = [f"anna\td{n}\t{3 + (n == 2)}\t{n}\tfine" for n in range(6)]
    rows += [f"anna\tw{n}\t5\t{10 + n}\tgreat wide plains number {n}" for n in range(4)] + ["ben\tx\t3\t1\t"]
    rows += [f"carl\td{n}\t3\t{n}\t" for n in range(6)]
    write(folder, "inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\treview:token_seq", *rows)
    ratios = {"split": {"RS": [1.0, 0.0, 0.0]}, "group_by": "user", "order": "RO", "mode": "full"}
    return {**tiny, "eval_args": ratios, "RATING_FIELD": "rating"}


def test_what_profiles_say(known):
    items, users, _ = profiles_of(known)
    assert items["d1"].profile == "Drama 1 (1991). Genres: drama. A sad story, part 1." and items["d1"].pairs == []
    assert items["w2"].profile == "Western 2 (1952). Genres: western, drama. great wide plains number 2."
    assert items["w2"].pairs == [("anna", "w2")]
    assert users["anna"].profile == (
        "Job: cook. Genres, most frequent: drama, western. Genres, more than others: western. "
        "Mostly from the 1990s, 1950s. Favourites: Western 3 (1953, western, drama); Western 2 (1952, western, drama); "
        "Western 1 (1951, western, drama); Western 0 (1950, western, drama); Drama 2 (1992, drama). "
        "Also chose: Drama 0; Drama 1; Drama 3; Drama 4; Drama 5. "
        "In own words: great wide plains number 0 / great wide plains number 1 / great wide plains number 2."
    )
    assert "Favourites" not in users["carl"].profile
    assert set(users["anna"].pairs) == {("anna", f"d{n}") for n in range(6)} | {("anna", f"w{n}") for n in range(4)}


def test_who_has_nothing_to_tell_of_has_no_profile(known):
    items, users, _ = profiles_of(known)
    assert "x" not in items and "ben" not in users


def test_users_who_are_known_by_their_file_alone_quote_nothing(known, folder):
    write(folder, "user", "user_id:token\tjob:token", "ben\tclerk")
    _, users, _ = profiles_of(known)
    assert (users["ben"].profile, users["ben"].pairs) == ("Job: clerk.", [])


def test_long_histories_are_sampled_evenly_over_time(known, folder):
    write(folder, "item", "item_id:token\ttitle:token_seq", *(f"t{n}\tTitle{n:02}" for n in range(60)))
    write(
        folder,
        "inter",
        "user_id:token\titem_id:token\ttimestamp:float",
        *(f"{user}\tt{n}\t{n}" for n in range(60) for user in ("anna", "ben")),
        "carl\tt1\t1",
    )
    _, users, _ = profiles_of(known)
    titles = users["anna"].profile.split("Also chose: ")[1].rstrip(".").split("; ")
    assert titles == [f"Title{n:02}" for n in range(0, 60, 3)]
    assert len(users["anna"].pairs) == 60


def test_profiles_are_the_same_every_time_and_leave_the_random_state_alone(tiny):
    first = profiles_of(tiny)[:2]
    config, (train, _, _) = split(tiny)
    before = np.random.get_state()[1].copy()
    items, users = build_template_profiles(Corpus.from_config(config, train))
    assert (np.random.get_state()[1] == before).all()
    assert [p.token for p in items] == list(first[0]) and [p.profile for p in users] == [p.profile for p in first[1].values()]


def test_reviews_alone_are_text_enough(known, folder):
    (folder / "tiny.item").unlink()
    (folder / "tiny.user").unlink()
    items, users, _ = profiles_of(known)
    assert items["w1"].profile == "great wide plains number 1."
    assert users["anna"].profile.startswith("In own words: great wide plains")
    assert set(users) == {"anna"}


def test_profiles_of_training_data_do_not_leak(tiny):
    config, (train, _, _) = split(tiny)
    offline = ensure_offline_default(config, train)
    pairs, unknown = ProfileStore(semantic_root(config) / offline).quoted_pairs()
    assert len(pairs) and not unknown
    assert check_leakage(pairs, train) == 0


def test_an_offline_default_of_other_code_is_made_anew(tiny, monkeypatch):
    config, (train, _, _) = split(tiny)
    manifest = semantic_root(config) / ensure_offline_default(config, train) / "manifest.json"
    first = manifest.stat().st_ino
    ensure_offline_default(config, train)
    assert manifest.stat().st_ino == first
    monkeypatch.setattr("recbole_rlmrec.semantic.default._made_by", lambda: "code that quotes other columns")
    ensure_offline_default(config, train)
    assert manifest.stat().st_ino != first


def test_offline_default_is_built_once_and_announced(tiny, caplog):
    config, (train, _, _) = split(tiny)
    with caplog.at_level("INFO"):
        tag = ensure_offline_default(config, train)
    assert tag == f"template-lsa-{split_hash(train)[:8]}"
    assert "tiny had no profiles for this split: made" in caplog.text and "no LLM wrote them" in caplog.text
    assert "recbole-rlmrec profile --dataset tiny --tag TAG --chat-model MODEL" in caplog.text
    root = semantic_root(config)
    store = ProfileStore(root / tag)
    manifest = store.manifest
    assert (manifest["by"], manifest["dataset"], manifest["tag"]) == ("template", "tiny", tag)
    assert manifest["split_hash"] == split_hash(train) and manifest["provenance"] == "recorded"
    assert manifest["how"]["columns"]["title"] == "title"
    found = read_embeddings(root / tag / "embeddings" / "lsa", "tiny")
    assert {side: len(tokens) for side, tokens in found.tokens.items()} == {
        side: manifest[f"{side}s"] for side in ("user", "item")
    }
    stamps = {path: path.stat().st_mtime_ns for path in (root / tag).rglob("*")}
    assert ensure_offline_default(config, train) == tag
    assert {path: path.stat().st_mtime_ns for path in (root / tag).rglob("*")} == stamps
    assert sorted(path.name for path in root.iterdir()) == [f".{tag}.lock", tag]


def test_another_seed_builds_another_default(tiny):
    tags = {ensure_offline_default(config, splits[0]) for config, splits in (split(tiny), split(tiny, seed=1))}
    assert len(tags) == 2


def covered(config, tag) -> tuple[set, set]:
    store = ProfileStore(semantic_root(config) / tag)
    found = read_embeddings(store.folder / "embeddings" / "lsa", "tiny")
    assert {side: set(tokens) for side, tokens in found.tokens.items()} == {
        side: set(store.read(side)) for side in ("user", "item")
    }
    return set(store.read("user")), set(store.read("item"))


def test_text_that_changed_since_makes_it_anew(tiny, workdir, caplog):
    config, (train, _, _) = split(tiny)
    tag = ensure_offline_default(config, train)
    folder = semantic_root(config) / tag
    first = ProfileStore(folder).read("item")["i0"].profile
    path = workdir / "dataset/tiny/tiny.item"
    path.write_text(path.read_text().replace("The comedy", "A comedy"))
    with caplog.at_level("INFO"):
        assert ensure_offline_default(config, train) == tag
    assert "has other users, items or texts" in caplog.text
    second = ProfileStore(folder).read("item")["i0"].profile
    assert first.startswith("The comedy") and second.startswith("A comedy")
    assert not [path for path in semantic_root(config).iterdir() if path.is_dir() and path != folder]


def test_it_covers_every_item_of_the_run(tiny, workdir):
    """Items that nobody bought come into a run by load_col, after the default of the same split was made without them."""
    with open(workdir / "dataset/tiny/tiny.item", "a", encoding="utf-8") as file:
        file.writelines(f"new{n}\tThe new western number {n}\t1999\twestern\tA story of {n}.\n" for n in range(5))
    config, (train, _, _) = split(tiny)
    tag = ensure_offline_default(config, train)
    assert not any(item.startswith("new") for item in covered(config, tag)[1])
    stamp = (semantic_root(config) / tag / "manifest.json").stat().st_mtime_ns
    more, (train_more, _, _) = split(tiny, load_col={"inter": ["user_id", "item_id"], "item": ["item_id"]})
    assert split_hash(train_more) == split_hash(train)
    assert ensure_offline_default(more, train_more) == tag
    assert covered(more, tag)[1] == {*(f"i{n}" for n in range(30)), *(f"new{n}" for n in range(5))}
    vectors = np.load(semantic_root(config) / tag / "embeddings/lsa/items.npy")
    ensure_offline_default(config, train)
    ensure_offline_default(more, train_more)
    assert np.array_equal(np.load(semantic_root(config) / tag / "embeddings/lsa/items.npy"), vectors)
    assert (semantic_root(config) / tag / "manifest.json").stat().st_mtime_ns != stamp
    aligned = Config("LightGCN_RLMRec", "tiny", config_dict={**tiny, "load_col": more["load_col"]})
    assert load_semantic(aligned, train_more).provenance["coverage"]["items"] == [35, 35]


def test_a_default_of_an_earlier_version_is_made_anew(tiny):
    config, (train, _, _) = split(tiny)
    store = ProfileStore(semantic_root(config) / ensure_offline_default(config, train))
    manifest = store.manifest
    made_of = manifest.pop("made_of")
    store.write_manifest(manifest)
    ensure_offline_default(config, train)
    assert store.manifest["made_of"] == made_of


def test_lost_matrices_are_made_again_from_the_profiles(tiny):
    config, (train, _, _) = split(tiny)
    folder = semantic_root(config) / ensure_offline_default(config, train)
    (folder / "embeddings" / "lsa" / "manifest.json").unlink()
    ensure_offline_default(config, train)
    assert read_embeddings(folder / "embeddings" / "lsa", "tiny").dim > 1


def test_several_runs_at_once_build_one_default(tiny):
    config, (train, _, _) = split(tiny)
    tags = []
    threads = [threading.Thread(target=lambda: tags.append(ensure_offline_default(config, train))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tags) == 3 and len(set(tags)) == 1


def test_a_failed_build_leaves_nothing(tiny, folder):
    (folder / "tiny.item").unlink()
    (folder / "tiny.user").unlink()
    config, (train, _, _) = split(tiny)
    with pytest.raises(DataError, match="tiny.item with the columns"):
        ensure_offline_default(config, train)
    assert [path for path in semantic_root(config).iterdir() if path.is_dir()] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tiny, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    config, (train, _, _) = split(tiny, semantic_path=str(closed))
    with pytest.raises(SemanticError, match="set semantic_path"):
        ensure_offline_default(config, train)


def test_a_semantic_path_that_is_a_file(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    config, (train, _, _) = split(tiny, semantic_path=str(tmp_path / "file"))
    with pytest.raises(SemanticError, match="cannot be written to.*set semantic_path"):
        ensure_offline_default(config, train)


@pytest.mark.parametrize("read", [0, 1 << 24], ids=["texts on disk", "texts in memory"])
def test_blocks_do_not_change_what_is_said(known, folder, monkeypatch, read):
    monkeypatch.setattr(texts, "_AT_ONCE", read)
    (folder / "tiny.user").write_text("user_id:token\tjob:token\nanna\tcook\nzoe\tsmith\nben\t\n")
    whole = profiles_of(known)[:2]
    for size in (1, 2):
        monkeypatch.setattr(sentences, "BLOCK", size)
        assert profiles_of(known)[:2] == whole
    assert [*whole[1]] == ["anna", "carl"] and whole[1]["anna"].profile.startswith("Job: cook. Genres, most frequent: drama")


def test_ml_100k_profiles_tell_users_apart(tiny):
    items, users, _ = profiles_of({**tiny, "dataset": "ml-100k"})
    assert (len(items), len(users)) == (1682, 943)
    assert items["1"].profile == "Toy Story (1995). Class: Animation, Children's, Comedy."
    assert len({profile.profile for profile in users.values()}) == 943
    assert all("Favourites: " in profile.profile for profile in users.values())
