"""A trained model's top items put into another order by a chat model; what it invents is counted."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.cell import Cell
from recbole_rlmrec.experiments.cells.study import Study, places, read_profiles
from recbole_rlmrec.experiments.cells.variants import PAPER, read_variants
from recbole_rlmrec.experiments.reranking import SCHEMA, Answers, Ranking, RankingQuestion, ask, ask_about, draw_users, judge
from recbole_rlmrec.experiments.results.comparison import comparison_table
from recbole_rlmrec.experiments.results.files import Results
from recbole_rlmrec.experiments.results.stats import Comparison, compare_tables, correct
from recbole_rlmrec.experiments.results.tables import Table, percent, stars
from recbole_rlmrec.llm.adapting import read_fields
from recbole_rlmrec.llm.chat import TEMPLATE, ChatModel
from recbole_rlmrec.llm.models import get_chat_model
from recbole_rlmrec.llm.patience import Pace
from recbole_rlmrec.runs.trained import load_trained

_EXAMPLES = 10


def run(study: Study, args: argparse.Namespace) -> Results:
    """Train each variant with the first seed, have its top items reranked, and measure both orders."""
    variants = read_variants(args.variants, PAPER)
    chat, pace = _chat(args), Pace(args.concurrency, args.rpm, patience=60 * args.patience)
    study.check_models(variants)
    seed = study.seeds[0]
    profiles = study.profiles(study.data)
    outcomes = study.run([study.cell(model, variant, seed, keep=True) for model in study.models for variant in variants])
    answers = Answers(study.output / study.name / "answers.jsonl")
    comparisons: list[Comparison] = []
    rows, findings = [], []
    for outcome in outcomes:
        trained = load_trained(outcome.checkpoint, places(study, profiles))
        users = draw_users(trained, args.users, seed)
        texts = read_profiles(profiles, "user", {str(token) for token in trained.tokens("user")[users.numpy()]})
        questions = ask_about(trained, users, texts, args.candidates, args.history, seed)
        ask(questions, chat, answers, pace)
        replies = [answers.of(question, chat) for question in questions]
        rankings = {question.user: judge(question, reply) for question, reply in zip(questions, replies, strict=True)}
        found = compare_orders(outcome.cell, questions, rankings, study.options["topk"])
        counts = count(list(rankings.values()), replies)
        comparisons += found
        rows.append([outcome.cell.model, outcome.cell.variant, *counts.values()])
        findings.append(_finding(outcome.cell, counts, rankings, found))
    correct(comparisons)
    tables = [result_table(comparisons), answer_table(rows), comparison_table(comparisons, "Tests against the model's order")]
    about = {"chat_model": chat.name, "candidates": args.candidates, "history": args.history, "parameters": chat.parameters()}
    return Results(outcomes, tables, {"rerank": about, "reranked": findings})


def _chat(args: argparse.Namespace) -> ChatModel:
    for name, least in (("candidates", 2), ("users", 1), ("history", 0), ("max_answer_tokens", 16)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name.replace('_', '-')} is {least} or more, not {getattr(args, name)}.")
    if not 0 <= args.temperature <= 2 or not 0 < args.timeout < float("inf"):
        raise ConfigError("--temperature is a number from 0 to 2, --timeout a number of seconds greater than 0.")
    if args.chat_model == TEMPLATE:
        raise ConfigError("--chat-model template writes profiles and cannot rerank; name a chat model.")
    connection = args.base_url, args.api_key_env
    limits = args.temperature, args.max_answer_tokens, args.timeout, args.concurrency
    more = {"room": args.max_reasoning_tokens, "fields": read_fields(args.request_field), "schema": SCHEMA}
    return get_chat_model(args.chat_model, *connection, *limits, **more)


def _finding(cell: Cell, counts: Mapping, rankings: Mapping[str, Ranking], comparisons: Sequence[Comparison]) -> dict:
    examples = [[user, entry] for user, ranking in rankings.items() for entry in ranking.invented][:_EXAMPLES]
    metrics = {one.metric: {"before": one.base_mean, "after": one.mean} for one in comparisons}
    about = {"model": cell.model, "variant": cell.variant, "seed": cell.seed}
    return {**about, **counts, "metrics": metrics, "examples_of_invented": examples}


# --- results -------------------------------------------------------------------------------------------------------


def compare_orders(
    cell: Cell, questions: Sequence[RankingQuestion], rankings: Mapping[str, Ranking], topk: Sequence[int] | int
) -> list[Comparison]:
    """Compare the new order with the old one, metric by metric, without correction."""
    before = measured(questions, {}, topk)
    after = measured(questions, {user: ranking.order for user, ranking in rankings.items()}, topk)
    name = f"{cell.variant}, reranked"
    return compare_tables({cell.seed: after}, {cell.seed: before}, list(before), cell.model, name, cell.variant)


def measured(
    questions: Sequence[RankingQuestion], orders: Mapping[str, Sequence[int]], topk: Sequence[int] | int
) -> pd.DataFrame:
    """Recall and NDCG of each user, as RecBole computes them.

    Parameters
    ----------
    questions : sequence of RankingQuestion
    orders : mapping of str to sequence of int
        New order of a user's candidates; the old one for those who have none.
    topk : sequence of int
        Those above the number of candidates are left out.
    """
    longest = max(len(question.labels) for question in questions)
    topk = [k for k in ([topk] if isinstance(topk, int) else topk) if k <= longest] or [longest]
    discount = 1 / np.log2(np.arange(2, longest + 2))
    rows = []
    for question in questions:
        hits = question.hits[list(orders.get(question.user, range(len(question.labels))))].astype(float)
        recall = {f"recall@{k}": hits[:k].sum() / question.positives for k in topk}
        ideal = {k: discount[: min(k, question.positives)].sum() for k in topk}
        rows.append(recall | {f"ndcg@{k}": hits[:k] @ discount[: len(hits[:k])] / ideal[k] for k in topk})
    return pd.DataFrame(rows, index=pd.Index([question.user for question in questions], name="user"))


def count(rankings: Sequence[Ranking], answers: Sequence[Mapping | None]) -> dict[str, int]:
    """Users, usable answers, invented, repeated and left-out items, and tokens."""
    known = [answer for answer in answers if answer is not None]
    usable = [ranking for ranking in rankings if ranking.usable]
    return {
        "users": len(rankings),
        "usable": len(usable),
        "invented": sum(len(ranking.invented) for ranking in usable),
        "users_with_invented": sum(bool(ranking.invented) for ranking in usable),
        "repeated": sum(ranking.repeated for ranking in usable),
        "left_out": sum(ranking.left_out for ranking in usable),
        "prompt_tokens": sum(answer["prompt_tokens"] or 0 for answer in known),
        "completion_tokens": sum(answer["completion_tokens"] or 0 for answer in known),
    }


def result_table(comparisons: Sequence[Comparison]) -> Table:
    """Each metric by the model's order and by the chat model's."""
    table = Table("Before and after reranking", ["model", "variant", "users", "metric", "before", "after", "gain"])
    for one in comparisons:
        gain = None if one.gain is None else f"{percent(one.gain)}{stars(one.holm_users)}"
        table.rows.append([one.model, one.base, one.users, one.metric, one.base_mean, one.mean, gain])
    table.notes = [
        "Means over the users that were drawn, with * p < .05, ** p < .01, *** p < .001 of the corrected test over users."
    ]
    return table


def answer_table(rows: Sequence[Sequence]) -> Table:
    """What the answers were like."""
    counts = ["users", "usable", "invented items", "users with one", "repeated", "left out", "prompt tokens", "answer tokens"]
    table = Table("Answers of the chat model", ["model", "variant", *counts], [list(row) for row in rows])
    table.notes = [
        "usable: answers with a ranking; where there is none, the model's order stays. Invented items are entries that are "
        "none of the candidates; they are dropped. Candidates that an answer leaves out follow in the model's order."
    ]
    return table
