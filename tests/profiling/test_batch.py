"""The Batch API against a server that imitates it."""

from __future__ import annotations

import json

import pytest
from films import Setup, chat_of, make_corpus
from loopback import Loopback, batch_line, completion, run_batches

from recbole_rlmrec.errors import ChatError, ConfigError, StoreError
from recbole_rlmrec.llm.cost import Meter, Price, Usage, find_price
from recbole_rlmrec.llm.patience import Pace
from recbole_rlmrec.llm.template import TemplateChat
from recbole_rlmrec.profiling.batch import Batches


class Rounds:
    """The three commands on one tag; each call starts anew from what is on disk, as the command does."""

    def __init__(self, setup: Setup, server: Loopback, **options) -> None:
        self.setup, self.server, self.options = setup, server, options
        self.chat = chat_of(server)

    def step(self, name: str, meter: Meter | None = None, **question_options):
        with self.setup.store.locked():
            tag = self.setup.tag(self.chat)
            questions = self.setup.questions(self.chat, **question_options)
            batches = Batches(self.setup.store, self.chat, pace=Pace(first_wait=0.01, patience=5.0), **self.options)
            if name == "submit":
                tag.begin()
                return batches.submit(questions, meter or Meter(None), 300)
            collected = batches.collect(questions)
            tag.finish(questions, Usage())
            return collected


def unusable(number: str, body: dict) -> dict:
    return {"custom_id": number, "response": {"status_code": 200, "body": completion(body, "none")}, "error": None}


@pytest.fixture
def server():
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def rounds(setup, server) -> Rounds:
    return Rounds(setup, server)


def test_two_rounds(setup, server, rounds):
    assert rounds.step("submit") == "8 questions about items were submitted in 1 batches."
    assert "1 batches are open" in rounds.step("submit")
    assert rounds.step("collect") == [] and setup.tokens("item") == []
    run_batches(server)
    assert rounds.step("collect")[0].status == "completed"
    assert sorted(setup.tokens("item")) == setup.corpus.items
    assert rounds.step("submit") == "6 questions about users were submitted in 1 batches."
    run_batches(server)
    rounds.step("collect")
    assert sorted(setup.tokens("user")) == setup.corpus.users
    assert rounds.step("submit") == "Nothing is left to ask."
    assert server.requests == 0 and len(server.batches) == 2
    line = json.loads(server.files["file-0"].splitlines()[0])
    assert line["method"] == "POST" and line["url"] == "/v1/chat/completions" and line["body"]["model"] == "test-model"
    assert server.batches["batch_0"]["completion_window"] == "24h"
    assert setup.store.manifest["usage"]["test-model (batch)"]["requests"] == 14
    assert list((setup.store.folder / "batch").iterdir()) == []


def test_answers_are_those_of_the_other_mode(setup, server, rounds, tmp_path):
    for _ in range(2):
        rounds.step("submit")
        run_batches(server)
        rounds.step("collect")
    other = Setup(tmp_path / "other", setup.corpus)
    other.run(chat_of(server))
    for side in ("item", "user"):
        assert {p.token: (p.profile, p.pairs, p.extra["key"]) for p in setup.store.iter(side)} == {
            p.token: (p.profile, p.pairs, p.extra["key"]) for p in other.store.iter(side)
        }
    asked = server.requests
    setup.run(chat_of(server))
    assert server.requests == asked, "what a batch answered is not asked again one by one"


def test_several_batches(setup, server):
    rounds = Rounds(setup, server, most_requests=3)
    assert rounds.step("submit") == "8 questions about items were submitted in 3 batches."
    run_batches(server)
    assert len(rounds.step("collect")) == 3
    assert sorted(setup.tokens("item")) == setup.corpus.items


def test_what_was_not_submitted_is_submitted_by_the_same_command(setup, server, monkeypatch):
    rounds, create = Rounds(setup, server, most_requests=3), Batches._create

    def second_fails(self, batch):
        if server.batches:
            raise ChatError("The server is full.")
        return create(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "_create", second_fails)
        with pytest.raises(ChatError):
            rounds.step("submit")
    assert len(server.batches) == 1
    assert rounds.step("submit") == "5 questions about items were submitted in 2 batches."
    assert len(server.batches) == 3 and "3 batches are open" in rounds.step("submit")


def test_an_expired_batch_keeps_what_it_has_and_the_rest_is_asked_again(setup, server, rounds):
    server.batch_answer = lambda number, body: batch_line(number, body) if int(number) < 5 else None
    rounds.step("submit")
    run_batches(server, "expired")
    assert rounds.step("collect")[0].status == "expired"
    assert len(setup.tokens("item")) == 5 and setup.listed() == []
    server.batch_answer = batch_line
    assert rounds.step("submit").startswith("3 questions about items")
    run_batches(server)
    rounds.step("collect")
    assert sorted(setup.tokens("item")) == setup.corpus.items


def test_a_failed_batch_says_why_and_is_asked_again(setup, server, rounds):
    rounds.step("submit")
    server.batches["batch_0"].update(status="failed", errors={"data": [{"message": "Enqueued token limit reached"}]})
    assert "Enqueued token limit" in str(rounds.step("collect")[0])
    assert rounds.step("submit").startswith("8 questions about items")


def test_bad_answers_and_errors_are_listed_and_asked_again_with_the_reason(setup, server, rounds):
    def answer(number, body):
        if number == "1":
            return {"custom_id": "1", "response": {"status_code": 200, "body": completion(body, "none")}, "error": None}
        if number in "23":
            error = {"status_code": 400 if number == "2" else 500, "body": {"error": {"message": "no"}}}
            return {"custom_id": number, "response": error, "error": None}
        return batch_line(number, body)

    server.batch_answer = answer
    rounds.step("submit")
    run_batches(server)
    rounds.step("collect")
    assert sorted(setup.listed()) == [("item", "i1"), ("item", "i2"), ("item", "i3")]
    server.batch_answer = batch_line
    assert rounds.step("submit").startswith("2 questions about items"), "what was refused waits for --retry-failed"
    sent = server.files[server.batches["batch_1"]["input_file_id"]]
    again = [json.loads(line)["body"]["messages"] for line in sent.splitlines()]
    assert "None" in again[0][3]["content"] and len(again[1]) == 2
    run_batches(server)
    rounds.step("collect")
    assert setup.listed() == [("item", "i2")] and len(setup.tokens("item")) == 7
    assert rounds.step("submit").startswith("6 questions about users")


def test_a_question_is_given_up_after_so_many_attempts(setup, server, rounds):
    server.batch_answer = unusable
    for left in (8, 8):
        assert rounds.step("submit", max_attempts=2).startswith(f"{left} questions about items")
        run_batches(server)
        rounds.step("collect", max_attempts=2)
    assert rounds.step("submit", max_attempts=2).startswith("6 questions about users")


def test_killed_between_upload_and_batch(setup, server, rounds, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "_create", killed)
        with pytest.raises(KeyboardInterrupt):
            rounds.step("submit")
    assert len(server.files) == 1 and len(server.batches) == 0
    rounds.step("submit")
    assert len(server.files) == 1 and len(server.batches) == 1


def test_killed_before_the_batch_was_noted(setup, server, rounds, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "_note", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rounds.step("submit")
    assert len(server.batches) == 1
    rounds.step("submit")
    assert len(server.batches) == 1, "it was found by its mark, not made twice"


def collect_killed_once(rounds, monkeypatch):
    """Collect, killed before what was collected is noted, and again."""
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "_save", lambda self: (_ for _ in ()).throw(KeyboardInterrupt) if not self.open else None)
        with pytest.raises(KeyboardInterrupt):
            rounds.step("collect")
    rounds.step("collect")


def test_killed_while_collecting(setup, server, rounds, monkeypatch):
    rounds.step("submit")
    run_batches(server)
    collect_killed_once(rounds, monkeypatch)
    assert sorted(setup.tokens("item")) == setup.corpus.items
    assert setup.store.manifest["usage"]["test-model (batch)"]["requests"] == 8


def test_killed_after_failures_were_listed(setup, server, rounds, monkeypatch):
    server.batch_answer = unusable
    rounds.step("submit")
    run_batches(server)
    collect_killed_once(rounds, monkeypatch)
    assert setup.store.manifest["usage"]["test-model (batch)"]["requests"] == len(setup.listed()) == 8


def test_answers_are_counted_to_the_model_that_was_asked(setup, server, rounds):
    rounds.step("submit")
    run_batches(server)
    rounds.chat = chat_of(server, name="other-model")
    rounds.step("collect")
    assert list(setup.store.manifest["usage"]) == ["test-model (batch)"]
    assert setup.store.read("item")["i0"].extra["model"] == "test-model (batch)"


def test_output_of_a_server_that_lies(setup, server, rounds):
    rounds.step("submit")
    run_batches(server)
    server.files["batch_0-output"] = (
        b'not json\n{"custom_id": "99", "response": {}}\n{"custom_id": "-1"}\n{"custom_id": "x"}\n[]\n'
        b'{"custom_id": "0", "response": {"status_code": 200, "body": {"choices": []}}}\n' + server.files["batch_0-output"]
    )
    rounds.step("collect")
    assert sorted(setup.tokens("item")) == setup.corpus.items
    rounds.step("submit")
    server.batches["batch_1"].update(status="completed", output_file_id="../../models")
    with pytest.raises(ChatError, match="output_file_id"):
        rounds.step("collect")


def test_the_budget_limits_what_is_submitted(setup, server, rounds):
    message = rounds.step("submit", Meter(Price(1000.0, 1000.0), 3.0))
    assert "The budget leaves out the rest" in message and 0 < len(server.files["file-0"].splitlines()) < 8


def test_a_budget_for_nothing(rounds):
    assert "The budget leaves out the rest" in rounds.step("submit", Meter(find_price("gpt-4o"), 0.0))


def test_growth_between_submit_and_collect(setup, server, rounds):
    rounds.step("submit")
    run_batches(server)
    setup.corpus = make_corpus(n_users=7, n_items=9)
    rounds.step("collect")
    assert len(setup.tokens("item")) == 8
    assert "questions about items" in rounds.step("submit")


def test_local_models_have_no_batches(setup):
    with pytest.raises(ConfigError, match="Batch API"):
        Batches(setup.store, TemplateChat())


def test_a_server_without_batches(setup, server, rounds):
    server.answer_status = None
    rounds.chat.endpoint.base_url += "/nothing"
    with pytest.raises(ChatError, match="404"):
        rounds.step("submit")


def test_files_that_are_gone(setup, server, rounds):
    rounds.step("submit")
    run_batches(server)
    for file in (setup.store.folder / "batch").iterdir():
        file.unlink()
    with pytest.raises(StoreError, match="delete .*batch.json"):
        rounds.step("collect")


@pytest.mark.parametrize("step", ["submit", "collect"])
def test_a_server_that_stumbles_at_every_third_request(setup, server, rounds, step):
    requests = []

    def fail(method, path):
        requests.append(path)
        return (503, {"error": {"message": "overloaded"}}) if len(requests) % 3 == 1 else None

    if step == "collect":
        rounds.step("submit")
        run_batches(server)
    server.fail = fail
    rounds.step(step)
    assert len(server.batches) == 1 and len(requests) >= 4
    if step == "collect":
        assert sorted(setup.tokens("item")) == setup.corpus.items


def test_a_batch_that_was_made_though_nobody_heard_of_it_is_not_made_twice(setup, server, rounds):
    """The server makes the batch, and the connection breaks before it says so."""
    made = []

    def fail(method, path):
        if method == "POST" and path == "/batches" and not made:
            made.append(path)
            return 502, {"error": {"message": "bad gateway"}}
        if path.startswith("/batches?") and made and not server.batches:
            body = json.loads(server.lost)
            server.batches["batch_0"] = {"id": "batch_0", "status": "in_progress", **body}
        return None

    post = rounds.chat.endpoint.post

    def noted(path, payload, *more):
        server.lost = json.dumps(payload)
        return post(path, payload, *more)

    rounds.chat.endpoint.post = noted
    server.fail = fail
    rounds.step("submit")
    assert made and list(server.batches) == ["batch_0"]
    assert "1 batches are open" in rounds.step("submit")


def test_an_answer_that_was_only_thought_is_named(setup, server, rounds):
    def answer(number, body):
        line = batch_line(number, body)
        line["response"]["body"]["choices"] = [{"message": {"content": None, "refusal": "Never."}, "finish_reason": "stop"}]
        return line

    server.batch_answer = answer
    rounds.step("submit")
    run_batches(server)
    rounds.step("collect")
    failure = json.loads((setup.store.folder / "failures.jsonl").read_text().splitlines()[0])
    assert failure["reason"] == "The model refuses: Never."


def test_a_state_that_cannot_be_read(setup, server, rounds):
    rounds.step("submit")
    (setup.store.folder / "batch.json").write_text('{"batches": [{"x": 1}]}')
    with pytest.raises(StoreError, match="batch.json"):
        rounds.step("collect")
