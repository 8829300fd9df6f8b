"""Tags and models to a hub on 127.0.0.1 and back, with huggingface_hub's own client."""

from __future__ import annotations

import io
import pickle
import shutil
import tarfile
import time

import pytest
from hub import TOKEN, Hub, use

from recbole_rlmrec.cli import execute, main
from recbole_rlmrec.errors import ConfigError, StoreError
from recbole_rlmrec.exchange.hub import Address, parse_address
from recbole_rlmrec.plugin.record import last_record

TAG = "hf://datasets/somebody/profiles"


@pytest.fixture
def hub(monkeypatch):
    with Hub() as hub, use(hub, monkeypatch):
        yield hub


@pytest.fixture
def tag(workdir):
    """A tag of the data set ``tiny``, as profiles that somebody made."""
    from recbole_rlmrec.encoding.encode import encode_tag
    from recbole_rlmrec.exchange.profiles import import_profiles

    sides = {"user": "Likes quiet | drama and comedy {}.", "item": "A <b>western</b> of {}."}
    lines = [
        f'{{"{side}_id": "{side[0]}{n}", "profile": "{text.format(n)}", "pairs": [["u{n}", "i{n}"]]}}'
        for side, text in sides.items()
        for n in range(9)
    ]
    (workdir / "profiles.jsonl").write_text("\n".join(lines))
    folder = import_profiles(workdir / "profiles.jsonl", workdir / "dataset/tiny/semantic", "tiny", "made")
    root = workdir / "dataset/tiny/semantic/made"
    encode_tag(root, "lsa", show_progress=False)
    assert folder
    return root


def contents(folder) -> dict:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".jsonl", ".npy")
    }


def test_a_tag_goes_and_comes_back(hub, tag, workdir, capsys):
    start = ["export", "--dataset", "tiny", "--tag", "made", "--to", TAG]
    assert execute(start) == 0
    said = capsys.readouterr().out
    assert "Nothing has been uploaded" in said and "made.tar.gz" in said and not hub.requests
    assert execute([*start, "--yes"]) == 0
    assert "/datasets/somebody/profiles/commit/" in capsys.readouterr().out
    assert hub.made == [{"name": "profiles", "organization": "somebody", "visibility": "private", "type": "dataset"}]
    held = hub.files["dataset", "somebody/profiles"]
    assert set(held) == {"made.tar.gz", "README.md"}
    card = held["README.md"].decode()
    assert card.startswith("---\nlicense: unknown\n") and "| data set | tiny |" in card and "To be filled in" in card
    assert "| profiles | 9 users, 9 items |" in card and "| quotes | 9 interactions, by the ids" in card and "lsa" in card
    before = contents(tag)
    shutil.move(tag, workdir / "gone")
    assert execute(["import", TAG, "--dataset", "tiny", "--tag", "back"]) == 0
    assert contents(workdir / "dataset/tiny/semantic/back") == before
    assert TOKEN not in capsys.readouterr().out


def test_a_public_repository_is_asked_for(hub, tag):
    assert execute(["export", "--dataset", "tiny", "--tag", "made", "--to", TAG, "--yes", "--public"]) == 0
    assert hub.made[0]["visibility"] == "public"


def test_a_model_goes_and_comes_back(hub, run, workdir, capsys):
    run("BPR", epochs=1)
    checkpoint = workdir / last_record().checkpoint
    assert execute(["export", "--checkpoint", str(checkpoint), "--to", "hf://somebody/model", "--yes"]) == 0
    held = hub.files["model", "somebody/model"]
    card = held["README.md"].decode()
    assert "| model | BPR |" in card and "the ids of 24 users and 30 items, and" in card and "train_batch_size 64" in card
    assert main(["import", "hf://somebody/model", "--dataset", "tiny"]) != 0
    assert "exists already" in capsys.readouterr().err
    content = checkpoint.read_bytes()
    checkpoint.unlink()
    assert main(["import", "hf://somebody/model", "--dataset", "other"]) != 0
    assert "a model of 'tiny', not of 'other'" in capsys.readouterr().err and not checkpoint.exists()
    assert execute(["import", "hf://somebody/model", "--dataset", "tiny"]) == 0
    assert checkpoint.read_bytes() == content
    assert execute(["recommend", "--checkpoint", str(checkpoint), "--user", "u1"]) == 0
    hub.files["model", "somebody/model"] = {"evil.pth": pickle.dumps(print)}
    assert main(["import", "hf://somebody/model", "--dataset", "tiny"]) != 0
    assert "evil.pth" in capsys.readouterr().err and not (workdir / "saved/evil.pth").exists()


def test_what_comes_in_is_checked(hub, workdir, capsys):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../outside.json"))
    for held, wanted in (
        ({}, "it holds none"),
        ({"a.tar.gz": b"", "b.tar.gz": b""}, "it holds a.tar.gz, b.tar.gz"),
        ({"a.tar.gz": file.getvalue()}, "outside.json"),
        ({"a.tar.gz": b"nothing"}, "not a whole tar.gz"),
    ):
        hub.files["dataset", "somebody/profiles"] = held
        assert main(["import", TAG, "--dataset", "tiny"]) != 0
        assert wanted in capsys.readouterr().err
        assert (
            not [path for path in (workdir / "dataset").rglob("*") if path.is_file()]
            and not (workdir / "outside.json").exists()
        )


def test_a_hub_that_refuses_or_is_not_there(hub, tag, monkeypatch, capsys):
    with pytest.raises(StoreError, match="is not there or not for you; check its name, and set HF_TOKEN"):
        execute(["import", TAG, "--dataset", "tiny"])
    with use(hub, monkeypatch, token="wrong"), pytest.raises(StoreError) as refused:
        execute(["export", "--dataset", "tiny", "--tag", "made", "--to", TAG, "--yes"])
    assert "HF_TOKEN" in str(refused.value) and "wrong" not in str(refused.value)
    hub.url = "http://127.0.0.1:9"
    monkeypatch.setattr(time, "sleep", lambda _: None)  # its client waits before it tries again
    with use(hub, monkeypatch), pytest.raises(StoreError, match="cannot be reached"):
        execute(["import", TAG, "--dataset", "tiny"])


def test_addresses():
    assert parse_address("hf://datasets/a/b@v1", "dataset") == Address("dataset", "a/b", "v1")
    assert str(parse_address("hf://a/b.c")) == "hf://a/b.c"
    for wrong in ("hf://a", "hf://datasets/a", "hf://a/b/c", "hf://a/../b", "hf://", "https://a/b"):
        with pytest.raises(ConfigError, match="no address"):
            parse_address(wrong)
    with pytest.raises(ConfigError, match="profiles go to"):
        parse_address("hf://a/b", "dataset")


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        ((), "one of them"),
        (("--dataset", "x", "--checkpoint", "y.pth"), "one of them"),
        (("--dataset", "x", "--index", "Flat"), "--index is of the items of a model"),
        (("--checkpoint", "y.pth"), "--output FOLDER"),
        (("--dataset", "x", "--yes"), "belong to --to"),
        (("--dataset", "x", "--to", "hf://a/b"), "profiles go to"),
        (("--checkpoint", "y.pth", "--to", "hf://datasets/a/b"), "models go to"),
        (("--dataset", "x", "--to", TAG, "-o", "z"), "leave --output"),
    ],
)
def test_bad_input(workdir, capsys, argv, wanted):
    assert main(["export", *argv]) == 2
    assert wanted in capsys.readouterr().err and not list(workdir.iterdir())
