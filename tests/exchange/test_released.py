"""The authors' published folder -> a data set; pickles that want anything but arrays and containers are refused."""

import collections
import json
import os
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_rlmrec.encoding.embeddings import check_embeddings
from recbole_rlmrec.errors import ConfigError, DataError, StoreError
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.exchange.released import Released, import_released
from recbole_rlmrec.exchange.unpickle import read_pickle

N_USERS, N_ITEMS, WIDTH = 14, 24, 6


@pytest.fixture
def parts() -> dict[str, sp.coo_matrix]:
    rng = np.random.default_rng(3)
    cells = rng.permutation(N_USERS * N_ITEMS)
    cells = np.concatenate([np.arange(N_USERS) * N_ITEMS, cells[cells % N_ITEMS != 0]])
    cuts = {"trn": cells[:120], "val": cells[120:150], "tst": cells[150:180]}
    return {
        name: sp.coo_matrix((np.ones(len(cut)), (cut // N_ITEMS, cut % N_ITEMS)), shape=(N_USERS, N_ITEMS))
        for name, cut in cuts.items()
    }


@pytest.fixture
def released(tmp_path, parts):
    folder = tmp_path / "amazon-download"
    folder.mkdir()
    rng = np.random.default_rng(4)
    content = {f"{name}_mat.pkl": matrix for name, matrix in parts.items()}
    for side, count in (("usr", N_USERS), ("itm", N_ITEMS)):
        content[f"{side}_emb_np.pkl"] = rng.normal(size=(count, WIDTH))
        content[f"{side}_prf.pkl"] = {
            row: {"profile": f"{side} {row} likes\nbooks", "reasoning": "because \u00e9"} for row in range(count)
        }
    for name, value in content.items():
        put(folder, name, value)
    return folder


def put(folder, name, value, protocol=None) -> None:
    (folder / name).write_bytes(pickle.dumps(value, protocol=protocol))


# --- the folder ----------------------------------------------------------------------------------------------------


def test_import_writes_a_data_set(released, workdir, parts):
    summary = import_released(released, workdir / "dataset", "amazon")
    folder = workdir / "dataset" / "amazon"
    assert summary == Released(folder, N_USERS, N_ITEMS, {"train": 120, "valid": 30, "test": 30}, WIDTH)
    assert "14 users and 24 items (120 train, 30 valid, 30 test)" in str(summary)
    lines = (folder / "amazon.test.inter").read_text().splitlines()
    assert lines[0] == "user_id:token\titem_id:token"
    found = [tuple(map(int, line.split("\t"))) for line in lines[1:]]
    assert found == sorted(zip(parts["tst"].row.tolist(), parts["tst"].col.tolist(), strict=True))
    tag = folder / "semantic" / "released"
    first = json.loads((tag / "users.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first == {"user_id": "0", "profile": "usr 0 likes\nbooks", "reasoning": "because \u00e9", "pairs": None}
    manifest = json.loads((tag / "manifest.json").read_text())
    assert manifest["dataset"] == "amazon"
    assert (manifest["by"], manifest["provenance"]) == ("import amazon-download", "unknown")
    stored = np.load(tag / "embeddings" / "text-embedding-ada-002" / "items.npy")
    original = pickle.loads((released / "itm_emb_np.pkl").read_bytes())
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, original.astype(np.float32))
    assert [path.name for path in (workdir / "dataset").iterdir()] == ["amazon"]


@pytest.mark.parametrize("cell", ["LightGCN_con", "GCCF_gen"])
def test_imported_data_runs_with_the_papers_settings(released, workdir, cell):
    from recbole_rlmrec.data.properties import PROPERTIES
    from recbole_rlmrec.runs.run import main

    import_released(released, workdir / "dataset", "amazon")
    options = ["--epochs=3", "--gpu_id=", "--show_progress=False", "--train_batch_size=64"]
    result = main([f"--config_files={PROPERTIES / 'paper' / 'amazon' / cell}.yaml", *options])
    profiles = result["run"]["profiles"]
    assert profiles["encoder"] == "text-embedding-ada-002"
    assert profiles["provenance"] == "unknown"
    assert profiles["coverage"] == {"users": [N_USERS, N_USERS], "items": [N_ITEMS, N_ITEMS]}
    assert set(result["test_result"]) == {f"{metric}@{k}" for metric in ("recall", "ndcg") for k in (5, 10, 20)}


def test_command_line(released, workdir, capsys):
    from recbole_rlmrec.cli import main

    assert main(["import", str(released), "--dataset", "amazon"]) == 0
    assert "14 users and 24 items" in capsys.readouterr().out
    assert (workdir / "dataset" / "amazon" / "amazon.yaml").read_text() == "benchmark_filename: [train, valid, test]\n"


def test_other_shapes_of_the_same_content(released, workdir, parts):
    """CSR, explicit zeros, counts in place of ones, float32 embeddings, profiles as a list of texts."""
    twice = sp.coo_matrix(parts["trn"].tocsr() * 3)
    twice.data[0] = 0
    put(released, "trn_mat.pkl", twice)
    put(released, "val_mat.pkl", parts["val"].tocsr())
    put(released, "tst_mat.pkl", parts["tst"].tocsc())
    put(released, "usr_prf.pkl", ["", *(f"text {row}" for row in range(1, N_USERS))])
    put(released, "itm_prf.pkl", [{"profile": "x", "reasoning": None}] * N_ITEMS)
    put(released, "usr_emb_np.pkl", np.asfortranarray(np.ones((N_USERS, WIDTH), dtype=">f4")))
    summary = import_released(released, workdir / "dataset", "amazon")
    assert summary.interactions == {"train": 119, "valid": 30, "test": 30}
    tag = workdir / "dataset" / "amazon" / "semantic" / "released"
    found = check_embeddings(tag, tag / "embeddings" / "text-embedding-ada-002")
    assert found == "14 users, 24 items, 6 dimensions, float32"


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("trn_mat.pkl", None, r"lacks trn_mat\.pkl; give the folder"),
        ("itm_prf.pkl", None, r"lacks itm_prf\.pkl"),
        ("trn_mat.pkl", [1, 2], r"trn_mat\.pkl holds a list, not a sparse matrix"),
        ("val_mat.pkl", sp.coo_matrix((3, 4)), r"val_mat\.pkl holds no interaction"),
        ("val_mat.pkl", sp.coo_matrix(np.ones((3, 4))), r"differ: trn_mat\.pkl 14 x 24, val_mat\.pkl 3 x 4"),
        ("usr_prf.pkl", {0: {"profile": "x"}}, r"usr_prf\.pkl does not hold one profile for each of the 14 rows"),
        ("usr_prf.pkl", "text", r"usr_prf\.pkl does not hold one profile"),
        ("itm_prf.pkl", [{"profile": 3}] * N_ITEMS, r"itm_prf\.pkl, entry 0: there is no text under 'profile'"),
        ("itm_emb_np.pkl", np.ones((5, WIDTH)), r"itm_emb_np\.pkl has 5 rows, the matrices have 24"),
        ("itm_emb_np.pkl", np.ones((N_ITEMS, 3)), r"rows of 6 numbers, itm_emb_np\.pkl of 3"),
        ("itm_emb_np.pkl", np.ones(N_ITEMS), r"itm_emb_np\.pkl does not hold a two-dimensional array of floats"),
        ("itm_emb_np.pkl", np.full((N_ITEMS, WIDTH), np.nan), r"itm_emb_np\.pkl holds no numbers, or numbers that are"),
        ("usr_emb_np.pkl", b"\x80\x04not a pickle", r"usr_emb_np\.pkl is no pickle"),
        ("usr_emb_np.pkl", b"", r"usr_emb_np\.pkl is no pickle"),
    ],
)
def test_files_that_are_missing_or_do_not_fit(released, workdir, name, value, message):
    if value is None:
        (released / name).unlink()
    elif isinstance(value, bytes):
        (released / name).write_bytes(value)
    else:
        put(released, name, value)
    with pytest.raises(DataError, match=message):
        import_released(released, workdir / "dataset", "amazon")
    assert not list(workdir.glob("dataset/*"))


def test_an_existing_data_set_is_left_alone(released, workdir):
    folder = workdir / "dataset" / "amazon"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="exists; remove it or choose another --dataset"):
        import_released(released, workdir / "dataset", "amazon")
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["", ".", "../amazon", ".hidden"])
def test_a_name_that_is_none(released, workdir, name):
    with pytest.raises(ConfigError, match="cannot be the name of a data set"):
        import_released(released, workdir / "dataset", name)


def test_nothing_half_written_stays(released, workdir, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("recbole_rlmrec.exchange.released.write_json", fail)
    with pytest.raises(OSError, match="no space"):
        import_released(released, workdir / "dataset", "amazon")
    assert not list((workdir / "dataset").iterdir())


# --- what a pickle may hold ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True], "b": ("x", b"bytes\xff", b""), 3: {4, 5}, "f": frozenset([6])},
        collections.OrderedDict(b=1, a=2),
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(6, dtype=">i2"),
        np.array([True, False]),
        np.zeros((0, 5)),
        np.array(3.5),
        [np.int64(7), np.float32(0.5)],
        {np.int64(3): "key"},
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_content_comes_back(tmp_path, value, protocol):
    put(tmp_path, "x.pkl", value, protocol)
    found = read_pickle(tmp_path / "x.pkl")
    if isinstance(value, np.ndarray):
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)
    else:
        assert found == value


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("kind", ["coo", "csr", "csc"])
@pytest.mark.parametrize("form", ["matrix", "array"])
def test_sparse_matrices_come_back(tmp_path, parts, kind, form, protocol):
    value = getattr(sp, f"{kind}_{form}")(parts["trn"])
    put(tmp_path, "x.pkl", value, protocol)
    found = read_pickle(tmp_path / "x.pkl")
    assert found.format == kind
    np.testing.assert_array_equal(found.toarray(), value.toarray())


def test_pickles_of_older_numpy_and_scipy(tmp_path, parts):
    raw = pickle.dumps({"m": parts["trn"], "e": np.ones(2)}, protocol=2)
    for new, old in ((b"scipy.sparse._coo", b"scipy.sparse.coo"), (b"numpy._core.", b"numpy.core.")):
        raw = raw.replace(new, old)
    assert b"scipy.sparse.coo\n" in raw and b"numpy.core.multiarray" in raw and b"_core" not in raw
    (tmp_path / "x.pkl").write_bytes(raw)
    np.testing.assert_array_equal(read_pickle(tmp_path / "x.pkl")["m"].toarray(), parts["trn"].toarray())


@pytest.mark.parametrize("rows", ["coords", "row"])
def test_state_of_older_and_newer_scipy(tmp_path, parts, rows):
    class Stored:
        def __init__(self, state):
            self.state = state

        def __reduce__(self):
            return sp.coo_matrix, (), self.state

    coo = parts["trn"]
    indices = {"coords": (coo.row, coo.col)} if rows == "coords" else {"row": coo.row, "col": coo.col}
    put(tmp_path, "x.pkl", Stored({"_shape": coo.shape, "data": coo.data, **indices}))
    np.testing.assert_array_equal(read_pickle(tmp_path / "x.pkl").toarray(), coo.toarray())


# --- what it may not -----------------------------------------------------------------------------------------------


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.parts


def dump(*pieces: bytes) -> bytes:
    return b"\x80\x02" + b"".join(pieces) + b"."


def hostile(marker: str) -> dict[str, bytes]:
    """Pickles that make a file named ``marker`` when they are loaded, each by another way."""
    code = f"open({marker!r}, 'w').close()"
    command = f"touch {marker}"
    text = f"V{command}\n".encode()
    return {
        "os.system": pickle.dumps(Calls(os.system, command)),
        "eval": pickle.dumps(Calls(eval, code)),
        "exec": pickle.dumps(Calls(exec, code)),
        "in an array": pickle.dumps(np.array([Calls(os.system, command)], dtype=object)),
        "in a dict key": pickle.dumps({(Calls(os.system, command),): 1}),
        "as state": pickle.dumps(Calls(sp.coo_matrix, (1, 1), state={"data": Calls(os.system, command)})),
        "protocol 0": pickle.dumps(Calls(os.system, command), protocol=0),
        "INST": dump(b"(" + text + b"iposix\nsystem\n"),
        "OBJ": dump(b"(cposix\nsystem\n" + text + b"o"),
        "NEWOBJ": dump(b"csubprocess\nPopen\n" + text + b"\x85\x81"),
        "getattr": dump(b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nVos\n\x85RVsystem\ntR" + text + b"\x85R"),
        "dotted name": b"\x80\x04\x8c\x09posixpath\x8c\x09os.system\x93" + text + b"\x85R.",
        "name in an allowed module": dump(b"cnumpy\nload\n" + text + b"\x85R"),
        "module below an allowed one": dump(b"cnumpy.testing._private.utils\nrunstring\n(" + text + b"}tR"),
        "import": dump(b"cbuiltins\n__import__\nVantigravity\n\x85R"),
        "persistent id": dump(b"P" + command.encode() + b"\n"),
        "extension": dump(b"\x82\x01"),
        "copyreg": dump(b"ccopyreg\n_reconstructor\n(cos\n_wrap_close\ncbuiltins\nobject\nNtR"),
        "codec": dump(b"c_codecs\nencode\n(V" + command.encode() + b"\nVrot13\ntR"),
        "nested pickle": pickle.dumps(Calls(pickle.loads, pickle.dumps(Calls(os.system, command)))),
        "state of a class": dump(b"cnumpy\nndarray\n}V__setstate__\ncos\nsystem\nsb"),
        "state of a stand-in": dump(b"cnumpy\ndtype\n)R(cos\nsystem\nb"),
        "class as a value": dump(b"cnumpy\nndarray\n"),
        "call of what was made": dump(b"cnumpy\ndtype\n(Vf8\ntR" + text + b"\x85R"),
    }


@pytest.mark.parametrize("trick", hostile("x"))
def test_hostile_pickles_are_refused_and_not_run(released, workdir, trick):
    marker = workdir / "was-run"
    for name in ("usr_prf.pkl", "trn_mat.pkl", "itm_emb_np.pkl"):
        original = (released / name).read_bytes()
        (released / name).write_bytes(hostile(str(marker))[trick])
        with pytest.raises(DataError, match=name):
            import_released(released, workdir / "dataset", "amazon")
        (released / name).write_bytes(original)
        assert not marker.exists()
    assert not list(workdir.glob("dataset/*"))


def test_the_tricks_would_work_on_pickle_itself(workdir):
    """Or else the test above proves nothing."""
    marker = workdir / "was-run"
    works = ("os.system", "eval", "exec", "in an array", "in a dict key", "protocol 0", "INST", "OBJ", "getattr")
    for trick in (*works, "dotted name", "nested pickle"):
        pickle.loads(hostile(str(marker))[trick])
        assert marker.exists(), trick
        marker.unlink()


def test_the_message_names_what_was_asked_for(tmp_path):
    put(tmp_path, "x.pkl", Calls(os.system, "true"))
    with pytest.raises(DataError, match=r"x\.pkl asks for posix\.system, which is no array.* nothing of it was run"):
        read_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    "value",
    [
        np.array(["text"]),
        np.array([("a", 1)], dtype=[("name", "S1"), ("n", "i4")]),
        np.array([{}], dtype=object),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        Calls(np.ndarray, (2,)),
    ],
    ids=["text", "records", "objects", "dates", "direct"],
)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, value):
    put(tmp_path, "x.pkl", value)
    with pytest.raises(DataError):
        read_pickle(tmp_path / "x.pkl")


def test_arrays_whose_bytes_do_not_fit_are_refused(tmp_path):
    made = np.ones(4).__reduce__()
    for shape in ((10**9,), (3,)):
        state = (made[2][0], shape, *made[2][2:])
        put(tmp_path, "x.pkl", Calls(made[0], *made[1], state=state))
        with pytest.raises(DataError, match="reshape"):
            read_pickle(tmp_path / "x.pkl")


def test_matrices_whose_indices_do_not_fit_are_refused(tmp_path):
    state = {"_shape": (2, 2), "data": np.ones(1), "row": np.array([7]), "col": np.array([0])}
    put(tmp_path, "x.pkl", Calls(sp.coo_matrix, (2, 2), state=state))
    with pytest.raises(DataError):
        read_pickle(tmp_path / "x.pkl")
    state = {"_shape": (2, 2), "data": np.ones(1), "indices": np.array([9]), "indptr": np.array([0, 1, 1])}
    put(tmp_path, "x.pkl", Calls(sp.csr_matrix, (2, 2), state=state))
    with pytest.raises(DataError):
        read_pickle(tmp_path / "x.pkl")


def test_endless_nesting_is_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(dump(b"]" * 100_000 + b"a" * 99_999))
    with pytest.raises(DataError):
        read_pickle(tmp_path / "x.pkl")
    (tmp_path / "y.pkl").write_bytes(dump(b"]q\x00h\x00a"))
    with pytest.raises(DataError):
        read_pickle(tmp_path / "y.pkl")


def test_lists_that_are_mentioned_again_and_again_are_read_once(tmp_path):
    nested, depth = [], 0
    for _ in range(59):
        nested = [nested, nested]
    put(tmp_path, "x.pkl", nested)
    found = read_pickle(tmp_path / "x.pkl")
    while found:
        assert found[0] is found[1]
        found, depth = found[0], depth + 1
    assert depth == 59


def test_a_matrix_larger_than_memory_is_refused(released, workdir):
    put(released, "trn_mat.pkl", sp.coo_matrix((np.ones(1), ([0], [0])), shape=(10**13, 10)))
    with pytest.raises(DataError, match="10000000000000 x 10, which does not fit"):
        import_released(released, workdir / "dataset", "amazon")


def test_other_profiles_do_not_go_into_the_tag_of_the_released_ones(released, workdir):
    import_released(released, workdir / "dataset", "amazon")
    (workdir / "p.jsonl").write_text('{"item_id": "1", "profile": "A quiet drama."}\n')
    with pytest.raises(StoreError, match="data that the authors publish, as they are; choose another tag"):
        import_profiles(workdir / "p.jsonl", workdir / "dataset/amazon/semantic", "amazon", "released")
