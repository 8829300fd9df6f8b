"""``recbole-rlmrec profile``: atomic files -> profiles written by a chat model."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from recbole_rlmrec.commands.places import place
from recbole_rlmrec.data.columns import Columns
from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.paths import dataset_root, semantic_root
from recbole_rlmrec.data.store import ProfileStore, check_tag, tag_folder
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.adapting import read_fields
from recbole_rlmrec.llm.chat import ChatModel
from recbole_rlmrec.llm.cost import Meter, Price, Usage, find_price
from recbole_rlmrec.llm.models import get_chat_model
from recbole_rlmrec.llm.openai_compatible import OpenAIChat
from recbole_rlmrec.llm.patience import Pace
from recbole_rlmrec.llm.reasoning import thinks
from recbole_rlmrec.llm.tokens import TokenCounter
from recbole_rlmrec.profiling.answers import SCHEMA
from recbole_rlmrec.profiling.batch import Batches
from recbole_rlmrec.profiling.build import PromptBuilder, Sampling
from recbole_rlmrec.profiling.chosen import first, listed
from recbole_rlmrec.profiling.estimate import (
    SAMPLE,
    Limits,
    describe_columns,
    describe_estimate,
    describe_result,
    estimate,
    show_prompts,
)
from recbole_rlmrec.profiling.generate import generate_profiles
from recbole_rlmrec.profiling.prompts import Domain, guess_domain, load_domain
from recbole_rlmrec.profiling.questions import SIDES, Questions
from recbole_rlmrec.profiling.review import review
from recbole_rlmrec.profiling.stored import Failures
from recbole_rlmrec.profiling.tag import Tag, describe, spent


@dataclass
class Job:
    """Everything that a run of the command works with."""

    args: argparse.Namespace
    store: ProfileStore
    chat: ChatModel
    domain: Domain
    builder: PromptBuilder
    counter: TokenCounter
    price: Price | None
    about: dict

    def questions(self) -> Questions:
        """What is asked, by what the store holds now."""
        failures, args = Failures(self.store.folder), self.args
        chosen = None
        if args.limit is not None or args.only is not None:
            chosen = first(self.builder, args.limit) if args.only is None else listed(self.builder, Path(args.only))
        return Questions(self.builder, self.store, failures, self.chat, args.retry_failed, args.max_attempts, chosen)

    def limits(self) -> Limits:
        """How far "at most" goes."""
        args, longest = self.args, getattr(self.chat, "most_tokens", self.args.max_answer_tokens)
        asked = self.builder.sampling.max_tokens
        exact = self.counter.exact and "openai.com" in getattr(getattr(self.chat, "endpoint", None), "host", "")
        return Limits(args.max_answer_tokens, longest, args.max_attempts, asked, exact, bool(thinks(args.chat_model)))


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Write profiles with a chat model.

    Parameters
    ----------
    args : Namespace
        Of the command line.
    options : list of str
        RecBole's, ``--key=value``.

    Returns
    -------
    int
        0 when every question was asked, 1 when the run ended before (budget, interruption).
    """
    if args.batch == "status" and not _asks_nobody(args):
        return _status(args)
    job = _prepare(args, options)
    if args.show_prompts is not None:
        print(show_prompts(job.questions(), job.domain, max(args.show_prompts, 1)))
        return 0
    if args.review is not None:
        tag_folder(job.store.folder.parent, args.tag, args.dataset)
        print(review(job.questions(), job.store, job.domain, max(args.review, 0)))
        return 0
    if args.dry_run:
        _dry_run(job)
        return 0
    if args.batch == "collect":
        tag_folder(job.store.folder.parent, args.tag, args.dataset)
    with job.store.locked():
        tag = Tag(job.store, job.about)
        questions = job.questions()
        if args.batch:
            return _batch(job, tag, questions)
        _refuse_open_batches(job.store)
        tag.begin()
        return _generate(job, tag, questions)


def _status(args: argparse.Namespace) -> int:
    """Say how the open batches stand, which needs neither the data nor RecBole."""
    root = dataset_root(place(args, "semantic_path"), args.dataset) / "semantic"
    store = ProfileStore(tag_folder(root, args.tag, args.dataset))
    _check_numbers(args)
    with store.locked():
        batches = Batches(store, _chat(args), args.batch_requests, _pace(args))
        batches.refresh()
    _tell_open(batches)
    return 0


def _asks_nobody(args: argparse.Namespace) -> bool:
    return args.dry_run or args.show_prompts is not None or args.review is not None


def _chat(args: argparse.Namespace) -> ChatModel:
    return get_chat_model(
        args.chat_model,
        args.base_url,
        "" if _asks_nobody(args) else args.api_key_env,
        args.temperature,
        args.max_answer_tokens,
        args.timeout,
        args.concurrency,
        room=args.max_reasoning_tokens,
        fields=read_fields(args.request_field),
        schema=SCHEMA,
    )


def _prepare(args: argparse.Namespace, options: list[str]) -> Job:
    from recbole_rlmrec.runs.split import load_split

    check_tag(args.tag)
    _check_numbers(args)
    chat = _chat(args)
    price = find_price(args.chat_model, args.price_in, args.price_out, args.batch is not None)
    config, splits = load_split(args.dataset, options)[::2]  # not the whole data, which would stay in memory
    corpus = Corpus.from_config(config, splits[0], show_progress=True)
    columns = corpus.columns(**_overrides(args))
    corpus.require_text(columns)
    history = args.history or ("latest" if hasattr(splits[0], "item_list_length_field") else "sample")
    print(f"Columns: {describe_columns(columns, history == 'latest')}")
    domain = _domain(args, corpus)
    counter = TokenCounter(args.chat_model)
    way = args.describe_with or config["describe_with"] or "both"
    sampling = Sampling(config["seed"], args.sample_items, args.sample_reviews, args.max_prompt_tokens, way, history)
    builder = PromptBuilder(corpus, columns, domain, counter, sampling)
    store = ProfileStore(semantic_root(config) / args.tag)
    about = _about(args, chat, domain, columns, sampling, args.style, corpus.split_hash)
    return Job(args, store, chat, domain, builder, counter, price, about)


def _check_numbers(args: argparse.Namespace) -> None:
    least_of = {"sample_items": 1, "sample_reviews": 0, "max_answer_tokens": 16, "max_reasoning_tokens": 0, "batch_requests": 1}
    for name, least in least_of.items():
        if getattr(args, name) < least:
            raise ConfigError(f"--{name.replace('_', '-')} is {least} or more.")
    if not 0 <= args.temperature <= 2:
        raise ConfigError("--temperature is a number from 0 to 2.")
    if not 0 < args.timeout < float("inf"):
        raise ConfigError("--timeout is a number of seconds greater than 0.")
    _pace(args)


def _pace(args: argparse.Namespace) -> Pace:
    return Pace(args.concurrency, args.rpm, args.tpm, args.max_attempts, patience=60 * args.patience)


def _overrides(args: argparse.Namespace) -> dict:
    """Columns named on the command line; ``none`` means that there is none."""
    overrides: dict = {}
    for role, option in (("title", "title"), ("description", "description"), ("rating", "rating"), ("timestamp", "date")):
        value = getattr(args, f"{option}_field")
        if value is not None:
            overrides[role] = None if value == "none" else value
    for role, option in (("attributes", args.attribute_fields), ("reviews", args.review_fields)):
        if option is not None:
            overrides[role] = [] if option == "none" else [name.strip() for name in option.split(",") if name.strip()]
    if "attributes" in overrides:
        overrides["year"] = None
    return overrides


def _domain(args: argparse.Namespace, corpus: Corpus) -> Domain:
    name = args.domain
    if name is None:
        name = guess_domain(args.dataset, corpus.item_columns())
        print(f"Domain: {name} (guessed; --domain sets it)")
    return load_domain(name, args.style)


def _about(args, chat: ChatModel, domain: Domain, columns: Columns, sampling: Sampling, style: str, split_hash: str) -> dict:
    settings = {
        "parameters": chat.parameters(),
        "server": chat.endpoint.host if isinstance(chat, OpenAIChat) else "this machine",
        "domain": domain.name,
        "style": style,
        "language": domain.language,
        "columns": describe_columns(columns, sampling.history == "latest"),
        "sampling": vars(sampling),
    }
    systems = [domain.system(side, sampling.history) for side in SIDES]
    return describe(args.dataset, args.tag, chat.name, split_hash, systems, settings)


def _dry_run(job: Job) -> None:
    questions = job.questions()
    limits = job.limits()
    estimates = estimate(questions, job.domain, limits, None if job.args.exact else SAMPLE, show_progress=True)
    batch = job.args.batch is not None
    print(describe_estimate(estimates, job.price, job.chat.name, job.counter.how, batch))
    print(limits)
    for side in SIDES:
        tally = questions.tally[side]
        print(
            f"Not asked, {side}s: {tally.stored:,} are stored, {tally.textless:,} have no text, "
            f"{tally.failed_before:,} failed before (--retry-failed)"
            + (f", {tally.left_out:,} are left out (--limit, --only)" if tally.left_out else "")
        )


def _meter(job: Job, tag: Tag, questions: Questions) -> Meter:
    paid = spent(tag.usage(questions), job.chat.name, job.args.price_in, job.args.price_out)
    return Meter(job.price, job.args.budget_usd, paid)


def _generate(job: Job, tag: Tag, questions: Questions) -> int:
    args = job.args
    pace = _pace(args)
    meter = _meter(job, tag, questions)
    open_usage = Usage()
    try:
        ended = generate_profiles(questions, job.store, job.chat, pace, meter, args.max_answer_tokens, open_usage)
    finally:
        summaries = tag.finish(questions, open_usage, job.domain)
        print(describe_result(summaries, meter.used, meter.usd, "--retry-failed", questions.failures.path))
    skipped = sum(questions.tally[side].failed_before for side in SIDES)
    if skipped:
        print(f"{skipped:,} of the failures are of earlier runs and were not asked for again.")
    left_out = sum(questions.tally[side].left_out for side in SIDES)
    if left_out and not ended:
        print(f"{left_out:,} were left out; read what there is (--review 20), then run the same command without the limit.")
    if ended:
        print(f"{ended} The same command goes on from here.")
    return 1 if ended else 0


def _batch(job: Job, tag: Tag, questions: Questions) -> int:
    batches = Batches(job.store, job.chat, job.args.batch_requests, _pace(job.args))
    if job.args.batch == "submit":
        tag.begin()
        print(batches.submit(questions, _meter(job, tag, questions), job.limits().longest))
    else:
        for batch in batches.collect(questions):
            print(f"Collected {batch}")
        used = batches.used
        usd = job.price.usd(used.prompt_tokens, used.completion_tokens) if job.price else None
        summaries = tag.finish(questions, Usage(), job.domain)
        print(describe_result(summaries, used, usd, "--batch submit --retry-failed", questions.failures.path))
    _tell_open(batches)
    return 0


def _tell_open(batches: Batches) -> None:
    for batch in batches.open:
        print(f"Open: {batch}")
    if not batches.open:
        print("No batch is open; --batch submit asks what is left.")


def _refuse_open_batches(store: ProfileStore) -> None:
    if (store.folder / "batch.json").exists():
        from recbole_rlmrec.data.files import read_json
        from recbole_rlmrec.errors import StoreError

        if read_json(store.folder / "batch.json", StoreError, "delete it if no batch is open").get("batches"):
            raise StoreError(
                f"Batches of {store.folder} are open, and their questions would be paid twice; collect them first "
                "(--batch collect)."
            )
