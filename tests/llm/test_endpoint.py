"""HTTP against a real server: every kind of failure, and where the key goes."""

from __future__ import annotations

import logging
import socket

import pytest
from films import chat_of
from loopback import Loopback

from recbole_rlmrec.errors import ChatError, ConfigError
from recbole_rlmrec.llm.endpoint import OPENAI_URL, Endpoint
from recbole_rlmrec.llm.faults import FatalError, RefusedError, RetryableError, clean
from recbole_rlmrec.llm.models import get_chat_model, get_endpoint
from recbole_rlmrec.llm.openai_compatible import OpenAIChat

KEY = "sk-loopback-0123456789abcdef"
MESSAGES = [{"role": "system", "content": "Describe."}, {"role": "user", "content": "<data>{}</data>"}]


def ask(fault: str | None, **options):
    with Loopback(lambda number, payload: fault, hang=3.0) as server:
        return chat_of(server, **options).ask(MESSAGES)


def test_an_answer():
    reply = ask(None)
    assert "Enjoys" in reply.text and reply.finish == "stop" and reply.completion_tokens > 0


def test_gzip():
    assert "Enjoys" in ask("gzip").text


@pytest.mark.parametrize("fault", ["500", "502", "503", "reset", "truncated", "malformed", "schema", "empty", "huge"])
def test_what_may_pass_is_tried_again(fault):
    with pytest.raises(RetryableError):
        ask(fault)


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_nothing_hangs(fault):
    with pytest.raises(RetryableError, match="0.3 s"):
        ask(fault, timeout=0.3)


def test_rate_limits_say_how_long():
    for fault, least in (("429", None), ("429-after", 0.05), ("429-date", 0.0)):
        with pytest.raises(RetryableError) as caught:
            ask(fault)
        assert caught.value.rate_limited
        assert caught.value.retry_after is least if least is None else caught.value.retry_after >= least


def test_no_server_and_no_name():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(RetryableError, match="cannot be reached: .*[Rr]efused") as caught:
        get_chat_model("m", url).ask(MESSAGES)
    assert "Max retries" not in str(caught.value)
    with pytest.raises(RetryableError, match="cannot be reached: .*resolve 'no-such-host.invalid'"):
        get_chat_model("m", "http://no-such-host.invalid/v1").ask(MESSAGES)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (401, {"error": {"message": "bad key"}}, FatalError, "--api-key-env"),
        (403, {"error": {"message": "not yours"}}, FatalError, "not yours"),
        (404, {"error": {"message": "no model test-model"}}, FatalError, "name of the model"),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, FatalError, "no credit"),
        (402, {"error": {"message": "pay first"}}, FatalError, "no credit"),
        (400, {"error": {"message": "context length"}}, RefusedError, "context length"),
        (422, {"detail": "bad field"}, RefusedError, "bad field"),
        (200, {"error": {"message": "overloaded", "code": 503}}, RetryableError, "overloaded"),
        (200, {"error": {"message": "no key", "code": 401}}, FatalError, "no key"),
        (529, {"message": "overloaded"}, RetryableError, "overloaded"),
    ],
)
def test_what_the_server_says_decides(status, body, kind, said):
    with Loopback() as server:
        server.answer_status = status, body
        with pytest.raises(kind, match=said):
            chat_of(server).ask(MESSAGES)


def test_options_that_a_server_refuses_are_left_out():
    with Loopback() as server:
        known = {"model", "messages", "max_completion_tokens"}

        def refuse(payload):
            extra = set(payload) - known
            if "max_tokens" in extra:
                return "Unsupported parameter: 'max_tokens'; use 'max_completion_tokens' instead."
            return f"'{min(extra)}' is not supported" if extra else None

        server.refuse = refuse
        chat = chat_of(server)
        chat.ask(MESSAGES)
        asked = len(server.payloads)
        chat.ask(MESSAGES)
        assert len(server.payloads) == asked + 1
        assert set(server.payloads[-1]) == known
        assert chat.parameters() == {"temperature": 0.0, "max_tokens": 700}


def test_reasoning_models_get_what_they_know():
    body = OpenAIChat("gpt-5-mini", Endpoint("http://127.0.0.1:9/v1")).payload(MESSAGES)
    assert body["max_completion_tokens"] == 700 + 4096 and body["reasoning_effort"] == "minimal"
    assert "temperature" not in body and "max_tokens" not in body
    assert "temperature" in OpenAIChat("gpt-4o-mini", Endpoint("http://127.0.0.1:9/v1")).payload(MESSAGES)


def test_connections_are_kept():
    with Loopback() as server:
        chat = chat_of(server)
        for _ in range(5):
            chat.ask(MESSAGES)
        assert server.connections == 1


def test_the_key_goes_to_its_host_alone(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    with Loopback() as other, Loopback(lambda number, payload: "redirect") as server:
        server.redirect_to = other.url
        chat = chat_of(server, key_name="MY_KEY")
        with pytest.raises(FatalError, match="redirects to http://127.0.0.1") as caught:
            chat.ask(MESSAGES)
        assert server.authorizations == {f"Bearer {KEY}"}
        assert other.authorizations == set() and other.requests == 0
        assert KEY not in str(caught.value)


def test_openai_keys_do_not_go_to_other_servers(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Loopback() as server:
        chat_of(server).ask(MESSAGES)
        assert server.authorizations == {None}
    assert get_endpoint(None, None).base_url == OPENAI_URL


def test_a_key_that_travels_unencrypted_is_warned_of(monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    Endpoint("http://127.0.0.1:9/v1", "MY_KEY")
    Endpoint("https://example.org/v1", "MY_KEY")
    assert "unencrypted" not in caplog.text
    Endpoint("http://example.org/v1", "MY_KEY")
    assert "unencrypted" in caplog.text and KEY not in caplog.text


def test_netrc_is_not_consulted(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Loopback() as server:
        chat_of(server).ask(MESSAGES)
        assert server.authorizations == {None}


def test_a_server_that_repeats_the_key_does_not_get_it_into_words(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    with Loopback() as server:
        chat = chat_of(server, key_name="MY_KEY")
        server.answer_status = 401, {"error": {"message": f"Incorrect key {KEY} \x1b[31m\n{'x' * 999}"}}
        with pytest.raises(FatalError, match="MY_KEY") as caught:
            chat.ask(MESSAGES)
        assert "[key]" in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 700
        server.answer_status = 200, {"choices": [{"message": {"content": f"the key is {KEY}"}}]}
        assert KEY not in chat.ask(MESSAGES).text
    assert caught.value.__cause__ is None
    assert KEY not in caplog.text and KEY not in repr(vars(chat)) + repr(vars(chat.endpoint))


@pytest.mark.parametrize("before", [0, 5000, 16384 - 9, 16384, 40000])
def test_files_of_a_server_that_repeats_the_key_do_not_hold_it(monkeypatch, tmp_path, before):
    monkeypatch.setenv("MY_KEY", KEY)
    with Loopback() as server:
        server.files["f"] = b"\xe4" * before + KEY.encode() + b"\xff" * 30000
        chat_of(server, key_name="MY_KEY").endpoint.download("files/f/content", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"\xe4" * before + b"[key]" + b"\xff" * 30000


@pytest.mark.parametrize("value", ["", "  ", "two words", "schl\u00fcssel-0123456789", "line\nbreak-0123456"])
def test_unusable_keys(monkeypatch, value):
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match="MY_KEY"):
        Endpoint("http://127.0.0.1:9/v1", "MY_KEY")


@pytest.mark.parametrize("name", [KEY, "k" * 65, "0123456789abcdef", "a b"])
def test_a_key_in_place_of_its_name_is_not_repeated(name):
    with pytest.raises(ConfigError, match="takes the name of an environment variable") as caught:
        Endpoint("http://127.0.0.1:9/v1", name)
    assert name not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x/v1", "http://", "http://me:pw@host/v1", "http://host/v1?key=1", "http://[::1/v1"]
)
def test_unusable_addresses(url):
    with pytest.raises(ConfigError, match="--base-url") as caught:
        Endpoint(url)
    assert "pw" not in str(caught.value)


def test_messages_are_one_short_printable_line():
    assert clean("a\n\x1b[2Jb\u202e" + "c" * 500, 20) == "a [2Jb cccccccccc..."


def test_all_failures_are_chat_errors():
    assert all(issubclass(kind, ChatError) for kind in (RetryableError, RefusedError, FatalError))
