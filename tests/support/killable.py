"""One profiling job that a test starts in a process of its own and kills."""

from __future__ import annotations

from pathlib import Path

from films import Setup, chat_of, make_corpus


class Address:
    """Stands for a server of another process."""

    def __init__(self, url: str) -> None:
        self.url = url


def job(folder: str, url: str, n: int, concurrency: int) -> None:
    """Profile ``n`` items and ``n`` users."""
    Setup(Path(folder), make_corpus(n_users=n, n_items=n)).run(chat_of(Address(url)), concurrency=concurrency)
