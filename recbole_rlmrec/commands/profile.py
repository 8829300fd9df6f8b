"""``recbole-rlmrec profile``: atomic files -> profiles written by a chat model."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from recbole_rlmrec.data.columns import Columns
from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import ProfileStore, check_tag, tag_folder
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.adapting import read_fields
from recbole_rlmrec.llm.chat import ChatModel
from recbole_rlmrec.llm.cost import PRICES, Meter, Price, Usage, find_price
from recbole_rlmrec.llm.models import get_chat_model
from recbole_rlmrec.llm.openai_compatible import OpenAIChat
from recbole_rlmrec.llm.patience import PATIENCE, Pace
from recbole_rlmrec.llm.reasoning import ROOM, thinks
from recbole_rlmrec.llm.tokens import TokenCounter
from recbole_rlmrec.profiling.answers import SCHEMA
from recbole_rlmrec.profiling.batch import MOST_REQUESTS, Batches
from recbole_rlmrec.profiling.build import DESCRIBE_WITH, PromptBuilder, Sampling
from recbole_rlmrec.profiling.chosen import first, listed
from recbole_rlmrec.profiling.estimate import (
    Limits,
    describe_columns,
    describe_estimate,
    describe_result,
    estimate,
    show_prompts,
)
from recbole_rlmrec.profiling.generate import generate_profiles
from recbole_rlmrec.profiling.prompts import STYLES, Domain, guess_domain, load_domain
from recbole_rlmrec.profiling.questions import SIDES, Questions
from recbole_rlmrec.profiling.review import review
from recbole_rlmrec.profiling.stored import Failures
from recbole_rlmrec.profiling.tag import Tag, describe, spent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command; RecBole's own are given as ``--key=value`` beside them."""
    add = parser.add_argument
    add("--dataset", required=True, help="name of the data set")
    add("--tag", required=True, help="name to give to the profiles")
    model = parser.add_argument_group("model")
    add = model.add_argument
    add("--chat-model", required=True, help="model of the server; transformers:FOLDER for a local one; template for none")
    add("--base-url", help="address of an OpenAI-compatible server (default: OpenAI's)")
    add("--api-key-env", metavar="NAME", help="environment variable with the key (default: OPENAI_API_KEY, for OpenAI only)")
    add("--temperature", type=float, default=0.0, help="0 (default) gives the same answers each time")
    add("--max-answer-tokens", type=int, default=700, help="longest answer (default: 700)")
    add("--max-reasoning-tokens", type=int, default=ROOM, help=f"room beside it for a model that thinks (default: {ROOM})")
    add(
        "--request-field",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="another field of every request, for example top_p=0.9; null leaves one out (repeatable)",
    )
    add("--timeout", type=float, default=120.0, help="seconds that an answer may take (default: 120)")
    prompts = parser.add_argument_group("prompts")
    add = prompts.add_argument
    add("--domain", help="movie, book, business, game, product, music, news, generic, or a YAML file (default: guessed)")
    add("--style", default=STYLES[0], choices=STYLES, help="short: at most 50 words, for encoders that read 256 tokens")
    add(
        "--describe-with",
        choices=DESCRIBE_WITH,
        help="what an item is described by (default: both, attributes and description; description is the paper's rule)",
    )
    add("--title-field", help="column of .item with the title")
    add("--description-field", help="column of .item with the description; 'none' for none")
    add("--attribute-fields", help="columns of .item, separated by commas; 'none' for none")
    add("--review-fields", help="columns of .inter, separated by commas; 'none' for none")
    add("--rating-field", help="column of .inter; 'none' for none")
    add("--sample-items", type=int, default=12, help="interactions in a user's prompt (default: 12)")
    add("--sample-reviews", type=int, default=6, help="reviews in an item's prompt (default: 6)")
    add("--max-prompt-tokens", type=int, default=3000, help="longest prompt; the longest texts are cut (default: 3000)")
    add("--show-prompts", type=int, metavar="N", help="print N prompts of each kind and stop")
    add("--review", type=int, metavar="N", help="print N stored profiles with what they quote, and checks of all, and stop")
    part = prompts.add_mutually_exclusive_group()
    part.add_argument("--limit", type=int, metavar="N", help="write N items and the users who quote just those, to read first")
    part.add_argument("--only", metavar="FILE", help="write just the users and items whose ids the file lists, one per line")
    pace = parser.add_argument_group("pace and failures")
    add = pace.add_argument
    add("--concurrency", type=int, default=8, help="requests in flight (default: 8)")
    add("--rpm", type=float, help="most requests per minute")
    add("--tpm", type=float, help="most tokens per minute")
    add("--max-attempts", type=int, default=3, help="answers to a question that may be unusable (default: 3)")
    add("--patience", type=float, default=PATIENCE / 60, help="minutes without one answer before giving up (default: 10)")
    add("--retry-failed", action="store_true", help="ask again just for what is listed in failures.jsonl")
    money = parser.add_argument_group("money", f"Prices, and from when they are: {PRICES}")
    add = money.add_argument
    add("--dry-run", action="store_true", help="print the number of requests, tokens and the price, and stop")
    add("--budget-usd", type=float, help="stop before the tag has cost more than this")
    add("--price-in", type=float, help="US dollars per million prompt tokens")
    add("--price-out", type=float, help="US dollars per million completion tokens")
    add("--batch", choices=("submit", "status", "collect"), help="use OpenAI's Batch API: half the price, within a day")
    add("--batch-requests", type=int, default=MOST_REQUESTS, help=f"requests in one batch (default: {MOST_REQUESTS})")


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
        Of :func:`add_arguments`.
    options : list of str
        RecBole's, ``--key=value``.

    Returns
    -------
    int
        0 when every question was asked, 1 when the run ended before (budget, interruption).
    """
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
    if args.batch in ("status", "collect"):
        tag_folder(job.store.folder.parent, args.tag, args.dataset)
    with job.store.locked():
        tag = Tag(job.store, job.about)
        questions = job.questions()
        if args.batch:
            return _batch(job, tag, questions)
        _refuse_open_batches(job.store)
        tag.begin()
        return _generate(job, tag, questions)


def _prepare(args: argparse.Namespace, options: list[str]) -> Job:
    from recbole_rlmrec.runs.split import load_split

    check_tag(args.tag)
    _check_numbers(args)
    chat = get_chat_model(
        args.chat_model,
        args.base_url,
        "" if args.dry_run or args.show_prompts is not None or args.review is not None else args.api_key_env,
        args.temperature,
        args.max_answer_tokens,
        args.timeout,
        args.concurrency,
        room=args.max_reasoning_tokens,
        fields=read_fields(args.request_field),
        schema=SCHEMA,
    )
    price = find_price(args.chat_model, args.price_in, args.price_out, args.batch is not None)
    config, _, splits = load_split(args.dataset, options)
    corpus = Corpus.from_config(config, splits[0])
    columns = corpus.columns(**_overrides(args))
    corpus.require_text(columns)
    print(f"Columns: {describe_columns(columns)}")
    domain = _domain(args, corpus)
    counter = TokenCounter(args.chat_model)
    way = args.describe_with or config["describe_with"] or "both"
    sampling = Sampling(config["seed"], args.sample_items, args.sample_reviews, args.max_prompt_tokens, way)
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
    for role in ("title", "description", "rating"):
        value = getattr(args, f"{role}_field")
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
        fields = [] if corpus.item_fields is None else list(corpus.item_fields.columns)
        name = guess_domain(args.dataset, fields)
        print(f"Domain: {name} (guessed; --domain sets it)")
    return load_domain(name, args.style)


def _about(args, chat: ChatModel, domain: Domain, columns: Columns, sampling: Sampling, style: str, split_hash: str) -> dict:
    settings = {
        "parameters": chat.parameters(),
        "server": chat.endpoint.host if isinstance(chat, OpenAIChat) else "this machine",
        "domain": domain.name,
        "style": style,
        "language": domain.language,
        "columns": describe_columns(columns),
        "sampling": vars(sampling),
    }
    systems = [domain.system(side) for side in SIDES]
    return describe(args.dataset, args.tag, chat.name, split_hash, systems, settings)


def _dry_run(job: Job) -> None:
    questions = job.questions()
    limits = job.limits()
    estimates = estimate(questions, job.domain, limits)
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
    elif job.args.batch == "status":
        batches.refresh()
    else:
        for batch in batches.collect(questions):
            print(f"Collected {batch}")
        used = batches.used
        usd = job.price.usd(used.prompt_tokens, used.completion_tokens) if job.price else None
        summaries = tag.finish(questions, Usage(), job.domain)
        print(describe_result(summaries, used, usd, "--batch submit --retry-failed", questions.failures.path))
    for batch in batches.open:
        print(f"Open: {batch}")
    if not batches.open:
        print("No batch is open; --batch submit asks what is left.")
    return 0


def _refuse_open_batches(store: ProfileStore) -> None:
    if (store.folder / "batch.json").exists():
        from recbole_rlmrec.data.files import read_json
        from recbole_rlmrec.errors import StoreError

        if read_json(store.folder / "batch.json", StoreError, "delete it if no batch is open").get("batches"):
            raise StoreError(
                f"Batches of {store.folder} are open, and their questions would be paid twice; collect them first "
                "(--batch collect)."
            )
