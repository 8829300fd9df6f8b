"""A local transformers model, a tiny one with random weights that the test makes."""

from __future__ import annotations

import pytest
from films import Setup, make_corpus

from recbole_rlmrec.errors import ChatError
from recbole_rlmrec.llm.faults import FatalError, RefusedError
from recbole_rlmrec.llm.models import get_chat_model

transformers = pytest.importorskip("transformers")
WORDS = "you are given a film describe which viewers would enjoy it data json { } title".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers

    path = str(tmp_path_factory.mktemp("model"))
    vocabulary = {word: number for number, word in enumerate(["<unk>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>").save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=1024,
        eos_token_id=1,
        bos_token_id=None,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    return path


def test_it_answers_the_same_each_time(folder):
    chat = get_chat_model(f"transformers:{folder}", max_tokens=12)
    messages = [{"role": "system", "content": "describe a film"}, {"role": "user", "content": "{ title }"}]
    reply = chat.ask(messages)
    assert reply == chat.ask(messages)
    assert reply.prompt_tokens == 6 and 0 < reply.completion_tokens <= 12
    assert set(reply.text.split()) <= set(WORDS) | {"<unk>"}
    assert reply.finish == ("length" if reply.completion_tokens == 12 else "stop")
    assert not chat.parallel and chat.parameters() == {"temperature": 0.0, "max_tokens": 12}


def test_a_model_without_a_system_role_reads_it_with_the_question(folder):
    chat = get_chat_model(f"transformers:{folder}", max_tokens=4)
    chat._tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "[{{ m.role }}] {{ m.content }} {% endfor %}"
    )
    messages = [{"role": "system", "content": "describe"}, {"role": "user", "content": "film"}]
    assert chat._text(messages) == "[user] describe\n\nfilm "
    assert chat.ask([*messages, {"role": "assistant", "content": "x"}, {"role": "user", "content": "again"}]).prompt_tokens


def test_a_model_that_cannot_do_it_ends_with_a_list(folder, tmp_path):
    setup = Setup(tmp_path / "tag", make_corpus())
    chat = get_chat_model(f"transformers:{folder}", max_tokens=4)
    try:
        setup.run(chat, max_attempts=1)
    except FatalError as error:
        assert "in a row" in str(error)
    assert len(setup.listed()) == 14 and setup.tokens("item") == []


def test_questions_that_are_too_long_are_refused(folder):
    chat = get_chat_model(f"transformers:{folder}", max_tokens=1000)
    with pytest.raises(RefusedError, match="--max-prompt-tokens"):
        chat.ask([{"role": "user", "content": "film " * 100}])


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ChatError, match="cannot be loaded"):
        get_chat_model(f"transformers:{tmp_path}")
