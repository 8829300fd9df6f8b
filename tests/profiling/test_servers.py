"""Whole runs against servers as people meet them: what is stored, and what it costs before the run has adapted."""

from __future__ import annotations

import json
import re

import pytest
from films import Setup, chat_of, make_corpus
from loopback import Loopback
from servers import DRAFT, events, everyone, good, refusal, saying, stored, thinking_unseen, wrapping

from recbole_rlmrec.llm.adapting import read_fields
from recbole_rlmrec.llm.faults import FatalError
from recbole_rlmrec.profiling.answers import BadAnswer, read_answer
from recbole_rlmrec.profiling.questions import SIDES

QUESTIONS = 14


def run(setup: Setup, server: Loopback, name: str = "test-model", concurrency: int = 4, **options) -> Setup:
    setup.run(chat_of(server, name, **options), concurrency=concurrency, patience=20.0)
    return setup


# --- thinking aloud ------------------------------------------------------------------------------------------------

THOUGHT = f"Let me see. Perhaps {DRAFT} or {{so}}.\n" + "Hmm, that is not quite it. " * 40
THINKERS = {
    "tags": "<think>\n{thought}</think>\n\n{answer}",
    "closing tag alone": "{thought}\n</think>\n\n{answer}",
    "two rounds": "{thought}</think>{answer}\nWait.</think>\n{answer}",
    "thinking": "<thinking>{thought}</thinking>{answer}",
    "closing of another name": "{thought}</reasoning>\n{answer}",
    "seed": "<seed:think>{thought}</seed:think>{answer}",
    "mistral": "[THINK]{thought}[/THINK]{answer}",
    "kimi": "\u25c1think\u25b7{thought}\u25c1/think\u25b7{answer}",
    "command": "<|START_THINKING|>{thought}<|END_THINKING|><|START_RESPONSE|>{answer}<|END_RESPONSE|>",
    "medgemma": "<unused94>thought\n{thought}<unused95>{answer}",
    "channels": "<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>final<|message|>{answer}<|return|>",
    "constrained channels": "<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>final "
    "<|constrain|>json<|message|>{answer}",
    "channels without special tokens": "analysisWe need JSON. {thought}assistantfinal{answer}",
    "label": "{thought}\n\n**Final answer:**\n```json\n{answer}\n```",
    "granite": "Here is my thought process:\n{thought}\nHere is my response: {answer}",
    "answer tags": "<think>{thought}</think><answer>{answer}</answer>",
    "fence after tags": "<think>{thought}</think>\n```json\n{answer}\n```\nThat is all.",
}


def thinker(template: str, thought: str = THOUGHT):
    return wrapping(lambda answer: template.replace("{thought}", thought).replace("{answer}", answer))


@pytest.mark.parametrize("family", THINKERS)
def test_what_a_model_thinks_aloud_is_never_its_profile(setup, family):
    with Loopback() as server:
        server.answer = thinker(THINKERS[family])
        run(setup, server)
        assert everyone(setup, server) and server.requests == QUESTIONS
    assert not any("draft" in text for text in stored(setup).values())


@pytest.mark.parametrize("family", ["tags", "closing tag alone", "channels", "label"])
def test_however_long_it_thinks(setup, family):
    with Loopback() as server:
        server.answer = thinker(THINKERS[family], THOUGHT * 60)
        assert len(THOUGHT * 60) > 70_000
        run(setup, server)
        assert everyone(setup, server) and server.requests == QUESTIONS


def test_drafts_without_any_marker_lose_against_the_last_object_and_are_counted(setup):
    with Loopback() as server:
        server.answer = wrapping(lambda answer: f"First thought: {DRAFT}\nNo. Better: {answer}")
        questions = run(setup, server)
        assert everyone(questions, server)
    assert setup.store.manifest["several_answers"] == QUESTIONS


def test_a_form_that_is_repeated_is_no_answer_and_an_equal_one_no_second(setup):
    form = json.dumps({"summarization": "...", "reasoning": "..."})
    with Loopback() as server:
        server.answer = wrapping(lambda answer: f"{form}\n{answer}\n{answer}\nin the form {form}")
        run(setup, server)
        assert everyone(setup, server)
    assert "several_answers" not in setup.store.manifest


@pytest.mark.parametrize(
    "text", [f"<think>{THOUGHT}", f"{THOUGHT}</think>\n", f"[THINK]{DRAFT}", f"{THOUGHT}</think>I cannot."]
)
def test_thinking_without_an_answer_is_none(setup, text):
    prompt = setup.builder().item(0)
    with pytest.raises(BadAnswer, match="thinking|no JSON object"):
        read_answer(text, prompt)


def test_markers_within_an_answer_are_text(setup):
    answer = {"summarization": "Suits those who know what </think> and [THINK] mean.", "reasoning": "Final answer: it"}
    assert read_answer(json.dumps(answer), setup.builder().item(0)).summary == answer["summarization"]


# --- wrappers ------------------------------------------------------------------------------------------------------


def _python(answer: str) -> str:
    return repr({**json.loads(answer), "sure": True, "more": None})


def _inside(shape):
    return lambda answer: json.dumps(shape(json.loads(answer)))


WRAPPERS = {
    "response": _inside(lambda answer: {"response": answer}),
    "deep": _inside(lambda answer: {"result": {"data": [{"profile": answer}], "n": 1}}),
    "function": _inside(lambda answer: {"name": "profile", "parameters": answer}),
    "arguments as text": _inside(lambda answer: {"name": "profile", "arguments": json.dumps(answer)}),
    "list": _inside(lambda answer: [answer]),
    "string": _inside(json.dumps),
    "string of string": _inside(lambda answer: json.dumps(json.dumps(answer))),
    "tool call": lambda answer: f'<tool_call>\n{{"name": "f", "arguments": {answer}}}\n</tool_call>',
    "reasoning as list": _inside(lambda answer: {**answer, "reasoning": ["The data", "say so."]}),
    "python": _python,
    "python in a fence": lambda answer: f"```python\n{_python(answer)}\n```",
    "python in a list": lambda answer: f"[{_python(answer)}]",
    "twice the same": _inside(lambda answer: {"draft": answer, "final": answer}),
    "trailing commas in a wrapper": lambda answer: f'{{"response": {answer[:-1]},\n}},\n}}',
    "boxed": lambda answer: f"\\boxed{{{answer}}}",
}


@pytest.mark.parametrize("family", WRAPPERS)
def test_the_object_is_found_in_its_wrapper(setup, family):
    with Loopback() as server:
        server.answer = wrapping(WRAPPERS[family])
        run(setup, server)
        assert everyone(setup, server) and server.requests == QUESTIONS


def test_two_different_objects_in_one_are_none(setup):
    with Loopback() as server:
        server.answer = lambda number, payload: (
            saying(json.dumps({"a": json.loads(DRAFT), "b": json.loads(good(payload))}), payload) if number == 0 else None
        )
        run(setup, server, concurrency=1)
        assert "exactly one" in server.payloads[1]["messages"][-1]["content"] and server.requests == QUESTIONS + 1
        assert everyone(setup, server)


def test_a_function_call_is_an_answer(setup):
    with Loopback() as server:
        server.answer = lambda number, payload: saying(
            None, payload, "tool_calls", tool_calls=[{"function": {"name": "f", "arguments": good(payload)}}]
        )
        run(setup, server)
        assert everyone(setup, server) and server.requests == QUESTIONS


# --- hidden thinking -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", ["", "<think>I am thinking"])
def test_an_unknown_model_that_thinks_unseen_gets_room_after_one_answer(setup, caplog, shown):
    with Loopback() as server:
        server.answer = thinking_unseen(2000, shown)
        run(setup, server, concurrency=8)
        assert server.requests == QUESTIONS + 1, "one answer was wasted"
        assert [payload["max_tokens"] for payload in server.payloads][:2] == [700, 700 + 4096]
        assert everyone(setup, server)
    assert caplog.text.count("--max-reasoning-tokens") == 1 and "4,796" in caplog.text
    assert setup.store.manifest["usage"]["test-model"]["requests"] == QUESTIONS + 1


@pytest.mark.parametrize("name", ["gpt-5-mini", "o4-mini", "openai/o3", "Qwen/Qwen3-8B", "deepseek-reasoner", "x/gpt-oss-20b"])
def test_models_that_are_known_to_think_get_room_at_once(setup, name):
    with Loopback() as server:
        server.answer = thinking_unseen(2000)
        run(setup, server, name)
        assert server.requests == QUESTIONS and everyone(setup, server)
        assert all(payload["reasoning_effort"] in ("minimal", "low") for payload in server.payloads)


def test_an_effort_that_a_server_does_not_know_is_said_otherwise(setup):
    def plan(number, payload):
        if payload.get("reasoning_effort") == "minimal":
            return refusal("Unsupported value: 'reasoning_effort' does not support 'minimal'.", param="reasoning_effort")
        return None

    with Loopback() as server:
        server.answer = plan
        run(setup, server, "gpt-5.1")
        assert server.requests == QUESTIONS + 1 and {p["reasoning_effort"] for p in server.payloads[1:]} == {"low"}
        server.answer = lambda number, payload: refusal("what is reasoning_effort?") if "reasoning_effort" in payload else None
        run(setup, server, "qwq-32b")
        assert "reasoning_effort" not in server.payloads[-1]


def test_a_model_that_thinks_beyond_its_room_ends_the_run_and_names_the_options(setup):
    with Loopback() as server:
        server.answer = thinking_unseen(10**6)
        with pytest.raises(FatalError, match="--max-reasoning-tokens.*--request-field.*test-model"):
            run(setup, server, concurrency=8)
        assert server.requests == 2
    assert setup.listed() == [] and stored(setup) == {}
    assert setup.store.manifest["usage"]["test-model"]["requests"] == 2, "what it cost is counted"


def test_no_room_means_no_room(setup):
    with Loopback() as server:
        server.answer = thinking_unseen(2000)
        with pytest.raises(FatalError, match="--max-reasoning-tokens"):
            run(setup, server, room=0)
        assert {payload["max_tokens"] for payload in server.payloads} == {700}


def test_a_room_that_the_server_does_not_have_is_made_smaller(setup):
    def plan(number, payload):
        most = payload["max_tokens"]
        if most > 3000:
            return refusal(f"max_tokens is too large: {most}. This model supports at most 3000 tokens.", param="max_tokens")
        return thinking_unseen(2000)(number, payload)

    with Loopback() as server:
        server.answer = plan
        run(setup, server)
        assert everyone(setup, server) and server.payloads[-1]["max_tokens"] <= 3000
        assert server.requests <= QUESTIONS + 4


# --- answers that are none -----------------------------------------------------------------------------------------

NONE = {
    "reasoning alone": (lambda p: saying(None, p, reasoning_content=THOUGHT), "reasoning parser"),
    "reasoning alone, newer name": (lambda p: saying(None, p, reasoning=THOUGHT), "reasoning parser"),
    "refusal": (lambda p: saying(None, p, refusal="I will not describe this."), "I will not describe this"),
    "filter": (lambda p: saying("", p, "content_filter"), "content filter"),
}


@pytest.mark.parametrize("family", NONE)
def test_what_cannot_be_helped_is_named_and_not_bought_again(setup, family):
    make, said = NONE[family]
    with Loopback() as server:
        server.answer = lambda number, payload: make(payload) if "Film 3" in payload["messages"][1]["content"][:40] else None
        run(setup, server)
        assert server.requests == QUESTIONS
        failure = json.loads((setup.store.folder / "failures.jsonl").read_text().splitlines()[0])
        assert said in failure["reason"] and failure["token"] == "i3"
        run(setup, server)
        assert server.requests == QUESTIONS, "nor in a later run"


def test_a_server_that_calls_every_answer_reasoning_ends_the_run_after_one(setup):
    with Loopback() as server:
        server.answer = lambda number, payload: saying(None, payload, reasoning_content=THOUGHT)
        with pytest.raises(FatalError, match="reasoning parser.*enable_thinking"):
            run(setup, server, concurrency=8)
        assert server.requests == 1
    assert setup.listed() == []


def test_an_answer_that_the_server_filed_as_reasoning_is_an_answer(setup):
    with Loopback() as server:
        server.answer = lambda number, payload: saying(None, payload, reasoning_content=f"\n{good(payload)}\n")
        run(setup, server)
        assert everyone(setup, server) and server.requests == QUESTIONS


PARTS = {
    "text": lambda text: [{"type": "text", "text": text}],
    "thinking and text": lambda text: [
        {"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}]},
        {"type": "text", "text": text},
    ],
    "strings": lambda text: [text[:20], text[20:]],
    "output_text": lambda text: [{"type": "output_text", "text": text[:9]}, {"type": "output_text", "text": text[9:]}],
    "one part": lambda text: {"type": "text", "text": text},
}


@pytest.mark.parametrize("family", PARTS)
def test_content_in_parts(setup, family):
    with Loopback() as server:
        server.answer = lambda number, payload: saying(PARTS[family](good(payload)), payload)
        run(setup, server)
        assert everyone(setup, server) and server.requests == QUESTIONS


# --- what servers refuse or demand ---------------------------------------------------------------------------------

SYSTEM = [
    refusal("System role not supported"),
    refusal("Unsupported value: 'messages[0].role' does not support 'system' with this model.", param="messages[0].role"),
    refusal("Developer instruction is not enabled for models/gemma-3-27b-it"),
    refusal("Conversation roles must alternate user/assistant/user/assistant/..."),
    refusal("Only user and assistant roles are supported!", 422),
    (500, {"error": "jinja2.exceptions.TemplateError: System role not supported"}),
]


@pytest.mark.parametrize("error", SYSTEM)
def test_a_model_without_a_system_role_gets_the_instructions_with_the_question(setup, error):
    with Loopback() as server:
        server.answer = lambda number, payload: (
            error if payload["messages"][0]["role"] == "system" else saying(json.dumps(ANSWER), payload)
        )
        run(setup, server, concurrency=8)
        assert server.requests == QUESTIONS + 1, "one refusal, and never again"
        message = server.payloads[-1]["messages"][0]
        assert message["role"] == "user" and "<data>" in message["content"] and message["content"].startswith("You help")
    assert len(stored(setup)) == QUESTIONS


@pytest.mark.parametrize("shape", [lambda p: p["messages"][0]["role"] == "system", lambda p: "response_format" in p])
def test_a_server_that_breaks_without_a_word_gets_a_plain_request(setup, shape):
    with Loopback() as server:
        server.answer = lambda number, payload: (
            (500, b"Internal Server Error") if shape(payload) else saying(json.dumps(ANSWER), payload)
        )
        run(setup, server, concurrency=8)
        assert server.requests == QUESTIONS + 3
    assert len(stored(setup)) == QUESTIONS


def test_a_server_that_is_broken_for_a_while_gets_the_usual_request_again(setup):
    with Loopback(lambda number, payload: "500" if number < 8 else None) as server:
        run(setup, server)
        assert everyone(setup, server)
        assert ["response_format" in payload for payload in server.payloads[:9]] == [True] * 3 + [False] * 3 + [True] * 3


ANSWER = {"summarization": "Suits those who like what it offers, each in their own way.", "reasoning": "The data."}


def without(*names: str, words: str = "Unrecognized request argument supplied: {}", **more):
    """A server that does not know some fields."""

    def plan(number, payload):
        known = [name for name in names if name in payload]
        return refusal(words.format(known[0]), **{**more, "param": more.get("param", "").format(known[0])}) if known else None

    return plan


def demanding(name: str, value, words: str):
    """A server that wants a field to have a value."""
    return lambda number, payload: None if payload.get(name) == value else refusal(words)


OPTIONS = {
    "temperature": (without("temperature"), lambda p: "temperature" not in p),
    "temperature by value": (
        without("temperature", words="Only the default (1) value is supported.", param="{}"),
        lambda p: "temperature" not in p,
    ),
    "temperature above zero": (
        lambda n, p: refusal("`temperature` must be strictly positive", 422) if p.get("temperature") == 0 else None,
        lambda p: 0 < p["temperature"] < 0.1,
    ),
    "new name of the limit": (
        without("max_tokens", words="'{}' is not supported with this model, use 'max_completion_tokens' instead."),
        lambda p: p["max_completion_tokens"] == 700 and "max_tokens" not in p,
    ),
    "forms": (without("response_format"), lambda p: "response_format" not in p),
    "extra inputs": (
        without("response_format", "temperature", words="[{{'loc': ('body', '{}'), 'msg': 'Extra inputs are not permitted'}}]"),
        lambda p: set(p) == {"model", "messages", "max_tokens"},
    ),
    "no schema": (
        lambda n, p: (
            refusal("This response_format type is unavailable now")
            if p.get("response_format", {}).get("type") == "json_schema"
            else None
        ),
        lambda p: p["response_format"] == {"type": "json_object"},
    ),
    "no schema, not implemented": (
        lambda n, p: (
            (501, {"error": "json_schema: not implemented"})
            if p.get("response_format", {}).get("type") == "json_schema"
            else None
        ),
        lambda p: p["response_format"] == {"type": "json_object"},
    ),
    "thinking switched off": (
        demanding("enable_thinking", False, "parameter.enable_thinking must be set to false for non-streaming calls"),
        lambda p: p["enable_thinking"] is False and "stream" not in p,
    ),
}


@pytest.mark.parametrize("family", OPTIONS)
def test_what_a_server_refuses_is_changed_by_what_it_names(setup, family):
    plan, expected = OPTIONS[family]
    with Loopback() as server:
        server.answer = plan
        run(setup, server, concurrency=8, schema={"type": "object"})
        assert everyone(setup, server)
        assert expected(server.payloads[-1])
        assert server.requests <= QUESTIONS + 4, "refusals cost nothing, but they are few"


def test_a_server_that_knows_only_the_old_name_of_the_limit(setup):
    with Loopback() as server:
        server.answer = without("max_completion_tokens")
        run(setup, server, "gpt-5-mini")
        assert everyone(setup, server) and server.payloads[-1]["max_tokens"] == 700 + 4096


def test_a_request_without_a_limit_is_never_sent(setup):
    with Loopback() as server:
        server.answer = without("max_completion_tokens", "max_tokens")
        with pytest.raises(FatalError, match="max_completion_tokens"):
            run(setup, server)
        assert all({"max_completion_tokens", "max_tokens"} & set(payload) for payload in server.payloads)


STREAMS = [
    {},
    {"usage": False},
    {"done": False},
    {"pieces": 1},
    {"pieces": 50, "head": ": OPENROUTER PROCESSING\n\n"},
    {"head": "event: message\n"},
]


@pytest.mark.parametrize("options", STREAMS)
def test_a_server_that_streams_is_read(setup, options):
    with Loopback() as server:
        server.answer = lambda number, payload: events(payload, **options)
        run(setup, server)
        assert everyone(setup, server) and server.requests == QUESTIONS
    assert setup.store.manifest["usage"]["test-model"]["completion_tokens"] > 0


@pytest.mark.parametrize("words", ["This model only support stream mode, please enable the parameter", "stream must be true"])
def test_a_server_that_only_streams_is_asked_to(setup, words):
    with Loopback() as server:
        server.answer = lambda number, payload: events(payload) if payload.get("stream") else refusal(words)
        run(setup, server)
        assert everyone(setup, server) and server.requests == QUESTIONS + 1
        assert server.payloads[-1]["stream_options"] == {"include_usage": True}


def test_a_stream_that_breaks_off_is_asked_for_again(setup):
    def plan(number, payload):
        status, body, headers = events(payload)
        return (status, body[: len(body) // 3], headers) if number % 3 == 0 else (status, body, headers)

    with Loopback() as server:
        server.answer = plan
        run(setup, server)
        assert everyone(setup, server)


def test_an_error_within_a_stream_is_an_error(setup):
    error = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
    with Loopback() as server:
        server.answer = lambda n, p: (200, error, {"Content-Type": "text/event-stream"}) if n == 0 else None
        run(setup, server)
        assert everyone(setup, server) and server.requests == QUESTIONS + 1


def test_json_that_the_server_itself_finds_wanting_is_a_bad_answer(setup):
    def plan(number, payload):
        if number == 0:
            more = {"code": "json_validate_failed", "failed_generation": '{"summarization": "half'}
            return refusal("Failed to generate JSON. Please adjust your prompt. See 'failed_generation'.", **more)
        return None

    with Loopback() as server:
        server.answer = plan
        run(setup, server, concurrency=1)
        assert everyone(setup, server) and server.requests == QUESTIONS + 1
        assert server.payloads[1]["messages"][2]["content"].startswith('{"summarization": "half')
    assert setup.listed() == []


# --- further fields ------------------------------------------------------------------------------------------------


def test_fields_of_ones_own_reach_the_server_and_the_key(setup):
    fields = read_fields(["top_p=0.9", 'chat_template_kwargs={"enable_thinking": false}', "temperature=null", 'user="me"'])
    with Loopback() as server:
        run(setup, server, fields=fields)
        sent = server.payloads[-1]
        assert (sent["top_p"], sent["user"], sent["chat_template_kwargs"]) == (0.9, "me", {"enable_thinking": False})
        assert "temperature" not in sent
        run(setup, server)
        assert server.requests == 2 * QUESTIONS, "another field, another answer"
        run(setup, server)
        assert server.requests == 2 * QUESTIONS


def test_a_field_of_ones_own_is_never_dropped(setup):
    with Loopback() as server:
        server.answer = without("top_p", "temperature")
        with pytest.raises(FatalError, match="--request-field top_p"):
            run(setup, server, fields={"top_p": 0.9})
        assert all(payload["top_p"] == 0.9 for payload in server.payloads)


# --- keys, models, addresses ---------------------------------------------------------------------------------------

WRONG = {
    "unknown model": refusal("Invalid model name passed in model=x. Call `/v1/models` to see them.", param="model", code="400"),
    "wrong key": refusal("Authentication Error, LiteLLM Virtual Key expected. Received=no, expected to start with 'sk-'."),
    "deployment": refusal("litellm.BadRequestError: You passed in model=x. There is no 'model_name' with this string"),
    "anything that is always said": refusal("Bad request 17: something is wrong with it (request id 8a-11)"),
}


@pytest.mark.parametrize("family", WRONG)
def test_a_gateway_that_refuses_everything_ends_the_run_and_nothing_is_listed(tmp_path, monkeypatch, family):
    monkeypatch.setenv("MY_KEY", "sk-0123456789")
    setup = Setup(tmp_path / "tag", make_corpus(n_items=40))
    with Loopback() as server:
        server.answer = lambda number, payload: WRONG[family]
        with pytest.raises(FatalError, match=f"the model test-model, the address {re.escape(server.url)} and .* in MY_KEY"):
            run(setup, server, concurrency=8, key_name="MY_KEY")
        assert server.requests <= 2
        assert setup.listed() == [] and not (setup.store.folder / "failures.jsonl").exists()
        server.answer = lambda number, payload: None
        run(setup, server)
    assert len(setup.tokens("item")) == 40


def test_azure(setup, monkeypatch):
    monkeypatch.setenv("AZURE_KEY", "0123456789abcdef")
    with Loopback() as server:
        server.root = "/openai/deployments/my-gpt"
        assert everything_through(setup, server, "?api-version=2024-10-21", "AZURE_KEY")
        assert list(server.paths) == ["/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"]
        assert server.headers[-1]["api-key"] == "0123456789abcdef" and "Authorization" not in server.headers[-1]


def test_azure_of_the_newer_kind(setup, monkeypatch):
    monkeypatch.setenv("AZURE_KEY", "0123456789abcdef")
    with Loopback() as server:
        server.root = "/openai/v1"
        assert everything_through(setup, server, "/chat/completions?api-version=preview", "AZURE_KEY")
        assert list(server.paths) == ["/openai/v1/chat/completions?api-version=preview"]
        assert server.headers[-1]["Authorization"] == "Bearer 0123456789abcdef"


def everything_through(setup, server, ending: str, key_name: str) -> bool:
    from recbole_rlmrec.llm.models import get_chat_model

    setup.run(get_chat_model("test-model", server.url + ending, key_name))
    return everyone(setup, server)


# --- servers that come and go --------------------------------------------------------------------------------------


def test_a_server_that_is_away_for_a_while_costs_only_the_wait(tmp_path):
    import threading

    setup = Setup(tmp_path / "tag", make_corpus(n_users=30, n_items=30))
    with Loopback(delay=0.02) as server:
        away = threading.Thread(target=_away, args=(server, 20, 3.0))
        away.start()
        run(setup, server, concurrency=8)
        away.join()
        assert max(server.questions().values()) == 1
    for side in SIDES:
        assert len(setup.tokens(side)) == 30
    assert setup.listed() == []


def _away(server: Loopback, after: int, seconds: float) -> None:
    import time

    while server.requests < after:
        time.sleep(0.005)
    server.down()
    time.sleep(seconds)
    server.up()


def test_a_server_that_only_says_slow_down_ends_the_run_by_the_clock(setup):
    with Loopback(lambda number, payload: "429" if number >= 5 else None) as server:
        with pytest.raises(FatalError, match="no answer for 1 seconds.*5 were answered before"):
            setup.run(chat_of(server), patience=1.0)
    assert len(setup.tokens("item")) == 5 and setup.listed() == []
