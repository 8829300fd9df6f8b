"""Instructions that encoders were trained with, by the name of the model: a user looks for items, as a query for passages."""

from __future__ import annotations

import re
from pathlib import PurePath

from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.encoding.base import TextEncoder

_TASK = "Given a description of what a user likes, retrieve descriptions of items that the user would choose"
_SEARCH = "Represent this sentence for searching relevant passages: "
_NONE = {"user": "", "item": ""}

# The first that fits the last part of the name, in lower case, counts.
INSTRUCTIONS: tuple[tuple[str, dict[str, str]], ...] = (
    (r"e5-mistral|e5-.*instruct", {"user": f"Instruct: {_TASK}\nQuery: ", "item": ""}),
    (r"(^|[-_])e5[-_]", {"user": "query: ", "item": "passage: "}),
    (
        r"bge-.*-zh",
        {
            "user": "\u4e3a\u8fd9\u4e2a\u53e5\u5b50\u751f\u6210\u8868\u793a\u4ee5\u7528\u4e8e\u68c0\u7d22"
            "\u76f8\u5173\u6587\u7ae0\uff1a",
            "item": "",
        },
    ),
    (r"bge-(small|base|large)-en", {"user": _SEARCH, "item": ""}),
    (r"qwen3-embedding", {"user": f"Instruct: {_TASK}\nQuery:", "item": ""}),
    (r"gte-qwen2?.*instruct|sfr-embedding|linq-embed", {"user": f"Instruct: {_TASK}\nQuery: ", "item": ""}),
    (
        r"^instructor-",
        {
            "user": "Represent the description of a user for retrieving items: ",
            "item": "Represent the description of an item for retrieval: ",
        },
    ),
    (r"nomic-embed-text", {"user": "search_query: ", "item": "search_document: "}),
    (r"mxbai-embed-large|snowflake-arctic-embed-(xs|s|m|l)(-v1|-long|$)", {"user": _SEARCH, "item": ""}),
    (r"snowflake-arctic-embed-.*v2", {"user": "query: ", "item": ""}),
    (r"embeddinggemma", {"user": "task: search result | query: ", "item": "title: none | text: "}),
)


def instructions(name: str) -> dict[str, str]:
    """What a model wants before each text of a user and of an item; empty texts for a model that is not known.

    Parameters
    ----------
    name : str
        Name on the hub or folder; its last part tells the model.

    Returns
    -------
    dict of str to str
        By side, ``user`` and ``item``.
    """
    last = PurePath(name.replace("\\", "/")).name.lower()
    return dict(next((found for pattern, found in INSTRUCTIONS if re.search(pattern, last)), _NONE))


class Instructed(TextEncoder):
    """An encoder that puts a text before those of a user or of an item: ``self._prompt``, for the side that is prepared."""

    def _instruct(self, name: str, prompt: str | dict[str, str] | None) -> None:
        """Take a prompt for both sides, one for each, or by default (None) the instructions of the model."""
        prompts = instructions(name) if prompt is None else prompt
        self._prompts = dict(prompts) if isinstance(prompts, dict) else dict.fromkeys(SIDES, prompts)
        self.sided = len(set(self._prompts.values())) > 1
        self.prepare("item")

    def prepare(self, side: str) -> None:
        """See :meth:`TextEncoder.prepare`."""
        self._prompt = self._prompts[side]

    def _told_prompt(self) -> str | dict[str, str]:
        """What a manifest says: the prompt, or that of each side."""
        return dict(self._prompts) if self.sided else self._prompt
