"""Semantic embeddings of a run: rows by internal id, checks of what is on disk, the leak check, fewer dimensions."""

from __future__ import annotations

import copy
import json
import shutil
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import Profile, ProfileStore
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import ConfigError, LeakageError, SemanticError, StoreError
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.semantic.default import _held
from recbole_rlmrec.semantic.leakage import check_leakage
from recbole_rlmrec.semantic.load import check_embeddings, load_semantic
from recbole_rlmrec.semantic.reduction import fit
from recbole_rlmrec.semantic.table import Semantic, SemanticTable


def split(options: dict, **more):
    config = Config("LightGCN_RLMRec", options["dataset"], config_dict={**options, **more})
    init_seed(config["seed"], config["reproducibility"])
    return config, create_dataset(config).build()


def pairs_of(dataset) -> pd.DataFrame:
    ids = {field: dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field)}
    return pd.DataFrame({side: dataset.id2token(field, ids[field]) for side, field in zip(("user", "item"), ids, strict=True)})


def write_tag(root: Path, users: list[Profile], items: list[Profile], tag: str = "mine", dataset: str = "tiny") -> Path:
    """A tag with random vectors of 6 dimensions, as an encoder would have left it."""
    store = ProfileStore(root / tag)
    for side, profiles in (("user", users), ("item", items)):
        if profiles:
            store.write(side, profiles)
    store.write_manifest({"dataset": dataset, "tag": tag, "by": "import x.jsonl", "split_hash": None})
    encode_tag(store.folder, "noise", encoder=Noise(), show_progress=False)
    return store.folder


class Noise:
    name, needs_fit, truncated = "noise", False, 0

    def encode(self, texts):
        return np.random.default_rng(len(texts)).normal(size=(len(texts), 6)) * np.arange(1, 7)

    def info(self):
        return {"encoder": "noise", "revision": "r1", "normalised": False, "precision": "int8"}


@pytest.fixture
def run(tiny):
    """A run on the small data set, and a tag that covers users u0-u9 and items i0-i19."""
    config, splits = split(tiny, semantic_tag="mine")
    users = [Profile(f"u{n}", f"user {n}", pairs=[]) for n in range(10)] + [Profile("stranger", "x", pairs=[])]
    items = [Profile(f"i{n}", f"item {n}", pairs=[]) for n in range(20)]
    folder = write_tag(semantic_root(config), users, items)
    return config, splits[0], folder


def test_rows_go_by_internal_id(run, caplog):
    config, train, folder = run
    with caplog.at_level("INFO"):
        semantic = load_semantic(config, train)
    assert isinstance(semantic, Semantic) and (semantic.tag, semantic.encoder, semantic.dim) == ("mine", "noise", 6)
    n_users, n_items = train.user_num - 1, train.item_num - 1
    assert f"profiles: 10 of {n_users} users, 20 of {n_items} items" in caplog.text
    for side, field, count in (("user", "user_id", 10), ("item", "item_id", 20)):
        table = getattr(semantic, side)
        tokens = json.loads((folder / "embeddings" / "noise" / f"{side}s.tokens.json").read_text())["tokens"]
        matrix = np.load(folder / "embeddings" / "noise" / f"{side}s.npy")
        assert (table.n, len(table.ids), int(table.covered.sum())) == (train.num(field), count, count)
        assert not table.covered[0] and table.covered[table.ids].all()
        names = train.id2token(field, table.ids.numpy())
        expected = matrix[[tokens.index(name) for name in names]]
        assert torch.equal(table.rows(table.ids), torch.from_numpy(expected))
        assert table.rows(table.ids[[2, 2, 0]]).dtype == torch.float32


def test_provenance_is_fit_for_a_result_file(run):
    config, train, _ = run
    provenance = json.loads(json.dumps(load_semantic(config, train).provenance))
    assert (provenance["tag"], provenance["encoder"], provenance["by"]) == ("mine", "noise", "import x.jsonl")
    assert (provenance["provenance"], provenance["leaked_interactions"], provenance["dim"]) == ("recorded", 0, 6)
    assert provenance["precision"] == "int8" and "backend" not in provenance
    assert provenance["coverage"]["users"] == [10, train.user_num - 1]
    assert provenance["made_for_this_split"] is None


def test_table_is_shared_by_copies_and_maps_memory(tmp_path):
    np.save(tmp_path / "m.npy", np.arange(12, dtype=np.float16).reshape(4, 3))
    matrix = np.load(tmp_path / "m.npy", mmap_mode="c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = SemanticTable(matrix, np.array([3, -1, 2, 0]), "cpu")
    assert copy.deepcopy(table) is table
    assert table.covered.tolist() == [False, False, True, True] and table.ids.tolist() == [2, 3]
    assert table.rows(torch.tensor([3, 2])).tolist() == [[0, 1, 2], [6, 7, 8]]
    assert table.rows(torch.tensor([], dtype=torch.long)).shape == (0, 3)


def test_a_read_only_matrix_is_taken_too(tmp_path):
    np.save(tmp_path / "m.npy", np.ones((2, 3), dtype=np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = SemanticTable(np.load(tmp_path / "m.npy", mmap_mode="r"), np.array([-1, 0, 1]), "cpu")
    assert table.rows(table.ids).sum() == 6


def test_one_side_alone_is_enough(tiny):
    config, (train, _, _) = split(tiny, semantic_tag="mine")
    write_tag(semantic_root(config), [], [Profile(f"i{n}", f"item {n}", pairs=[]) for n in range(5)])
    semantic = load_semantic(config, train)
    assert (semantic.user.dim, len(semantic.user.ids), len(semantic.item.ids)) == (6, 0, 5)
    assert not semantic.user.covered.any() and semantic.user.n == train.user_num


def test_offline_default_is_used_where_no_tag_is_given_and_others_are_named(run, caplog):
    _, train, folder = run
    config = Config("LightGCN_RLMRec", "tiny", config_dict={"gpu_id": ""})
    with caplog.at_level("INFO"):
        semantic = load_semantic(config, train)
    assert semantic.tag.startswith("template-lsa-") and semantic.encoder == "lsa"
    assert "there are also: mine" in caplog.text and "no LLM wrote them" in caplog.text
    assert semantic.provenance["made_for_this_split"] is True


def damage(folder: Path, change) -> None:
    path = folder / "embeddings" / "noise" / "users.npy"
    np.save(path, change(np.load(path)))


def broken_value(value: float):
    def change(matrix):
        matrix[3, 2] = value
        return matrix

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m[:-1], "users.npy has 10 rows, but its token list 11"),
        (lambda m: m[:, :4], "users.npy has width 4, but its manifest says 6"),
        (lambda m: m.astype(np.float64), "users.npy is float64 .*not a float32 or float16 matrix"),
        (lambda m: m[:, 0], "not a float32 or float16 matrix"),
        (broken_value(np.nan), "users.npy holds NaN or infinity, first in row 3"),
        (broken_value(-np.inf), "users.npy holds NaN or infinity, first in row 3"),
    ],
)
def test_bad_matrices_are_named_with_the_command_that_mends_them(run, change, reason):
    config, train, folder = run
    damage(folder, change)
    with pytest.raises(SemanticError, match=reason) as error:
        load_semantic(config, train)
    assert "run `recbole-rlmrec encode --dataset tiny --tag mine --encoder noise` again" in str(error.value)


def test_matrices_never_hold_objects(run):
    config, train, folder = run
    path = folder / "embeddings" / "noise" / "users.npy"
    np.save(path, np.array([{"a": 1}] * 11, dtype=object), allow_pickle=True)
    with pytest.raises(SemanticError, match="users.npy cannot be read"):
        load_semantic(config, train)
    path.write_bytes(b"")
    with pytest.raises(SemanticError, match="users.npy cannot be read"):
        load_semantic(config, train)


def test_half_written_embeddings_are_refused(run):
    config, train, folder = run
    (folder / "embeddings" / "noise" / "manifest.json").unlink()
    with pytest.raises(SemanticError, match="manifest.json is missing; run `recbole-rlmrec encode"):
        load_semantic(config, train)


def test_files_of_another_dataset_are_refused(run):
    config, train, folder = run
    write_tag(folder.parent, [Profile("u1", "x", pairs=[])], [], tag="foreign", dataset="books")
    config["semantic_tag"] = "foreign"
    with pytest.raises(SemanticError, match="profiles of dataset 'books', not of 'tiny'"):
        load_semantic(config, train)
    shutil.copytree(folder.parent / "foreign" / "embeddings", folder / "embeddings", dirs_exist_ok=True)
    config["semantic_tag"] = "mine"
    with pytest.raises(SemanticError, match="embeddings of dataset 'books', not of 'tiny'"):
        load_semantic(config, train)


def test_profiles_of_strangers_alone_are_refused(tiny):
    config, (train, _, _) = split(tiny, semantic_tag="mine")
    write_tag(semantic_root(config), [Profile("stranger", "x", pairs=[])], [])
    with pytest.raises(SemanticError, match="No profile of tag 'mine' belongs to"):
        load_semantic(config, train)


def test_an_unknown_tag_lists_those_there_are(run):
    config, train, _ = run
    config["semantic_tag"] = "gpt"
    with pytest.raises(SemanticError, match="no profiles with the tag 'gpt'.*there are: mine.*recbole-rlmrec profile"):
        load_semantic(config, train)
    config["semantic_tag"] = "../mine"
    with pytest.raises(ConfigError, match="cannot be a tag"):
        load_semantic(config, train)


def test_encoders_are_chosen_by_name_where_there_are_several(run):
    config, train, folder = run
    config["semantic_encoder"] = "other/model"
    with pytest.raises(SemanticError, match="not been encoded by 'other/model', only by: noise"):
        load_semantic(config, train)
    encode_tag(folder, "other/model", encoder=Noise(), show_progress=False)
    assert load_semantic(config, train).dim == 6
    config["semantic_encoder"] = None
    with pytest.raises(SemanticError, match="several encoders; set semantic_encoder to one of: noise, other--model"):
        load_semantic(config, train)
    shutil.rmtree(folder / "embeddings")
    with pytest.raises(SemanticError, match="have not been encoded yet; run `recbole-rlmrec encode --dataset tiny"):
        load_semantic(config, train)


def test_profiles_that_changed_after_encoding_are_refused(run):
    config, train, folder = run
    store = ProfileStore(folder)
    with store.appender("item") as appender:
        appender.append(Profile("i3", "another text", pairs=[]))
    with pytest.raises(SemanticError, match="item profiles of tag 'mine' have changed.*encode --dataset tiny"):
        load_semantic(config, train)


def test_a_damaged_store_is_refused(run):
    config, train, folder = run
    (folder / "items.jsonl").write_text("garbage\n")
    with pytest.raises(StoreError, match="items.jsonl, line 1"):
        load_semantic(config, train)


def test_check_embeddings_says_what_there_is(run):
    _, _, folder = run
    assert check_embeddings(folder, folder / "embeddings" / "noise") == "11 users, 20 items, 6 dimensions, float32"
    damage(folder, lambda m: m[:-1])
    with pytest.raises(SemanticError):
        check_embeddings(folder, folder / "embeddings" / "noise")


def quoting(folder: Path, pairs: list[tuple[str, str]] | None) -> None:
    store = ProfileStore(folder)
    store.write("user", [*store.read("user").values(), Profile("u1", "user 1", pairs=pairs)])


def test_a_quoted_test_interaction_stops_the_run(tiny, run):
    config, (train, valid, test) = split(tiny, semantic_tag="mine")
    folder = run[2]
    leaks = [tuple(row) for part in (valid, test) for row in pairs_of(part).head(2).to_numpy().tolist()]
    quoting(folder, [*leaks, *map(tuple, pairs_of(train).head(5).to_numpy().tolist())])
    with pytest.raises(LeakageError, match="quote 4 interactions of this run's validation or test split.*leakage: warn"):
        load_semantic(config, train)


def test_a_leak_can_be_a_warning_and_is_in_the_provenance(tiny, run, caplog):
    config, (train, _, test) = split(tiny, semantic_tag="mine", leakage="warn")
    quoting(run[2], [tuple(pairs_of(test).to_numpy().tolist()[0])])
    with caplog.at_level("WARNING"):
        assert load_semantic(config, train).provenance["leaked_interactions"] == 1
    assert "quote 1 interaction of this run's" in caplog.text


def test_what_is_no_leak(tiny):
    _, (train, valid, test) = split(tiny)
    strangers = pd.DataFrame({"user": ["stranger", "u1", "u1"], "item": ["i1", "nothing", "i1"]})
    heldout = pd.concat([pairs_of(valid), pairs_of(test)])
    filtered = strangers.iloc[2:] if ("u1", "i1") not in set(heldout.itertuples(index=False, name=None)) else strangers[:0]
    quoted = pd.concat([pairs_of(train), strangers[:2], filtered], ignore_index=True)
    assert check_leakage(quoted, train) == 0
    assert check_leakage(quoted[:0], train) == 0


def test_an_interaction_that_is_in_training_too_is_no_leak(tiny):
    _, (train, valid, test) = split(tiny)
    train.rlmrec_heldout = (train, test)
    assert check_leakage(pairs_of(train), train) == 0
    assert check_leakage(pairs_of(valid), train) == 0


def test_a_split_that_does_not_know_what_is_held_out_cannot_be_checked(tiny, caplog):
    _, (train, _, test) = split(tiny)
    del train.rlmrec_heldout
    with caplog.at_level("WARNING"):
        assert check_leakage(pairs_of(test), train) is None
    assert "could not be checked for leaks" in caplog.text


def test_leakage_mode_is_checked(run):
    config, train, _ = run
    config["leakage"] = "ignore"
    with pytest.raises(ConfigError, match="leakage must be one of error, warn, not 'ignore'"):
        load_semantic(config, train)


def test_unknown_provenance_is_said(run, caplog):
    config, train, folder = run
    quoting(folder, None)
    with caplog.at_level("WARNING"):
        assert load_semantic(config, train).provenance["provenance"] == "unknown"
    assert "unknown provenance" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        load_semantic(config, train, report=False)
    assert not caplog.text


def test_fewer_dimensions_are_the_principal_components_of_both_sides(run, caplog):
    config, train, folder = run
    whole = load_semantic(config, train)
    config["semantic_dim"] = 3
    with caplog.at_level("INFO"):
        semantic = load_semantic(config, train)
    assert semantic.dim == 3 and semantic.provenance["dim"] == 3
    source = folder / "embeddings" / "noise"
    rows = np.concatenate([np.load(source / f"{side}s.npy") for side in ("user", "item")]).astype(np.float64)
    _, singular, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    kept = (singular[:3] ** 2).sum() / (singular**2).sum()
    assert f"semantic_dim 3 of 6 keeps {kept:.1%} of the variance" in caplog.text
    x = whole.item.rows(whole.item.ids).numpy() - rows.mean(axis=0)
    expected = x @ axes[:3].T
    actual = semantic.item.rows(semantic.item.ids).numpy()
    assert np.allclose(np.abs(actual), np.abs(expected), atol=1e-4)
    assert np.allclose(actual @ actual.T, expected @ expected.T, atol=1e-3)


def test_fewer_dimensions_are_cached_until_the_matrices_change(run):
    config, train, folder = run
    config["semantic_dim"] = 2
    first = load_semantic(config, train).item
    cached = folder / "embeddings" / "noise" / "items.pca2.npy"
    stamp = cached.stat().st_mtime_ns
    load_semantic(config, train)
    assert cached.stat().st_mtime_ns == stamp
    store = ProfileStore(folder)
    store.write("item", [*store.read("item").values(), Profile("i25", "one more", pairs=[])])
    encode_tag(folder, "noise", encoder=Noise(), show_progress=False)
    second = load_semantic(config, train).item
    assert cached.stat().st_mtime_ns != stamp and len(second.ids) == len(first.ids) + 1
    cached.unlink()
    assert torch.equal(load_semantic(config, train).item.rows(second.ids), second.rows(second.ids))


@pytest.mark.parametrize("dim", [0, -1, 7, 2.5, True])
def test_semantic_dim_must_fit(run, dim):
    config, train, _ = run
    config["semantic_dim"] = dim
    with pytest.raises(ConfigError, match="semantic_dim must be an integer from 1 to 6"):
        load_semantic(config, train)


def test_signs_of_components_are_fixed_and_constant_rows_are_fine():
    rows = np.random.default_rng(0).normal(size=(50, 4))
    _, axes, kept = fit([rows[:20], rows[20:]], 4)
    assert kept == pytest.approx(1.0) and (axes[np.abs(axes).argmax(axis=0), range(4)] > 0).all()
    assert np.allclose(axes.T @ axes, np.eye(4))
    assert fit([np.ones((5, 3), dtype=np.float16)], 2)[2] == 1.0


def test_real_profiles_cover_ml_100k(tiny, shared_data, caplog):
    config, (train, _, _) = split({**tiny, "dataset": "ml-100k"}, semantic_tag="real")
    for side in ("item", "user"):
        import_profiles(shared_data / "ml-100k-llm" / f"{side}_profiles.jsonl", semantic_root(config), "ml-100k", "real")
    encode_tag(semantic_root(config) / "real", "lsa", dim=16, dtype="float16", show_progress=False)
    with caplog.at_level("INFO"):
        provenance = load_semantic(config, train).provenance
    assert "profiles: 942 of 943 users, 1591 of 1682 items" in caplog.text
    assert provenance["coverage"] == {"users": [942, 943], "items": [1591, 1682]}
    assert provenance["provenance"] == "unknown"


def test_the_model_carries_no_semantic_matrix_in_its_state(build):
    _, model, _ = build("LightGCN_RLMRec")
    assert model.semantic_provenance["by"] == "template"
    assert not any(256 in value.shape and "down" not in name for name, value in model.state_dict().items())


def test_who_waits_for_the_offline_default_says_so(tmp_path, caplog):
    held, said = threading.Event(), threading.Event()

    def build():
        with FileLock(str(tmp_path / "lock")):
            held.set()
            said.wait(60)

    threading.Thread(target=build, daemon=True).start()
    held.wait(60)
    caplog.handler.addFilter(lambda record: said.set() or True)
    with caplog.at_level("INFO"), _held(tmp_path / "lock", "template-lsa-1"):
        assert "Another process makes the profiles template-lsa-1; this one waits" in caplog.text
