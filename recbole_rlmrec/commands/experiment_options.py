"""The experiments and their options: those that all of them take, then each one's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from recbole_rlmrec.commands.options import Command, add_chat_model, add_data, add_pace, add_profiles
from recbole_rlmrec.commands.parser import Parser
from recbole_rlmrec.experiments.cells.variants import COLD, PAPER, VARIANTS

CHECKPOINTS = ("first", "all", "none")
KINDS = ("shuffled", "random", "constant", "users only", "items only", "reasoning", "alone")
ALGORITHMS = ("grid", "random", "bayes")


def _common(parser: Parser, own: Callable[[Callable], None], variants: str, allowed: str, seeds: str = "5") -> None:
    add_data(parser, "RecBole dataset; frozen into the output where it is not split yet")
    add_profiles(parser, encoder="whose embeddings (default: the only ones)", dest="semantic_")
    add = parser.group("model").add_argument
    add("--models", default="LightGCN", help="backbones, separated by commas (default: LightGCN)")
    add("--variants", default=variants, help=f"of {allowed} (default: {variants})")
    add("--seeds", default=seeds, help=f"how many, from 2020 on, or a list such as 1,2,3 (default: {seeds})")
    add("--params", type=Path, metavar="FILE", help="options by model and variant, as `experiment tune` writes it")
    add = parser.group("experiment").add_argument
    own(add)
    add("--jobs", type=int, default=1, help="cells that run side by side on this machine (default: 1)")
    add("--ray", metavar="ADDRESS", help="run on a Ray cluster; `local` starts one here")
    add("--cell-cpus", type=int, default=1, help="processors of each cell on a Ray cluster (default: 1)")
    add("--cell-gpus", type=float, default=0, help="GPUs of each cell on a Ray cluster, 0.5 for two cells on one (default: 0)")
    add("--resplit", action="store_true", help="draw a split, and template profiles, for every seed")
    add("--trust-cells", action="store_true", help="use cells that other code or versions computed")
    add = parser.group("output").add_argument
    add("--output", "-o", required=True, type=Path, metavar="FOLDER", help="results; cells that are in it are not run again")
    add("--checkpoints", choices=CHECKPOINTS, default="first", help="keep the models of these seeds (default: first)")


def _ablation(add: Callable) -> None:
    add("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)} (default: all)")
    add("--profiles", default="", help="further profiles to compare, TAG or TAG:ENCODER, separated by commas (default: none)")


def _noise(add: Callable) -> None:
    add("--levels", default="5,10,15,20,25", help="fake interactions in percent of the real ones (default: 5,10,15,20,25)")


def _pretrain(add: Callable) -> None:
    add("--early", type=float, default=0.5, help="share of the interactions that is early (default: 0.5)")


def _groups(add: Callable) -> None:
    add("--groups", type=int, default=4, help="groups of users and of items (default: 4)")
    add("--holdout", default="", help="also hold out users, items or both (users,items)")
    add("--keep", default="1,3,5", help="training interactions left to those held out (default: 1,3,5)")
    add("--share", type=float, default=0.2, help="share of users or items that is held out (default: 0.2)")


def _cold(add: Callable) -> None:
    add("--side", choices=("items", "users"), default="items", help="who is held out of training whole (default: items)")
    add("--share", type=float, default=0.2, help="share of them that is held out (default: 0.2)")
    add("--from-data", action="store_true", help="hold nobody out: the given test split has some that training never saw")
    add("--category", metavar="COLUMN", help="column of .item for popularity by category (default: guessed by its name)")


def _case(add: Callable) -> None:
    add("--pairs", type=int, default=10, help="pairs of users, the most similar first (default: 10)")


def _rerank(add: Callable) -> None:
    add("--candidates", type=int, default=50, help="top items of the model that are reranked (default: 50)")
    add("--users", type=int, default=100, help="test users that are drawn, one request for each (default: 100)")
    add("--history", type=int, default=20, help="titles of a user's training interactions in the question (default: 20)")


def _tune(add: Callable) -> None:
    add("--algorithm", choices=ALGORITHMS, default="random", help="how points are chosen (default: random)")
    add("--trials", type=int, default=16, help="points of each model and variant (default: 16)")
    add("--prune", action="store_true", help="successive halving: few epochs for all points, more for the better third")
    add("--space", type=Path, metavar="FILE", help="search space by variant, in place of the shipped ones")


def _asking(parser: Parser, **common) -> None:
    _common(parser, **common)
    add_chat_model(parser, "model of the server; transformers:FOLDER for a local one", 2000)
    add_pace(parser, 4)


def _nothing(add: Callable) -> None:
    """The experiment has no options of its own."""


def _experiment(
    summary: str,
    own: Callable = _nothing,
    variants: str = "base,con,gen",
    allowed: str = f"{', '.join(VARIANTS)}, or all",
    declare: Callable = _common,
    **more,
) -> Command:
    return Command(summary, partial(declare, own=own, variants=variants, allowed=allowed, **more))


EXPERIMENTS = {
    "compare": _experiment("base, con and gen of each backbone, with significance over seeds and users"),
    "ablation": _experiment(
        "shuffled, random and constant embeddings, one side alone, other profiles and encoders, profiles alone",
        _ablation,
        "con,gen",
        f"{', '.join(VARIANTS)}, or all",
    ),
    "noise": _experiment("fake interactions added to the training split", _noise),
    "pretrain": _experiment(
        "the early part of the data gives the initial embeddings of a plain backbone on the later part",
        _pretrain,
        allowed=f"{', '.join(PAPER)}, on the early part",
    ),
    "efficiency": _experiment("seconds per epoch, memory, parameters and time to the best epoch"),
    "groups": _experiment(
        "results by user activity and item popularity, and for users or items held out down to few interactions", _groups
    ),
    "cold": _experiment(
        "items or users that training never saw: recall among cold, warm and all, beside text-kNN and popularity",
        _cold,
        "base,con,semantic,alpharec",
        ", ".join(COLD),
    ),
    "case": _experiment(
        "users more than three hops apart with similar profiles: rank and similarity with and without alignment",
        _case,
        allowed=", ".join(PAPER),
    ),
    "rerank": _experiment(
        "a trained model's top items reranked by a chat model, invented items counted",
        _rerank,
        "base",
        ", ".join(PAPER),
        declare=_asking,
    ),
    "tune": _experiment("hyper-parameter search, the same number of trials for base and aligned models", _tune, seeds="1"),
}
