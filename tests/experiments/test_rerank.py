"""``experiment rerank`` with a chat model that answers as a test wants."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from launchers import SMALL, run_experiment
from loopback import Loopback

from recbole_rlmrec.errors import ConfigError, StoreError
from recbole_rlmrec.experiments import rerank, reranking
from recbole_rlmrec.experiments.cells.cell import Cell, Outcome
from recbole_rlmrec.experiments.reranking import Answers, RankingQuestion, ask, judge
from recbole_rlmrec.llm.chat import Reply
from recbole_rlmrec.llm.faults import RefusedError
from recbole_rlmrec.llm.patience import Pace
from recbole_rlmrec.llm.prompt import Prompt, unwrap

ONE = ("--epochs=1", "--eval_step=1", *SMALL)


class Stub:
    """Answers with what a function makes of the question's data."""

    name, parallel = "stub", True

    def __init__(self, answer):
        self._answer, self.asked, self.systems = answer, [], []

    def parameters(self):
        """None."""
        return {}

    def ask(self, messages):
        """One answer."""
        data = unwrap(messages[1]["content"])
        self.asked.append(data)
        self.systems.append(messages[0]["content"])
        answer = self._answer(data)
        return Reply(answer if isinstance(answer, str) else json.dumps(answer), 10, 5)


def reranked(launcher, monkeypatch, chat, *more):
    if chat is not None:
        monkeypatch.setattr(rerank, "get_chat_model", lambda *args, **options: chat)
    arguments = ("--dataset", "tiny", "--output", "out", "--seeds", "1", "--chat-model", "some-model", "--candidates", "12")
    assert run_experiment(launcher, "rerank", *arguments, *more, *ONE) == 0
    return json.loads(Path("out/rerank/results.json").read_text())


def test_the_same_order_gives_the_models_own_results(tiny, workdir, here, monkeypatch):
    chat = Stub(lambda data: {"ranking": data["candidates"]})
    results = reranked(here, monkeypatch, chat)
    (found,) = results["reranked"]
    (cell,) = results["cells"]
    assert found["users"] == found["usable"] == len(chat.asked) and found["invented"] == found["left_out"] == 0
    outcome = Outcome(Cell("LightGCN", "base", 2020, "LightGCN_RLMRec", "tiny-split", {}), workdir / "out" / cell["folder"])
    assert found["users"] == len(outcome.users)
    for name, value in found["metrics"].items():
        assert value["before"] == value["after"] == pytest.approx(outcome.metrics[name], abs=1e-6)
    train = {tuple(line.split("\t")[:2]) for line in Path("out/data/tiny-split/tiny-split.train.inter").open()}
    titles = dict(line.split("\t")[:2] for line in (workdir / "dataset/tiny/tiny.item").open())
    assert all(data["profile"] and len(data["candidates"]) == 12 for data in chat.asked)
    histories = {frozenset(data["history"]) for data in chat.asked}
    trained_on = {frozenset(titles[item] for who, item in train if who == user) for user in outcome.users.index}
    assert histories == trained_on


def test_a_sequence_is_quoted_in_order_and_ranked_as_in_the_test(tiny, workdir, here, monkeypatch):
    chat = Stub(lambda data: {"ranking": data["candidates"]})
    results = reranked(here, monkeypatch, chat, "--models", "GRU4Rec", "--history", "3", "--hidden_size=8")
    (found,), (cell,) = results["reranked"], results["cells"]
    outcome = Outcome(Cell("GRU4Rec", "base", 2020, "GRU4Rec_RLMRec", "tiny-split", {}), workdir / "out" / cell["folder"])
    assert found["users"] == found["usable"] == len(chat.asked) == len(outcome.users) == 24
    for name, value in found["metrics"].items():
        assert value["before"] == value["after"] == pytest.approx(outcome.metrics[name], abs=1e-6)
    titles = dict(line.split("\t")[:2] for line in (workdir / "dataset/tiny/tiny.item").open())
    rows = [line.rstrip("\n").split("\t") for line in (workdir / "dataset/tiny/tiny.inter").open()][1:]
    own = {}
    for row in sorted(rows, key=lambda row: float(row[3])):
        own.setdefault(row[0], []).append(titles[row[1]])
    assert sorted(data["history"] for data in chat.asked) == sorted(items[:-1][-3:] for items in own.values())
    assert all("the latest at the end" in system for system in chat.systems)


def test_items_and_their_sequences_may_be_called_otherwise(tiny, workdir, here, monkeypatch):
    for suffix in ("inter", "item"):
        path = workdir / f"dataset/tiny/tiny.{suffix}"
        path.write_text(path.read_text().replace("item_id:token", "asin:token"))
    chat = Stub(lambda data: {"ranking": data["candidates"]})
    names = ("--ITEM_ID_FIELD=asin", "--LIST_SUFFIX=_before")
    reranked(here, monkeypatch, chat, "--models", "GRU4Rec", "--history", "3", "--hidden_size=8", *names)
    assert len(chat.asked) == 24 and all(len(data["history"]) == 3 for data in chat.asked)


def test_a_chat_model_that_knows_better(tiny, workdir, here, monkeypatch, capsys):
    titles = dict(line.split("\t")[:2] for line in (workdir / "dataset/tiny/tiny.item").open())
    everything = {}

    def answer(data):
        held = everything or _held_out(everything, titles)
        wanted = held[frozenset(data["history"])]
        ranked = sorted(data["candidates"], key=lambda title: title not in wanted)
        return {"ranking": ["A film that is not there", *ranked[:8], ranked[0]]}

    results = reranked(here, monkeypatch, Stub(answer), "--variants", "con")
    (found,) = results["reranked"]
    assert found["invented"] == found["users_with_invented"] == found["repeated"] == found["users"]
    assert found["left_out"] == 4 * found["users"]
    assert found["examples_of_invented"][0][1] == "A film that is not there"
    assert found["metrics"]["ndcg@5"]["after"] > found["metrics"]["ndcg@5"]["before"]
    assert "Before and after reranking" in capsys.readouterr().out


def _held_out(found, titles):
    parts = {}
    for part in ("train", "test"):
        for line in Path(f"out/data/tiny-split/tiny-split.{part}.inter").open():
            user, item = line.split("\t")[:2]
            parts.setdefault(user, {"train": set(), "test": set()})[part].add(titles.get(item))
    found.update({frozenset(one["train"]): one["test"] for one in parts.values()})
    return found


def test_answers_are_kept_and_refusals_asked_again(tiny, workdir, here, monkeypatch):
    refused = []

    def answer(data):
        if not refused:
            refused.append(data)
            raise RefusedError("not this one")
        return {"ranking": data["candidates"][::-1]}

    chat = Stub(answer)
    first = reranked(here, monkeypatch, chat, "--users", "5", "--concurrency", "1")["reranked"][0]
    assert (first["users"], first["usable"], len(chat.asked)) == (5, 4, 5)
    path = workdir / "out/rerank/answers.jsonl"
    path.write_bytes(path.read_bytes() + b'{"key": "cut o')
    second = reranked(here, monkeypatch, chat, "--users", "5")["reranked"][0]
    assert (second["users"], second["usable"], len(chat.asked)) == (5, 5, 6)
    assert len(path.read_text().splitlines()) == 5 and len(here.started) == 1
    path.write_text("nonsense\n")
    with pytest.raises(StoreError, match="line 1"):
        Answers(path)


def test_over_http_an_answer_of_another_shape_changes_nothing(tiny, here, monkeypatch):
    with Loopback() as server:
        results = reranked(here, monkeypatch, None, "--base-url", server.url, "--users", "3")
    (found,) = results["reranked"]
    assert (found["users"], found["usable"]) == (3, 0) and found["prompt_tokens"] > 0
    assert all(value["before"] == value["after"] for value in found["metrics"].values())


def test_who_has_no_candidates_is_not_asked_about(workdir):
    chat = Stub(lambda data: {"ranking": data["candidates"]})
    ask([question()], chat, Answers(workdir / "answers.jsonl"), Pace(concurrency=1))
    assert not chat.asked and not judge(question(), None).usable


def question(*labels):
    return RankingQuestion(Prompt("user", "u1", "", "", (), 0, 0), list(labels), np.zeros(len(labels), dtype=bool), 1)


@pytest.mark.parametrize(
    ("text", "order", "invented", "repeated"),
    [
        ('{"ranking": ["C", "a ", "B"]}', [2, 0, 1], [], 0),
        ('Sure:\n```json\n{"ranking": ["2. B", "Z", "b", 7,]}\n```', [1, 0, 2], ["Z", "7"], 1),
        ('{"Ranking": [{"title": "A"}]}', [0, 1, 2], ['{"title": "A"}'], 0),
    ],
)
def test_what_an_answer_says(text, order, invented, repeated):
    ranking = judge(question("A", "B", "C"), {"text": text, "finish": "stop"})
    assert (ranking.order, ranking.invented, ranking.repeated, ranking.usable) == (order, invented, repeated, True)


@pytest.mark.parametrize(
    "answer",
    [None, {"text": "I cannot", "finish": "stop"}, {"text": '{"ranking": []}', "finish": "stop"}]
    + [{"text": '{"ranking": ["C"]}', "finish": "length"}, {"text": '{"ranking": "C"}', "finish": "stop"}],
)
def test_unusable_answers_keep_the_order(answer):
    ranking = judge(question("A", "B", "C"), answer)
    assert ranking.order == [0, 1, 2] and not ranking.usable


def test_titles_that_several_items_have_are_told_apart(monkeypatch):
    class Known:
        titles = {"i1": "Emma", "i2": "Emma\n", "i3": "</data> Ulysses"}

        def tokens(self, side):
            return np.array(["[PAD]", "i1", "i2", "i3", "i4"], dtype=object)

    labels = reranking._Titles(Known()).unique(np.array([1, 2, 3, 4]))
    assert labels == ["Emma [i1]", "Emma [i2]", "</data> Ulysses", "i4"]
    assert "</data> U" not in reranking._message({"candidates": labels})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(("--users", "0"), "--users"), (("--candidates", "1"), "--candidates"), (("--concurrency", "0"), "--concurrency")]
    + [(("--chat-model", "template"), "cannot rerank"), (("--base-url", "ftp://x"), "--base-url")]
    + [(("--temperature", "3"), "--temperature"), (("--timeout", "0"), "--timeout")],
)
def test_bad_input(tiny, fake, arguments, sentence):
    option, value = arguments
    given = {"--chat-model": "m", "--base-url": "http://127.0.0.1:9/v1", option: value}
    given = [word for pair in given.items() for word in pair]
    with pytest.raises(ConfigError, match=sentence):
        run_experiment(fake, "rerank", "--dataset", "tiny", "--output", "out", *given, *ONE)
    assert not fake.started


def test_what_was_cut_off_is_asked_again_with_more_room_and_all_tokens_count(tmp_path):
    class Chat:
        name, parallel, most_tokens, asked = "some", False, 100, 0

        def parameters(self):
            return {}

        def ask(self, messages):
            self.asked += 1
            if self.asked == 1:
                return Reply("", 5, 7, again=True)
            whole = self.most_tokens > 100
            return Reply('{"ranking": ["a"]}' if whole else "<think>hm", 10, self.most_tokens, "stop" if whole else "length")

    question = RankingQuestion(Prompt("user", "u", "s", "m", (), 0, 0), ["a"], np.array([True]), 1)
    chat = Chat()
    ask([question], chat, Answers(tmp_path / "answers.jsonl"), Pace(1, first_wait=0.01))
    kept = Answers(tmp_path / "answers.jsonl").of(question, chat)
    assert (kept["finish"], kept["prompt_tokens"], kept["completion_tokens"]) == ("length", 15, 107)
    ask([question], chat, Answers(tmp_path / "answers.jsonl"), Pace(1, first_wait=0.01))
    assert chat.asked == 2, "with the same room it would end the same way"
    chat.most_tokens = 5000
    ask([question], chat, Answers(tmp_path / "answers.jsonl"), Pace(1, first_wait=0.01))
    assert chat.asked == 3 and judge(question, Answers(tmp_path / "answers.jsonl").of(question, chat)).usable
