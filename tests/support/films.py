"""A corpus of a few films and the objects around it, without RecBole."""

from __future__ import annotations

import pandas as pd

from recbole_rlmrec.data.atomic import FeatureType
from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.llm.cost import Meter, Usage, find_price
from recbole_rlmrec.llm.models import get_chat_model
from recbole_rlmrec.llm.patience import Pace
from recbole_rlmrec.llm.tokens import TokenCounter
from recbole_rlmrec.profiling.build import PromptBuilder, Sampling
from recbole_rlmrec.profiling.generate import generate_profiles
from recbole_rlmrec.profiling.prompts import load_domain
from recbole_rlmrec.profiling.questions import Questions
from recbole_rlmrec.profiling.stored import Failures
from recbole_rlmrec.profiling.tag import Tag, describe

DESCRIPTION = "A long and winding tale of {0}, told by those who were there and by those who were not, number {0}."
REVIEW = "I liked {0} a lot because it is number {0} and made me think of {1}."


def make_corpus(n_users: int = 6, n_items: int = 8, per_user: int = 5, reviews: bool = True) -> Corpus:
    """Half of the items have a description; every interaction has a rating and, if wanted, a review."""
    items = [f"i{i}" for i in range(n_items)]
    users = [f"u{u}" for u in range(n_users)]
    fields = pd.DataFrame(
        {
            "title": [f"Film {i}" for i in range(n_items)],
            "description": [DESCRIPTION.format(i) if i % 2 == 0 else "" for i in range(n_items)],
            "genre": ["comedy" if i % 3 else "drama" for i in range(n_items)],
        },
        index=pd.Index(items, name="item"),
        dtype=object,
    )
    rows = [(users[u], items[(3 * u + j) % n_items], u, j) for u in range(n_users) for j in range(min(per_user, n_items))]
    frame = pd.DataFrame(
        {
            "user": [row[0] for row in rows],
            "item": [row[1] for row in rows],
            "rating": [str(1 + (row[2] + row[3]) % 5) for row in rows],
            "review": [REVIEW.format(row[1], row[0]) if reviews else "" for row in rows],
        },
        dtype=object,
    )
    kinds = {name: FeatureType.TOKEN_SEQ for name in ("title", "description", "genre", "review")}
    kinds["rating"] = FeatureType.FLOAT
    return Corpus(fields, None, kinds, frame, users, items, "0" * 64, "films", rating_field="rating")


class Setup:
    """A tag, a corpus and what is needed to profile it; ``run`` does so as the command does."""

    def __init__(self, folder, corpus, **sampling) -> None:
        self.store = ProfileStore(folder)
        self.corpus = corpus
        self.domain = load_domain("movie")
        self.sampling = Sampling(2020, **sampling)

    def builder(self) -> PromptBuilder:
        return PromptBuilder(self.corpus, self.corpus.columns(), self.domain, TokenCounter("none"), self.sampling)

    def questions(self, chat, retry_failed: bool = False, max_attempts: int = 3) -> Questions:
        failures = Failures(self.store.folder)
        return Questions(self.builder(), self.store, failures, chat, retry_failed, max_attempts)

    def tag(self, chat) -> Tag:
        about = describe(self.corpus.dataset, "test", chat.name, self.corpus.split_hash, [], {})
        return Tag(self.store, about)

    def run(self, chat, retry_failed=False, concurrency=4, max_attempts=3, meter=None, max_tokens=300, **pace):
        pace = Pace(concurrency, max_attempts=max_attempts, first_wait=0.01, **pace)
        with self.store.locked():
            questions = self.questions(chat, retry_failed, max_attempts)
            tag = self.tag(chat)
            tag.begin()
            usage = Usage()
            try:
                self.ended = generate_profiles(
                    questions, self.store, chat, pace, meter or Meter(find_price(chat.name)), max_tokens, usage
                )
            finally:
                self.summaries = tag.finish(questions, usage)
        return questions

    def tokens(self, side: str) -> list[str]:
        """Tokens of all lines of a side, in the order of the file."""
        return [profile.token for profile in self.store.iter(side)]

    def listed(self) -> list[tuple[str, str]]:
        """(side, token) of all failures on disk."""
        return list(Failures(self.store.folder)._known)


def chat_of(server, name: str = "test-model", **options):
    """The chat model behind a loopback server."""
    return get_chat_model(name, server.url, **{"timeout": 30.0, **options})
