"""Synthetic data with text, of any size: users, items and words with the long tails of real ones.

    python benchmarks/synthetic_data.py dataset/shop --users=200000 --items=100000 --interactions=3000000

writes ``shop.inter`` (user, item, rating, time, with --reviews a review), ``shop.item`` (title, description, category, brand,
year) and ``shop.user`` (age, city) into the folder, whose name is that of the data set. The same seed gives the same files,
byte for byte. Written in blocks, so that the memory stays small.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

VOCABULARY = 30_000
BLOCK = 1 << 17
SYLLABLES = "ba ce di fo gu ha ki lo mu ne pa qui ro sa te vi wo xa yu zen tor mal rin ges pol".split()


def write_dataset(
    folder: Path,
    users: int,
    items: int,
    interactions: int,
    *,
    description_words: int = 60,
    review_words: int = 0,
    seed: int = 2026,
) -> Path:
    """Write a data set; every user has at least 3 interactions where there are so many, no pair comes twice.

    Parameters
    ----------
    folder : Path
        ``.../NAME``; the data set is called NAME.
    users, items, interactions : int
        Interactions that would be repeated are left out, so there are a little fewer.
    description_words, review_words : int
        Mean number of words; 0 for none.
    seed : int

    Returns
    -------
    Path
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    words = _vocabulary(rng)
    _write(folder / f"{folder.name}.item", _items(rng, words, items, description_words))
    _write(folder / f"{folder.name}.user", _users(rng, words, users))
    _write(folder / f"{folder.name}.inter", _interactions(rng, words, users, items, interactions, review_words))
    return folder


def _write(path: Path, blocks: Iterator[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(blocks)


def zipf(rng: np.random.Generator, n: int, size: int, exponent: float = 1.0) -> np.ndarray:
    """Numbers below ``n``, the first ones most often: the k-th with a weight of 1 / k ** exponent, int64 [size]."""
    weights = np.cumsum(np.arange(1, n + 1, dtype=np.float64) ** -exponent)
    return np.minimum(np.searchsorted(weights, rng.random(size) * weights[-1]), n - 1)


def _vocabulary(rng: np.random.Generator) -> np.ndarray:
    lengths = rng.integers(1, 5, VOCABULARY)
    syllables = rng.integers(0, len(SYLLABLES), lengths.sum())
    ends = np.cumsum(lengths)
    return np.array(["".join(SYLLABLES[s] for s in syllables[e - n : e]) for n, e in zip(lengths, ends)], dtype=object)


def _texts(rng: np.random.Generator, words: np.ndarray, count: int, mean: int, least: int = 1) -> list[str]:
    """So many texts of about ``mean`` words, their lengths spread as those of real ones."""
    lengths = np.maximum(rng.lognormal(np.log(mean), 0.5, count).astype(np.int64), least)
    drawn = words[zipf(rng, len(words), int(lengths.sum()))]
    ends = np.cumsum(lengths)
    return [" ".join(drawn[end - length : end]) for length, end in zip(lengths.tolist(), ends.tolist())]


def _items(rng: np.random.Generator, words: np.ndarray, items: int, description: int) -> Iterator[str]:
    yield "item_id:token\ttitle:token_seq\tdescription:token_seq\tcategory:token_seq\tbrand:token\tyear:token\n"
    for start in range(0, items, BLOCK):
        n = min(BLOCK, items - start)
        titles = _texts(rng, words, n, 4)
        texts = _texts(rng, words, n, description, 5) if description else [""] * n
        kinds = zip(words[100 + zipf(rng, 200, n)], words[400 + zipf(rng, 40, n)])
        brands, years = words[1000 + zipf(rng, 2000, n)], rng.integers(1960, 2026, n)
        rows = zip(range(start, start + n), titles, texts, kinds, brands, years)
        yield "".join(f"i{i}\t{title}\t{text}.\t{a} {b}\t{brand}\t{year}\n" for i, title, text, (a, b), brand, year in rows)


def _users(rng: np.random.Generator, words: np.ndarray, users: int) -> Iterator[str]:
    yield "user_id:token\tage:token\tcity:token\n"
    for start in range(0, users, BLOCK):
        n = min(BLOCK, users - start)
        rows = zip(range(start, start + n), rng.integers(14, 90, n), words[5000 + zipf(rng, 500, n)])
        yield "".join(f"u{u}\t{age}\t{city}\n" for u, age, city in rows)


def _pairs(rng: np.random.Generator, users: int, items: int, interactions: int) -> np.ndarray:
    """Distinct pairs as ``user * items + item``, int64, in random order; activity is log-normal, popularity Zipf-like."""
    least = min(3, max(interactions // users, 1), items)
    activity = rng.lognormal(0.0, 1.0, users)
    counts = least + rng.multinomial(max(interactions - least * users, 0), activity / activity.sum())
    who = np.repeat(np.arange(users), np.minimum(counts, items))
    keys = np.unique(who * items + rng.permutation(items)[zipf(rng, items, len(who), 0.8)])
    return rng.permutation(keys)


def _interactions(rng, words, users: int, items: int, interactions: int, review: int) -> Iterator[str]:
    yield "user_id:token\titem_id:token\trating:float\ttimestamp:float" + ("\treview:token_seq\n" if review else "\n")
    keys = _pairs(rng, users, items, interactions)
    for start in range(0, len(keys), BLOCK):
        who, what = np.divmod(keys[start : start + BLOCK], items)
        n = len(who)
        ratings, times = (
            rng.choice([1, 2, 3, 4, 5], n, p=[0.05, 0.08, 0.17, 0.3, 0.4]),
            rng.integers(1_500_000_000, 1_700_000_000, n),
        )
        texts = [f"\t{text}." for text in _texts(rng, words, n, review, 2)] if review else [""] * n
        rows = zip(who.tolist(), what.tolist(), ratings.tolist(), times.tolist(), texts)
        yield "".join(f"u{u}\ti{i}\t{rating}\t{time}{text}\n" for u, i, rating, time, text in rows)


def main() -> None:
    """Write a data set of the command line's size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--interactions", type=int, required=True)
    parser.add_argument("--description-words", type=int, default=60)
    parser.add_argument("--reviews", type=int, default=0, metavar="WORDS", help="mean words of a review (default: no reviews)")
    parser.add_argument("--seed", type=int, default=2026)
    args = parser.parse_args()
    sizes = (args.users, args.items, args.interactions)
    about = {"description_words": args.description_words, "review_words": args.reviews, "seed": args.seed}
    print(write_dataset(args.folder, *sizes, **about))


if __name__ == "__main__":
    main()
