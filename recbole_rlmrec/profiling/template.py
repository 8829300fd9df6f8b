"""Profiles put together from templates: no language model, no network, the same text every time.

What the texts say is in :mod:`recbole_rlmrec.profiling.sentences`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from logging import getLogger

from recbole_rlmrec.data.columns import Columns
from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.store import Profile
from recbole_rlmrec.profiling.sentences import item_texts, user_texts
from recbole_rlmrec.profiling.shared import Shared

logger = getLogger()


def build_template_profiles(corpus: Corpus, columns: Columns | None = None) -> tuple[Iterator[Profile], Iterator[Profile]]:
    """Make profiles of a corpus from templates, block by block as they are asked for.

    Parameters
    ----------
    corpus : Corpus
        The run's text and training interactions.
    columns : Columns, optional
        Roles of the columns; guessed where left out.

    Returns
    -------
    items, users : iterator of Profile
        By internal id; those about whom there is nothing to say are left out. ``pairs`` holds every interaction that a
        text was made from, counts included.

    Raises
    ------
    DataError
        The dataset has no text at all.
    """
    columns = columns or corpus.columns()
    corpus.require_text(columns)
    shared = Shared(corpus, columns)
    return _profiles(item_texts(shared)), _profiles(user_texts(shared))


def _profiles(texts: Iterable[tuple[str, str, list[tuple[str, str]]]]) -> Iterator[Profile]:
    return (Profile(token, text, pairs=pairs) for token, text, pairs in texts if text)
