"""Files of a batch: what is uploaded, what is remembered of it, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from logging import getLogger
from pathlib import Path

from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.errors import ChatError
from recbole_rlmrec.llm.chat import Reply
from recbole_rlmrec.llm.completion import read_completion
from recbole_rlmrec.llm.faults import RefusedError, clean
from recbole_rlmrec.llm.prompt import Prompt
from recbole_rlmrec.profiling.questions import Question

MOST_BYTES = 190_000_000

logger = getLogger()


@dataclass
class Batch:
    """One batch: what is known of it before and after the server knows it.

    Attributes
    ----------
    name : str
        Of its files, and its mark on the server.
    file_id, batch_id : str
        The server's; empty until it has them.
    status : str
        As the server last said it.
    done, failed : int
        Requests, likewise.
    """

    name: str
    side: str
    requests: int
    file_id: str = ""
    batch_id: str = ""
    status: str = "prepared"
    done: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        errors = f" ({'; '.join(self.errors)})" if self.errors else ""
        return f"{self.name}: {self.status}, {self.done} done and {self.failed} failed of {self.requests}{errors}"


class NotAsked(Exception):
    """The batch ended before this question's turn: it is open as before."""


class Asked:
    """What a line of a batch asked, from its two files.

    Attributes
    ----------
    prompt : Prompt
    key : str
        Of the answer.
    model : str
        Who was asked.
    attempts : int
        Answers to this question that could not be used before.
    """

    def __init__(self, side: str, asked: dict, sent: dict) -> None:
        system, user = (message["content"] for message in sent["body"]["messages"][:2])
        pairs = tuple((user_token, item_token) for user_token, item_token in asked["pairs"])
        times = tuple(asked.get("times", ()))
        self.prompt = Prompt(side, asked["token"], system, user, pairs, asked["max_words"], asked["tokens"], times)
        self.key: str = asked["key"]
        self.model: str = sent["body"]["model"]
        self.attempts: int = asked["attempts"]


class BatchWriter:
    """Puts questions into the files of as many batches as they need.

    ``NAME.input.jsonl`` is uploaded; ``NAME.asked.jsonl`` has on the same line what the server need not know.

    Parameters
    ----------
    folder : Path
    side : str
    most_requests : int
        Requests in one batch.

    Attributes
    ----------
    batches : list of Batch
    """

    def __init__(self, folder: Path, side: str, most_requests: int) -> None:
        self._folder = folder
        self._side = side
        self._most_requests = most_requests
        self._files: list = []
        self._stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
        self.batches: list[Batch] = []

    def add(self, question: Question, body: dict) -> None:
        """Write one question; ``body`` is its request."""
        if not self._files or self.batches[-1].requests >= self._most_requests or self._files[0].tell() > MOST_BYTES:
            self._begin()
        prompt, number = question.prompt, str(self.batches[-1].requests)
        line = {"custom_id": number, "method": "POST", "url": "/v1/chat/completions", "body": body}
        asked = {
            "token": prompt.token,
            "key": question.key,
            "pairs": prompt.pairs,
            "times": prompt.times,
            "max_words": prompt.max_words,
            "tokens": question.tokens,
            "attempts": question.before.attempts if question.before else 0,
        }
        for file, record in zip(self._files, (line, asked), strict=True):
            file.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self.batches[-1].requests += 1

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()
        self._files = []

    def _begin(self) -> None:
        self.close()
        self._folder.mkdir(exist_ok=True)
        batch = Batch(f"{self._side}-{self._stamp}-{len(self.batches)}", self._side, 0)
        self._files = [open(self._folder / f"{batch.name}.{kind}.jsonl", "wb") for kind in ("input", "asked")]
        self.batches.append(batch)


class Lines:
    """JSON lines of a file by number, without holding them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places = [0]
        with open(path, "rb") as file:
            for line in file:
                self._places.append(self._places[-1] + len(line))

    def __len__(self) -> int:
        return len(self._places) - 1

    def __getitem__(self, number: int) -> dict:
        with open(self._path, "rb") as file:
            file.seek(self._places[number])
            return parse_json(file.readline())


def numbered_lines(path: Path) -> Iterator[tuple[int, dict]]:
    """Lines of an output file with the numbers of their questions; what cannot be read is passed over."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        for line in file:
            try:
                answer = parse_json(line)
                number = int(answer["custom_id"])
            except (ValueError, KeyError, TypeError):
                logger.warning(f"{path.name} has a line that is no answer; its question stays open.")
                continue
            if number >= 0:
                yield number, answer


def read_reply(line: dict) -> Reply:
    """The reply in a line of an output or error file.

    Raises
    ------
    NotAsked
        The batch expired or was cancelled before.
    ChatError
        The server refused the request.
    """
    error, response = line.get("error") or {}, line.get("response") or {}
    if error.get("code") in ("batch_expired", "batch_cancelled"):
        raise NotAsked
    body = response.get("body") or {}
    if error or response.get("status_code") != 200:
        said = error.get("message") or (body.get("error") or {}).get("message") or "no answer"
        kind = RefusedError if response.get("status_code") in (400, 413, 422) else ChatError
        raise kind(f"The batch holds an error in place of the answer: {clean(str(said))}")
    return read_completion(body)
