"""Chat models by name."""

from __future__ import annotations

from collections.abc import Mapping

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.chat import LOCAL_PREFIX, TEMPLATE, ChatModel
from recbole_rlmrec.llm.endpoint import OPENAI_KEY, OPENAI_URL, Endpoint
from recbole_rlmrec.llm.openai_compatible import OpenAIChat
from recbole_rlmrec.llm.reasoning import ROOM
from recbole_rlmrec.llm.template import TemplateChat


def get_chat_model(
    name: str,
    base_url: str | None = None,
    key_name: str | None = None,
    temperature: float = 0.0,
    max_tokens: int = 700,
    timeout: float = 120.0,
    connections: int = 8,
    *,
    room: int = ROOM,
    fields: Mapping | None = None,
    schema: dict | None = None,
) -> ChatModel:
    """The model of that name.

    Parameters
    ----------
    name : str
        A model of the server; ``transformers:FOLDER_OR_NAME`` for a local model; ``template`` for none.
    base_url : str, optional
        OpenAI's by default.
    key_name : str, optional
        Environment variable with the key. By default OPENAI_API_KEY for OpenAI's own address and none for any other.
    temperature, max_tokens, timeout, connections, room, fields, schema
        See :class:`OpenAIChat` and :class:`Endpoint`.

    Raises
    ------
    ConfigError
        No name; an unusable address; the variable is not set.
    """
    if not name:
        raise ConfigError("--chat-model needs a name, for example gpt-4o-mini.")
    if fields and (name == TEMPLATE or name.startswith(LOCAL_PREFIX)):
        raise ConfigError("--request-field is for servers; a local model takes none.")
    if name == TEMPLATE:
        return TemplateChat()
    if name.startswith(LOCAL_PREFIX):
        from recbole_rlmrec.llm.local import TransformersChat

        return TransformersChat(name.removeprefix(LOCAL_PREFIX), temperature, max_tokens)
    endpoint = get_endpoint(base_url, key_name, timeout, connections)
    return OpenAIChat(name, endpoint, temperature, max_tokens, room, fields, schema)


def get_endpoint(base_url: str | None, key_name: str | None, timeout: float = 120.0, connections: int = 8) -> Endpoint:
    """The server at ``base_url``; OpenAI's, with the key in OPENAI_API_KEY, by default."""
    url = (base_url or OPENAI_URL).rstrip("/")
    if key_name is None:
        key_name = OPENAI_KEY if url == OPENAI_URL else ""
    return Endpoint(url, key_name, timeout, connections)


def described(chat: ChatModel) -> str:
    """Model, address and key in words, for errors."""
    return chat.endpoint.describe(chat.name) if isinstance(chat, OpenAIChat) else f"the model {chat.name}"
