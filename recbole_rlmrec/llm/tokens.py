"""How many tokens a text is, and texts cut to a number of tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from logging import getLogger

ASCII_PER_TOKEN = 4.0
TOKENS_PER_OTHER = 0.8
MESSAGE_TOKENS = 4
UNSPACED = re.compile("[\u0e00-\u109f\u2e80-\ua4cf\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
"""Characters of scripts that are written without spaces between words: Thai to Burmese, Chinese, Japanese."""

logger = getLogger()


class TokenCounter:
    """Counts with tiktoken where it is installed and knows the model, and estimates otherwise.

    The estimate is a token for 4 ASCII characters and 0.8 tokens for any other character.

    Attributes
    ----------
    exact : bool
    how : str
        One phrase for reports.
    """

    def __init__(self, model: str) -> None:
        self._encoding = _encoding(model)
        self.exact = self._encoding is not None
        self.how = f"counted by tiktoken for {model}" if self.exact else "estimated (4 characters a token)"

    def count(self, text: str) -> int:
        """Tokens of one text."""
        if self._encoding is not None:
            return len(self._encoding.encode(text, disallowed_special=()))
        ascii_characters = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
        return round(ascii_characters / ASCII_PER_TOKEN + (len(text) - ascii_characters) * TOKENS_PER_OTHER + 0.49)

    def count_messages(self, texts: Sequence[str]) -> int:
        """Tokens of a conversation, with what the roles cost."""
        return sum(self.count(text) + MESSAGE_TOKENS for text in texts)


def _encoding(model: str):
    try:
        import tiktoken

        return tiktoken.encoding_for_model(model)
    except ImportError:
        return None
    except Exception as error:  # unknown model, or its vocabulary cannot be downloaded
        logger.debug(f"tiktoken cannot count for {model}: {type(error).__name__}")
        return None


def cut(text: str, most: int, counter: TokenCounter) -> str:
    """The beginning of ``text`` that is at most ``most`` tokens, ending between words.

    Scripts that are written without spaces are cut between characters. Nothing is left when the first word is too long.
    """
    tokens = counter.count(text)
    length = len(text)
    while tokens > most:
        length = min(int(length * most / tokens), length - 1)
        length = _word_end(text, length)
        text = text[:length].rstrip()
        length = len(text)
        tokens = counter.count(text) if text else 0
    return text


def _word_end(text: str, end: int) -> int:
    while end > 0 and _joined(text[end - 1], text[end]):
        end -= 1
    return end


def _joined(left: str, right: str) -> bool:
    if left.isspace() or right.isspace():
        return False
    return not (UNSPACED.match(left) and UNSPACED.match(right))
