"""A chat model that answers from templates, offline."""

from __future__ import annotations

import json
from collections.abc import Sequence

from recbole_rlmrec.llm.chat import TEMPLATE, Reply
from recbole_rlmrec.llm.prompt import unwrap


class TemplateChat:
    """Answers from the question's own data, offline and at once: for trying the commands without a model."""

    name = TEMPLATE
    parallel = False

    def parameters(self) -> dict:
        """See :class:`ChatModel`."""
        return {}

    def ask(self, messages: Sequence[dict[str, str]]) -> Reply:
        """See :class:`ChatModel`."""
        data = unwrap(next(message["content"] for message in messages if message["role"] == "user"))
        history = data.get("history")
        if history is None:
            texts = [value for name, value in data.items() if name != "reviews"] + data.get("reviews", [])
            summary = "For those who look for: " + "; ".join(texts)
        else:
            summary = "Chose: " + "; ".join(next(iter(entry.values())) for entry in history)
        words = summary.split()[:80]
        reasoning = "Put together from the data by a template; no language model wrote it."
        return Reply(json.dumps({"summarization": " ".join(words), "reasoning": reasoning}), 0, 0)
