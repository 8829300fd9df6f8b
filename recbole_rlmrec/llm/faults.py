"""Failures of a chat model or its server, sorted into what to do about each."""

from __future__ import annotations

import re

from recbole_rlmrec.errors import ChatError
from recbole_rlmrec.llm.secrets import scrub

NO_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "access_terminated"}
LATER = (408, 409, 425, 429)
"""Statuses below 500 after which the same request may succeed."""
_MISWRITTEN = {"json_validate_failed", "output_parse_failed", "tool_use_failed"}
_KEY_OR_MODEL = re.compile(
    r"api[ _-]?key|authenticat|unauthori[sz]ed|invalid model|unknown model|model[^.]{0,80}(not found|not exist|not available)",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"context.{0,9}(length|window|size)|too (long|large|many tokens)|prompt is too|maximum.{0,20}(length|tokens)|"
    r"exceed.{0,40}tokens|"
    r"content.?(filter|management|policy)|moderation|flagged|responsible.?ai|safety",
    re.IGNORECASE,
)
_FLAGGED = re.compile(r"moderation|flagged|content.?(filter|management)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARYING = re.compile(r"[0-9a-fA-F-]*\d[0-9a-fA-F-]*")


class Fault(ChatError):
    """Something that a server said in place of an answer.

    Attributes
    ----------
    status : int or None
        Of the HTTP response.
    said : str
        The server's own words.
    param : str
        The parameter that the server says is at fault.
    """

    def __init__(self, message: str, status: int | None = None, said: str = "", param: str = "") -> None:
        super().__init__(message)
        self.status, self.said, self.param = status, said or message, param

    @property
    def names(self) -> set[str]:
        """Words in what the server said that may be names of parameters, in lower case."""
        return {word.lower() for word in _WORD.findall(f"{self.param} {self.said}")}

    @property
    def kind(self) -> str:
        """What was said without what differs from question to question: numbers and ids."""
        return _VARYING.sub("#", self.said)


class RetryableError(Fault):
    """The same request may succeed later.

    Attributes
    ----------
    retry_after : float or None
        Seconds that the server asked to wait.
    rate_limited : bool
        The server is well and only wants fewer requests.
    away : bool
        Nobody was there to answer: no connection, or a gateway said so.
    """

    def __init__(
        self, message: str, retry_after: float | None = None, rate_limited: bool = False, away: bool = False, **said
    ) -> None:
        super().__init__(message, **said)
        self.retry_after, self.rate_limited, self.away = retry_after, rate_limited, away


class RefusedError(Fault):
    """The server will never accept this request; others may succeed."""

    @property
    def concerns_all(self) -> bool:
        """Whether it is the key or the model that the server does not know."""
        return not self.concerns_question and (self.param == "model" or bool(_KEY_OR_MODEL.search(self.said)))

    @property
    def concerns_question(self) -> bool:
        """Whether it is the length or the content of this very question."""
        return bool(_QUESTION.search(self.said))


class UnusableError(Fault):
    """The server has judged what the model wrote, and reports it as an error of the request.

    Attributes
    ----------
    written : str
        What the model wrote.
    """

    def __init__(self, message: str, written: str) -> None:
        super().__init__(message)
        self.written = written


class FatalError(Fault):
    """No request of this run can succeed."""


def clean(text: str, most: int = 300) -> str:
    """One printable line of at most ``most`` characters without keys, for messages."""
    line = " ".join("".join(c if c.isprintable() else " " for c in scrub(text)).split())
    return line if len(line) <= most else line[: most - 3] + "..."


def failed_generation(answer: dict) -> str | None:
    """What the model wrote where an error is about that (Groq's ``json_validate_failed``); None for any other error."""
    error = answer.get("error")
    if not isinstance(error, dict) or ("failed_generation" not in error and error.get("code") not in _MISWRITTEN):
        return None
    return str(error.get("failed_generation") or "")


def sort_error(status: int, answer: dict, host: str, key_name: str, wait: float | None = None) -> Fault:
    """What to do about an error that a server reported.

    Parameters
    ----------
    status : int
        Of the HTTP response, or the code in the body where an error came with status 200.
    answer : dict
        The body.
    host, key_name : str
        Who was asked, and the variable with the key.
    wait : float, optional
        Seconds that the server asks to wait.
    """
    error = answer.get("error") or answer.get("detail") or answer.get("message") or answer
    detail = error if isinstance(error, dict) else {"message": error}
    words = str(detail.get("message") or detail)
    where = f"{host} answered {status}: {clean(words)}"
    inner = detail.get("innererror") if isinstance(detail.get("innererror"), dict) else {}
    codes = {str(source.get(name)) for source in (detail, inner) for name in ("code", "type")}
    told = {"status": status, "said": clean(" ".join([words, *sorted(codes - {"None"})]), 2000)}
    told["param"] = str(detail.get("param") or "")
    if status == 402 or codes & NO_CREDIT:
        return FatalError(f"{where}. The account has no credit left; top it up and rerun the same command.", **told)
    if status == 403 and _FLAGGED.search(told["said"]):
        return RefusedError(where, **told)
    if status in (401, 403):
        hint = f"Check the key in {key_name}" if key_name else "Name the variable with the key by --api-key-env"
        return FatalError(f"{where}. {hint} and that the account may use this model.", **told)
    if status == 404:
        return FatalError(f"{where}. Check --base-url (it usually ends in /v1) and the name of the model.", **told)
    if status in LATER or status >= 500:
        return RetryableError(where, wait, status == 429, away=status in (502, 503, 504), **told)
    return RefusedError(where, **told)
