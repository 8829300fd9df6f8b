"""OpenAI's Batch API: half the price, answers within a day.

Two rounds, items and then users. ``batch.json`` in the tag's folder says what is open; the files of each batch are in
``batch/`` until it is collected. Each step can be killed and repeated: nothing is submitted or stored twice.
"""

from __future__ import annotations

import re
import threading
from dataclasses import asdict
from functools import partial
from logging import getLogger
from pathlib import Path

from recbole_rlmrec.data.files import read_json, replacing, write_json
from recbole_rlmrec.data.profile import Profile
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.errors import ChatError, ConfigError, StoreError
from recbole_rlmrec.llm.cost import BATCH, BudgetReached, Meter, Usage
from recbole_rlmrec.llm.faults import RefusedError, clean
from recbole_rlmrec.llm.models import described
from recbole_rlmrec.llm.openai_compatible import OpenAIChat
from recbole_rlmrec.llm.patience import Pace
from recbole_rlmrec.profiling.answers import BadAnswer, read_answer, tidy
from recbole_rlmrec.profiling.batch_files import Asked, Batch, BatchWriter, Lines, NotAsked, numbered_lines, read_reply
from recbole_rlmrec.profiling.questions import QUOTED_ANSWER, SIDES, Questions
from recbole_rlmrec.profiling.stored import SEVERAL, Failure, Stored

MOST_REQUESTS = 50_000
ENDED = ("completed", "expired", "cancelled", "failed")
MARK = "recbole_rlmrec"

logger = getLogger()


class Batches:
    """The batches of a tag; the caller holds the tag's lock.

    Parameters
    ----------
    store : ProfileStore
    chat : OpenAIChat
    most_requests : int
        Requests in one batch.
    pace : Pace, optional
        How long to wait for a server that does not answer.

    Attributes
    ----------
    open : list of Batch
        What has not been collected.
    used : Usage
        Of the answers that were collected.

    Raises
    ------
    ConfigError
        The chat model is not behind an OpenAI-compatible server.
    """

    def __init__(
        self, store: ProfileStore, chat: OpenAIChat, most_requests: int = MOST_REQUESTS, pace: Pace | None = None
    ) -> None:
        if not isinstance(chat, OpenAIChat):
            raise ConfigError("--batch needs a server with OpenAI's Batch API, not a local model.")
        self._store = store
        self._chat = chat
        self._most_requests = most_requests
        self._folder = store.folder / "batch"
        self._state = store.folder / "batch.json"
        self._patience = (pace or Pace()).begin(threading.Event(), described(chat))
        self.open: list[Batch] = self._load()
        self.used = Usage()

    def submit(self, questions: Questions, meter: Meter, max_tokens: int) -> str:
        """Submit the questions of the present round: all open ones of items or, when there are none, of users.

        Returns
        -------
        str
            What was done, one sentence.

        Raises
        ------
        ChatError
            The server refuses; repeat the command when that is mended.
        """
        if self.open and all(batch.batch_id for batch in self.open):
            return f"{len(self.open)} batches are open; --batch status shows them, --batch collect fetches what has ended."
        note = "" if self.open else self._prepare(questions, meter, max_tokens)
        unsent = [batch for batch in self.open if not batch.batch_id]
        for batch in unsent:
            self._send(batch)
        if not unsent:
            return note or "Nothing is left to ask."
        requests = sum(batch.requests for batch in unsent)
        return f"{requests} questions about {unsent[0].side}s were submitted in {len(unsent)} batches. {note}".strip()

    def refresh(self) -> None:
        """Ask the server how the open batches stand."""
        for batch in self.open:
            if batch.batch_id and batch.status not in ENDED:
                self._note(batch, self._get(f"batches/{batch.batch_id}"))
        self._save()

    def collect(self, questions: Questions) -> list[Batch]:
        """Store the answers of all batches that have ended, whole or in part; returns those batches."""
        self.refresh()
        ended = [batch for batch in self.open if batch.status in ENDED]
        for batch in ended:
            answer = self._get(f"batches/{batch.batch_id}")
            self._fetch(batch, answer)
            self._store_answers(batch, questions)
            self.open.remove(batch)
            self._save()
            for file in self._folder.glob(f"{batch.name}.*"):
                file.unlink()
        return ended

    def _load(self) -> list[Batch]:
        if not self._state.exists():
            return []
        try:
            content = read_json(self._state, StoreError, "delete it if no batch is open")
            return [Batch(**record) for record in content["batches"]]
        except (TypeError, KeyError):
            raise StoreError(f"{self._state} is not as this version writes it; delete it if no batch is open.") from None

    def _save(self) -> None:
        write_json(self._state, {"batches": [asdict(batch) for batch in self.open]})

    def _file(self, batch: Batch, kind: str) -> Path:
        return self._folder / f"{batch.name}.{kind}.jsonl"

    def _lines(self, batch: Batch, kind: str) -> Lines:
        file = self._file(batch, kind)
        if not file.exists():
            raise StoreError(f"{file} is missing, so nobody knows what the batch asked; delete {self._state} to ask again.")
        return Lines(file)

    def _prepare(self, questions: Questions, meter: Meter, max_tokens: int) -> str:
        """Write the files of the present round; returns why it is not whole, or nothing."""
        for stray in self._folder.glob("*"):
            stray.unlink()
        for side in SIDES:
            stored = questions.stored(side)
            items = questions.stored("item") if side == "user" else None
            pending = questions.pending(side, stored, items.text if items else None)
            writer = BatchWriter(self._folder, side, self._most_requests)
            note = ""
            try:
                for question in pending:
                    meter.reserve(question.tokens, max_tokens)
                    writer.add(question, self._chat.payload(question.messages(), with_schema=False))
            except BudgetReached as reason:
                note = f"The budget leaves out the rest: {reason}."
            finally:
                writer.close()
            self.open = writer.batches
            self._save()
            if self.open or note:
                return note
        return ""

    def _send(self, batch: Batch) -> None:
        file = self._file(batch, "input")
        if not batch.file_id:
            answer = self._call(lambda: self._chat.endpoint.upload("files", file, "batch"))
            batch.file_id = _identifier(answer, "id")
            self._save()
        if not batch.batch_id:
            answer = self._call(lambda: self._find(batch) or self._create(batch))
            batch.batch_id = _identifier(answer, "id")
            self._note(batch, answer)
            self._save()

    def _create(self, batch: Batch) -> dict:
        payload = {
            "input_file_id": batch.file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {MARK: batch.name},
        }
        return self._chat.endpoint.post("batches", payload)

    def _find(self, batch: Batch) -> dict | None:
        """The batch on the server, where an earlier try got so far."""
        listed = self._chat.endpoint.get("batches?limit=100").get("data")
        for entry in listed if isinstance(listed, list) else []:
            if isinstance(entry, dict) and (entry.get("metadata") or {}).get(MARK) == batch.name:
                return entry
        return None

    def _note(self, batch: Batch, answer: dict) -> None:
        counts = answer.get("request_counts") or {}
        batch.status = str(answer.get("status") or batch.status)
        batch.done, batch.failed = (int(counts.get(name) or 0) for name in ("completed", "failed"))
        errors = (answer.get("errors") or {}).get("data") or []
        batch.errors = [clean(str(error.get("message")), 200) for error in errors[:3] if isinstance(error, dict)]

    def _fetch(self, batch: Batch, answer: dict) -> None:
        for kind in ("output", "error"):
            if answer.get(f"{kind}_file_id"):
                path = f"files/{_identifier(answer, f'{kind}_file_id')}/content"
                with replacing(self._file(batch, kind)) as temporary:
                    self._call(partial(self._chat.endpoint.download, path, temporary))

    def _store_answers(self, batch: Batch, questions: Questions) -> None:
        stored = questions.stored(batch.side)
        place = {token: position for position, token in enumerate(questions.tokens(batch.side))}
        asked, inputs = (self._lines(batch, kind) for kind in ("asked", "input"))
        with self._store.appender(batch.side) as appender:
            for kind in ("output", "error"):
                for number, answer in numbered_lines(self._file(batch, kind)):
                    if number < len(asked):
                        record = Asked(batch.side, asked[number], inputs[number])
                        if not _is_stored(stored, place.get(record.prompt.token), record.key):
                            self._store_answer(record, answer, appender, questions)
        questions.failures.flush()

    def _store_answer(self, asked: Asked, line: dict, appender, questions: Questions) -> None:
        usage, model = Usage(), asked.model + BATCH
        before, token = asked.attempts, asked.prompt.token
        try:
            reply = read_reply(line)
            usage = Usage(1, reply.prompt_tokens or asked.prompt.tokens, reply.completion_tokens or len(reply.text) // 4)
            self.used.add(usage)
            if reply.problem:
                raise BadAnswer(reply.problem)
            if reply.finish == "length":
                raise BadAnswer("The answer was cut off (--max-answer-tokens, --max-reasoning-tokens).")
            answer = read_answer(reply.text, asked.prompt)
        except NotAsked:
            return
        except BadAnswer as reason:
            what = ("answer", str(reason), before + 1, asked.key, model, usage.as_dict(), tidy(reply.text)[:QUOTED_ANSWER])
            _list(Failure(asked.prompt.side, token, *what), questions)
        except ChatError as error:
            kind = "refused" if isinstance(error, RefusedError) else "server"
            what = (kind, str(error), before + 1, asked.key, model, usage.as_dict())
            _list(Failure(asked.prompt.side, token, *what), questions)
        else:
            extra = {"key": asked.key, "model": model, "usage": usage.as_dict(), **({SEVERAL: True} if answer.several else {})}
            pairs, times = list(asked.prompt.pairs), list(asked.prompt.times) or None
            appender.append(Profile(token, answer.summary, answer.reasoning, pairs, extra, times))
            questions.failures.discard(asked.prompt.side, token)

    def _get(self, path: str) -> dict:
        return self._call(lambda: self._chat.endpoint.get(path))

    def _call(self, send):
        return self._patience.call(send)


def _is_stored(stored: Stored, position: int | None, key: str) -> bool:
    return position is not None and stored.has(position, key)


def _list(failure: Failure, questions: Questions) -> None:
    """List a failure, but for one that a killed collection has listed: its cost would count twice."""
    if questions.failures.get(failure.side, failure.token) != failure:
        questions.failures.add(failure)


def _identifier(answer: dict, name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", value):
        raise ChatError(f"The server's answer has no {name!r}; it does not speak OpenAI's Batch API.")
    return value
