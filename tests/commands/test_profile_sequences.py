"""Profiles for sequential recommenders, from the command to runs of theirs and of RecBole's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from loopback import Loopback

from recbole_rlmrec.cli import execute
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import LeakageError

FOLDER = Path("dataset/tiny/semantic/gpt")
MODEL = "--model=GRU4Rec_RLMRec"


@pytest.fixture
def server():
    with Loopback() as loopback:
        yield loopback


def profile(url: str, *argv: str) -> int:
    return execute(["profile", "--dataset=tiny", "--tag=gpt", f"--base-url={url}", "--chat-model=test-model", *argv])


def test_profiles_of_sequences_serve_sequential_recommenders_and_whoever_preloads_them(tiny, run, build, server, capsys):
    assert profile(server.url, MODEL, "--sample-items=4") == 0
    assert "--date-field=timestamp" in capsys.readouterr().out
    store = ProfileStore(FOLDER)
    assert store.manifest["how"]["sampling"]["history"] == "latest"
    rows = [line.split("\t") for line in Path("dataset/tiny/tiny.inter").read_text().splitlines()[1:]]
    for found in store.iter("user"):
        own = sorted((float(time), item) for user, item, _, time in rows if user == found.token)
        latest = own[:-2][-4:]
        assert found.pairs == [(found.token, item) for _, item in latest] and found.times == [time for time, _ in latest]
    encoded = encode_tag(FOLDER, "lsa", show_progress=False)
    small = {"hidden_size": 8, "epochs": 1, "semantic_tag": "gpt"}
    assert run("GRU4Rec_RLMRec", **small)["test_result"]
    with pytest.raises(LeakageError, match="validation or test split"):
        run("BPR_RLMRec", semantic_tag="gpt")

    assert execute(["export", "--dataset=tiny", MODEL]) == 0
    settings = yaml.safe_load(Path("dataset/tiny/tiny.preload.yaml").read_text())
    columns = {**settings.pop("load_col"), "item": ["item_id", "genre"]}
    own = {**settings, "load_col": columns, "train_neg_sample_args": None, "selected_features": ["genre"], "epochs": 1}
    for name in ("SASRecF", "GRU4RecF"):
        assert run(name, **own, hidden_size=8, n_heads=2, num_layers=1)["test_result"]
    train = build("SASRecF", **own, hidden_size=8)[2][0]._dataset
    assert train.rlmrec_preloaded["made_for_this_split"] is True
    weights, matrix = train.get_preload_weight("iid"), np.load(encoded / "items.npy")
    assert weights.shape == (train.item_num, matrix.shape[1]) and not weights[0].any()
    names = sorted(train.field2id_token["item_id"][1:])
    for place, token in enumerate(names):
        np.testing.assert_allclose(weights[train.field2token_id["item_id"][token]], matrix[place], rtol=1e-5, atol=1e-7)


def test_which_history_and_dates_are_ones_own_choice(tiny, server, capsys):
    assert profile(server.url, MODEL, "--show-prompts=1", "--history=sample") == 0
    assert "You are given a sample of" in capsys.readouterr().out
    assert profile(server.url, "--show-prompts=1", "--history=latest", "--date-field=none") == 0
    said = capsys.readouterr().out
    assert '"history" is a sequence' in said and "--date-field" not in said
