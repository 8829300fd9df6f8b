"""``recbole-rlmrec recommend``: the top items of some or all users, by a trained model."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from recbole_rlmrec.commands.places import place
from recbole_rlmrec.data.atomic import PARTS
from recbole_rlmrec.data.files import file_digest
from recbole_rlmrec.data.pairs import targets
from recbole_rlmrec.errors import ConfigError, DataError, EncoderError, ModelError, SemanticError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.plugin import launch, meeting
from recbole_rlmrec.runs.candidates import allowed_items
from recbole_rlmrec.runs.list_files import Form, digest, texts, write_lists
from recbole_rlmrec.runs.lists import Reasons, Wanted, profile_digests, profile_texts, recommend
from recbole_rlmrec.runs.new_sequences import check_new_items, extend_sequences
from recbole_rlmrec.runs.newcomers import read_rows, read_unseen, with_rows
from recbole_rlmrec.runs.trained import PLACES, Trained, TrainedOnSequences, load_trained
from recbole_rlmrec.runs.unseen import Unseen, check_serves, extend, serves

AGAIN = "The same command goes on with the lists that are there."
HIDDEN = {"none": ("train", "valid", "test", "later"), "heldout": ("train", "later"), "all": ()}


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Print or write the recommendations; returns the exit status."""
    _check(args)
    given = {} if args.nproc is None else {"nproc": args.nproc}
    launch.in_processes(make, {"args": args}, given, lambda: [], AGAIN)
    return 0


def make(args: argparse.Namespace) -> None:
    """Make the recommendations in this process, alone or as one of several, the first of which speaks."""
    with ExitStack() as stack:
        if not parallel.first():
            stack.enter_context(redirect_stderr(stack.enter_context(open(os.devnull, "w"))))
        with parallel.alone():
            trained, users, wanted = _read(args)
            reasons = Reasons(trained, profile_texts(trained), _read_of(trained, args.keep)) if args.reasons else None
            form = Form(args.format, args.reasons)
            if args.output is None:
                for text in texts(recommend(trained, users, wanted, reasons), form):
                    sys.stdout.write(text)
                return
            made_of = _made_of(args, trained, users, wanted)
        kept = write_lists(args.output, users, lambda some: recommend(trained, some, wanted, reasons), form, made_of)
        if kept:
            _note(f"The lists of {kept:,} users were there from a call that was interrupted.")
        if parallel.first():
            print(f"{args.output}: top {args.topk} of {len(users)} users")


def _read(args: argparse.Namespace) -> tuple[Trained, torch.Tensor, Wanted]:
    """The model, the users by internal id, and what their lists should be."""
    trained = load_trained(args.checkpoint, {key: value for key in PLACES if (value := place(args, key))})
    trained, named = _until(trained, args), []
    files = (args.new_items, args.new_users, args.interactions)
    if any(files):
        trained, named = with_unseen(trained, *files)
    elif trained.later is not None:
        trained = _with_later(trained)
    if args.user:
        named = read_ids(args.user, "--user", trained.tokens("user"))
    if args.items:
        trained, token = with_sequence(trained, read_ids(args.items, "--items", trained.tokens("item")))
        named = [*named, token]
    users = torch.arange(1, trained.dataset.user_num) if args.all_users else trained.user_ids(named)
    allowed, notes = allowed_items(trained, args.only_items, args.exclude, args.where)
    for note in notes:
        _note(note)
    return trained, users, Wanted(args.topk, trained.items_of(HIDDEN[args.keep]), allowed, args.diversify)


def _read_of(trained: Trained, keep: str) -> tuple[str, ...]:
    """Parts of the data in which the reasons of a list are: those of a sequence, or those that are known of a user."""
    if isinstance(trained, TrainedOnSequences):
        return (*PARTS[: PARTS.index(trained.ends) + 1], "later")
    return HIDDEN[keep] or HIDDEN["none"]


def _check(args: argparse.Namespace) -> None:
    if args.topk < 1:
        raise ConfigError(f"--topk is the number of items per user, 1 or more, not {args.topk}.")
    if not 0 <= args.diversify <= 1:
        raise ConfigError(f"--diversify is a weight from 0 (the best) to 1 (the most different), not {args.diversify}.")
    if not (args.user or args.all_users or args.new_users or args.items):
        raise ConfigError("recommend needs to know for whom: --user ID, --all-users, --new-users FILE or --items ID,ID.")
    if args.format == "parquet" and args.output is None:
        raise ConfigError("--format parquet is no text for the screen; name a file with --output.")
    if args.output is None and (args.nproc or meeting.by_torchrun()):
        raise ConfigError("Several processes write lists to a file; name it with --output.")
    if args.output is not None and args.output.is_dir():
        raise ConfigError(f"--output {args.output} is a folder; give the name of a file.")


def _with_later(trained: Trained) -> Trained:
    """The model with what its data have gained since training, or as it is where that has no place in it; says which."""
    later, able = trained.later, serves(trained)
    if able or not (later.users or later.items):
        _note(f"{later.sentence}.")
    else:
        _note(
            f"{later.sentence}: {trained.config['model']} knows ids alone, so new users get no lists and new items are in none."
        )
    if not (able and later.gained):
        return trained
    try:
        return with_unseen(trained, None, None, None)[0]
    except (ModelError, SemanticError, EncoderError, DataError) as reason:
        _note(f"{reason} Those whom training knew are served as they were then, without what they have chosen since.")
        return replace(trained, later=replace(later, unserved=str(reason)))


def _note(text: str) -> None:
    print(f"recbole-rlmrec: {text}", file=sys.stderr)


def _made_of(args: argparse.Namespace, trained: Trained, users: torch.Tensor, wanted: Wanted) -> str:
    """Hash of all that the lists depend on."""
    files = [args.checkpoint, *(file for file in (args.new_items, args.new_users, args.interactions) if file is not None)]
    return digest(
        *map(file_digest, files),
        (args.topk, args.format, args.keep, args.diversify, args.reasons, args.items, args.until),
        users.numpy().tobytes(),
        wanted.hidden.keys.numpy().tobytes(),
        b"" if wanted.allowed is None else wanted.allowed.numpy().tobytes(),
        *(trained.tokens(side).tolist() for side in ("user", "item")),
        sorted(trained.titles.items()),
        *(column.tobytes() for split in trained.splits for column in targets(split) if column is not None),
        _sequences_of(trained),
        profile_digests(trained),
    )


def _sequences_of(trained: Trained) -> list | None:
    """What a sequential recommender knows of users beside the rows of its splits."""
    if not isinstance(trained, TrainedOnSequences):
        return None
    return [sorted(found.items()) for found in (trained.histories.sequences, trained.histories.later)]


def with_unseen(
    trained: Trained, items: Path | None, users: Path | None, interactions: Path | None
) -> tuple[Trained, list[str]]:
    """A trained model that knows the users and items of files, and the tokens of the users that the file of users has."""
    sequential = isinstance(trained, TrainedOnSequences)
    if not sequential:
        check_serves(trained)
    elif items:
        check_new_items(trained.config["model"])
    unseen, titles, tokens = read_unseen(trained, items, users, interactions)
    extended = extend_sequences(trained, unseen) if sequential else extend(trained, unseen)
    extended.__dict__["titles"] = {**titles, **trained.titles}
    extended.__dict__["item_file"] = with_rows(trained.item_file, read_rows(trained, items) if items else None)
    return extended, tokens


def _until(trained: Trained, args: argparse.Namespace) -> Trained:
    """A sequential recommender whose users' sequences end where they are asked to."""
    if isinstance(trained, TrainedOnSequences):
        return trained.until(args.until or ("train" if args.keep == "heldout" else "test"))
    if args.until or args.items:
        option = "--until" if args.until else "--items"
        raise ConfigError(f"{trained.config['model']} ranks by no sequences; leave {option} out, or give a sequential model.")
    return trained


def with_sequence(trained: TrainedOnSequences, items: Sequence[str]) -> tuple[TrainedOnSequences, str]:
    """A sequential recommender that knows somebody with a sequence of items, and what that user is called there.

    Raises
    ------
    DataError
        The run does not have one of the items.
    """
    known = trained.dataset.field2token_id[trained.dataset.iid_field]
    if unknown := [item for item in items if known.get(item, 0) == 0]:
        raise DataError(f"{trained.config['dataset']} has no item {unknown[0]!r}; write ids as they stand in the .inter file.")
    token = f"who chose {', '.join(items)}"
    pairs = pd.DataFrame({"user": token, "item": list(items)}, dtype=object)
    return extend_sequences(trained, Unseen(users=[token], pairs=pairs)), token


def read_ids(values: Sequence[str], option: str, known: Sequence[str]) -> list[str]:
    """Tokens of ``A,B`` and of options that are repeated, users each once, items as often as they are given.

    A value that is an id as a whole is that one. Otherwise an id with a comma stands in double quotes, as in CSV, and lines
    end ids, too.

    Raises
    ------
    ConfigError
        There is none.
    """
    known, tokens = set(known), []
    for value in values:
        try:
            rows = [[value]] if value in known else list(csv.reader(value.splitlines(), skipinitialspace=True))
        except csv.Error as reason:
            raise ConfigError(f"{option} {value[:40]!r} is no list of ids ({reason}); write {option} 12,74.") from None
        tokens += [token.strip() for row in rows for token in row if token.strip()]
    if not tokens:
        raise ConfigError(f"{option} needs at least one id, for example {option} 12,74.")
    return tokens if option == "--items" else list(dict.fromkeys(tokens))
