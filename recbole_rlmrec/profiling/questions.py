"""Which questions of a tag are still to be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.llm.chat import ChatModel
from recbole_rlmrec.llm.prompt import Prompt
from recbole_rlmrec.profiling.build import PromptBuilder
from recbole_rlmrec.profiling.stored import Failure, Failures, Stored

SIDES = ("item", "user")
QUOTED_ANSWER = 1000


@dataclass(frozen=True)
class Question:
    """A prompt and the key of its answer; the listed failure where the very same question failed before."""

    prompt: Prompt
    key: str
    before: Failure | None = None

    def messages(self) -> list[dict[str, str]]:
        """The conversation, with the last unusable answer and what is wrong with it where there is one."""
        messages = self.prompt.messages()
        if self._corrected:
            messages += correction(self.before.answer, self.before.reason)
        return messages

    @property
    def tokens(self) -> int:
        """Estimated tokens of the conversation."""
        return self.prompt.tokens + (len(self.before.answer) // 3 + 50 if self._corrected else 0)

    @property
    def _corrected(self) -> bool:
        """Whether the model is told of its last answer: not where the server refused, whose reason is no model's business."""
        return self.before is not None and self.before.kind == "answer" and bool(self.before.answer)


@dataclass
class Tally:
    """Of one side: passed over because they are stored, failed before, have no text, or were not chosen."""

    stored: int = 0
    failed_before: int = 0
    textless: int = 0
    left_out: int = 0

    @property
    def passed(self) -> int:
        """All that need no question."""
        return self.stored + self.failed_before + self.textless + self.left_out


def correction(answer: str, reason: str) -> list[dict[str, str]]:
    """What is said to a model whose answer could not be used."""
    request = f"This answer cannot be used: {reason} Answer again with the JSON object only, as instructed."
    return [{"role": "assistant", "content": answer[:QUOTED_ANSWER]}, {"role": "user", "content": request}]


class Questions:
    """The questions of a tag, side by side: items first, for the users' quote the items' profiles.

    Parameters
    ----------
    builder : PromptBuilder
    store : ProfileStore
    failures : Failures
    chat : ChatModel
        Its name and parameters are part of the keys.
    retry_failed : bool
        Ask just for what failed before. Otherwise a question that the server refused, or that the model answered
        unusably ``max_attempts`` times, is not asked again; one that got no answer is.
    max_attempts : int
    chosen : dict of str to set of int, optional
        Positions by side, where not all are to be asked about.
    """

    def __init__(
        self,
        builder: PromptBuilder,
        store: ProfileStore,
        failures: Failures,
        chat: ChatModel,
        retry_failed: bool = False,
        max_attempts: int = 1,
        chosen: dict[str, set[int]] | None = None,
    ) -> None:
        self.builder = builder
        self.failures = failures
        self._store = store
        self._model, self._parameters = chat.name, chat.parameters()
        self._retry_failed = retry_failed
        self._max_attempts = max_attempts
        self._chosen = chosen
        self.tally = {side: Tally() for side in SIDES}

    def tokens(self, side: str):
        """Tokens of the run's items or users."""
        return self.builder.items if side == "item" else self.builder.users

    def stored(self, side: str) -> Stored:
        """What the store holds of a side at this moment."""
        return Stored(self._store, side, self.tokens(side))

    def pending(
        self,
        side: str,
        stored: Stored,
        profile_of: Callable[[int], str | None] | None = None,
        positions: Iterable[int] | None = None,
    ) -> Iterator[Question]:
        """Questions of a side whose answers are not stored, in the order of the tokens.

        Parameters
        ----------
        side : str
        stored : Stored
            Of this side.
        profile_of : callable, optional
            Profile of the item at a position; for users.
        positions : iterable of int, optional
            Those to look at, in place of all.
        """
        tally, tokens = Tally(), self.tokens(side)
        self.tally[side] = tally
        for position in range(len(tokens)) if positions is None else positions:
            token = tokens[position]
            if self._chosen is not None and position not in self._chosen[side]:
                tally.left_out += 1
                continue
            if self._retry_failed and self.failures.get(side, token) is None:
                tally.stored += stored.covered(position)
                continue
            question = self.question(side, position, profile_of)
            if question is None:
                tally.textless += 1
                self.failures.discard(side, token)
            elif stored.has(position, question.key):
                tally.stored += 1
                self.failures.discard(side, token)
            elif question.before is not None and not self._retry_failed and self._given_up(question.before):
                tally.failed_before += 1
            else:
                yield question

    def groups(self, side: str, stored: Stored, described: np.ndarray | None = None) -> tuple[list[np.ndarray], Tally]:
        """Positions that may have an open question, and the tally of all others, without a look at one question.

        Parameters
        ----------
        side : str
        stored : Stored
            Of this side.
        described : bool [items], optional
            Items that have a profile or will get one; for users.

        Returns
        -------
        groups : list of int64 arrays
            Those that were never asked about, and those whose stored or failed question may be another one now.
        tally : Tally
        """
        size = len(self.tokens(side))
        chosen, failed = np.ones(size, dtype=bool), np.zeros(size, dtype=bool)
        if self._chosen is not None:
            chosen[:] = False
            chosen[list(self._chosen[side])] = True
        listed = self.failures.tokens(side)
        if listed:
            failed[[position for position, token in enumerate(self.tokens(side)) if token in listed]] = True
        covered = stored.all_covered()
        if self._retry_failed:
            left = chosen & ~failed
            return [np.flatnonzero(chosen & failed)], Tally(stored=int((left & covered).sum()), left_out=int((~chosen).sum()))
        asked = chosen & self.builder.may_ask(side, described)
        tally = Tally(textless=int((chosen & ~asked).sum()), left_out=int((~chosen).sum()))
        return [np.flatnonzero(asked & ~covered & ~failed), np.flatnonzero(asked & (covered | failed))], tally

    def question(self, side: str, position: int, profile_of: Callable[[int], str | None] | None = None) -> Question | None:
        """The question about one item or user; None where nothing is known about it."""
        if side == "item":
            prompt = self.builder.item(position)
        else:
            prompt = self.builder.user(position, profile_of or (lambda _: None))
        if prompt is None:
            return None
        key = prompt.key(self._model, self._parameters)
        failure = self.failures.get(side, prompt.token)
        return Question(prompt, key, failure if failure is not None and failure.key == key else None)

    def _given_up(self, failure: Failure) -> bool:
        return failure.kind == "refused" or failure.attempts >= self._max_attempts
