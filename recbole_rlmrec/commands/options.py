"""The options of every command, in the groups that commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from recbole_rlmrec.commands.parser import Parser
from recbole_rlmrec.llm.cost import PRICES
from recbole_rlmrec.llm.reasoning import ROOM

DESCRIBE_WITH = ("both", "description", "attributes", "reviews")
STYLES = ("rlmrec", "short")
HISTORIES = ("sample", "latest")
KEEP = ("none", "heldout", "all")
PARTS = ("train", "valid", "test")
FORMATS = ("table", "csv", "jsonl", "parquet")
TABLES = ("parquet", "safetensors")
LIKENESS = ("behaviour", "text", "both")
ROLES = {
    "user": "who",
    "item": "what",
    "rating": "how well it was liked",
    "time": "when",
    "review": "what was written about it",
}
BATCH_REQUESTS = 50_000
ENCODERS = """lsa (offline, fitted to the profiles); a model of sentence-transformers, by name or folder; openai:MODEL for a
server with OpenAI's /embeddings. An option that an encoder does not have is refused."""
ENCODER_OPTIONS = {
    "device": (str, "where it runs: cpu, cuda, cuda:0, or several as cuda:0,cuda:1"),
    "batch_size": (int, "texts per batch or request"),
    "batch_tokens": (int, "tokens per batch, padding included (default: 1,024 on a CPU, 16,384 elsewhere)"),
    "backend": (str, "what runs it: torch (default), or on a CPU onnx or openvino (extras of these names)"),
    "precision": (str, "type it computes in: float32, float16, bfloat16, or with --backend onnx or openvino int8"),
    "prompt": (str, "instruction put before each text (default: the one that E5, BGE, ... were trained with; '' for none)"),
    "dim": (int, "size of LSA's embeddings"),
    "base_url": (str, "address of the server, https://HOST/v1"),
    "api_key_env": (str, "environment variable that holds the server's key"),
    "concurrency": (int, "requests in flight"),
    "patience": (float, "minutes without one answer after which it gives up (default: 10)"),
    "dimensions": (int, "size asked of models that can shorten their embeddings"),
    "max_tokens": (int, "longest text that the server's model reads"),
}


class Command(NamedTuple):
    """A command.

    Attributes
    ----------
    summary : str
        What it does.
    declare : callable
        Declares its options with a parser.
    uses_recbole : bool
        Whether RecBole's options have an effect there.
    """

    summary: str
    declare: Callable[[Parser], None]
    uses_recbole: bool = True


# --- shared groups -------------------------------------------------------------------------------------------------


def add_data(parser: Parser, dataset: str | None = "name of the data set", required: bool = True) -> None:
    """Where the data is; ``dataset`` describes ``--dataset``, None leaves it out."""
    add = parser.group("data").add_argument
    if dataset is not None:
        add("--dataset", required=required, metavar="NAME", help=dataset)
    add("--data-path", metavar="FOLDER", help="folder above the one with NAME.inter (default: dataset/)")
    add("--config-files", metavar="FILES", help="YAML files with further options, separated by spaces")


def add_profiles(
    parser: Parser,
    tag: str | None = "which profiles (default: the only ones)",
    encoder: str | None = None,
    required: bool = False,
    dest: str = "",
) -> None:
    """Which profiles and embeddings; ``tag`` and ``encoder`` describe these options, None leaves one out.

    ``dest`` is ``semantic_`` where both are options of a run.
    """
    add = parser.group("profiles").add_argument
    if tag is not None:
        add("--tag", "--semantic-tag", dest=f"{dest}tag", required=required, metavar="TAG", help=tag)
    if encoder is not None:
        add("--encoder", "--semantic-encoder", dest=f"{dest}encoder", metavar="ENCODER", help=encoder)
    add("--semantic-path", metavar="FOLDER", help="folder above the data set's profiles and embeddings (default: dataset/)")


def add_chat_model(parser: Parser, names: str, max_answer_tokens: int) -> None:
    """The chat model and how it answers; ``names`` describes what ``--chat-model`` takes."""
    add = parser.group("chat model").add_argument
    add("--chat-model", required=True, metavar="MODEL", help=names)
    add("--base-url", metavar="URL", help="address of an OpenAI-compatible server (default: OpenAI's)")
    add("--api-key-env", metavar="NAME", help="environment variable with the key (default: OPENAI_API_KEY, for OpenAI only)")
    add("--temperature", type=float, default=0.0, help="0 (default) gives the same answers each time")
    add("--max-answer-tokens", type=int, default=max_answer_tokens, help=f"longest answer (default: {max_answer_tokens})")
    add("--max-reasoning-tokens", type=int, default=ROOM, help=f"room beside it for a model that thinks (default: {ROOM})")
    add(
        "--request-field",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="another field of every request, for example top_p=0.9; null leaves one out (repeatable)",
    )
    add("--timeout", type=float, default=120.0, help="seconds that an answer may take (default: 120)")


def add_pace(parser: Parser, concurrency: int) -> None:
    """How fast a chat model is asked."""
    add = parser.group("pace and failures").add_argument
    add("--concurrency", type=int, default=concurrency, help=f"requests in flight (default: {concurrency})")
    add("--rpm", type=float, help="most requests per minute")
    add("--patience", type=float, default=10.0, help="minutes without one answer before giving up (default: 10)")


def add_recbole(parser: Parser, used: bool) -> None:
    """Say what RecBole's options do, which are not listed."""
    parser.group(
        "RecBole",
        "Every option of RecBole and of the models, for example --epochs 20 --train_batch_size 2048 --gpu_id=''."
        if used
        else "RecBole's options are taken, so that one line of options serves every command, and have no effect here.",
    )


# --- commands ------------------------------------------------------------------------------------------------------


def _run(parser: Parser) -> None:
    add_data(parser, "name of the data set (default: ml-100k)", required=False)
    add_profiles(parser, encoder="whose embeddings (default: the only ones)", dest="semantic_")
    add = parser.group("model").add_argument
    add(
        "--model",
        metavar="NAME",
        help="NAME_RLMRec is RecBole's NAME with an alignment loss, a plain NAME RecBole's model (default: LightGCN_RLMRec)",
    )
    add("--resume", action="store_true", help="go on where a run with the same options was interrupted")
    add = parser.group("processes", "Several GPUs: --nproc 2 --gpu_id 0,1; several machines: docs/scale.md.").add_argument
    add("--nproc", help="processes on this machine (default: 1)")
    add("--world-size", help="processes on all machines")
    add("--ip", help="address of the first machine (default: localhost)")
    add("--port", help="its port (default: a free one, or 5678 with several machines)")
    add("--group-offset", help="number of the first process of this machine (default: 0)")
    add("--meeting-seconds", help="how long processes wait for each other when a run begins (default: 300)")
    add = parser.group("output").add_argument
    add("--result-file", metavar="FILE", help="JSON of what the run showed: metrics, settings, series, provenance, versions")
    add("--per-user-file", metavar="FILE", help="write the metrics and top items of each user of the test split")


def _doctor(parser: Parser) -> None:
    add_data(parser, dataset=None)
    add_profiles(parser, tag=None)
    parser.group("model").add_argument("--models", action="store_true", help="list every model and what alignment it takes")


def _convert(parser: Parser) -> None:
    parser.add_argument(
        "interactions", metavar="INTERACTIONS", help="file: .csv, .tsv, .jsonl, .parquet (also .gz), or the URL of a database"
    )
    add_data(parser, "name of the data set to make")
    add_profiles(parser, tag=None)
    add = parser.group("data").add_argument
    add("--items", metavar="FILE", help="table of items: titles, descriptions, categories")
    add("--users", metavar="FILE", help="table of users")
    for role, meaning in ROLES.items():
        add(f"--{role}", metavar="COLUMN", help=f"of the interactions: {meaning} (default: guessed and shown; none for none)")
    add("--items-id", metavar="COLUMN", help="of --items: the ids (default: guessed)")
    add("--users-id", metavar="COLUMN", help="of --users: the ids (default: guessed)")
    add("--time-format", metavar="FORMAT", help="how times are written, as strptime says it: '%%d/%%m/%%Y %%H:%%M'")
    add("--list", action="append", default=[], metavar="COLUMN=SEP", help="a column of texts that are lists; what is between")
    add("--query", metavar="SQL", help="with a URL: the interactions")
    add("--items-query", metavar="SQL", help="with a URL: the items")
    add("--users-query", metavar="SQL", help="with a URL: the users")
    add("--separator", metavar="CHAR", help="CSV: what is between values (default: found in the first line)")
    add("--quote", default='"', metavar="CHAR", help="CSV: mark around texts, '' for none (default: \")")
    add("--escape", default="", metavar="CHAR", help="CSV: mark before characters that are meant as they are")
    add("--encoding", default="utf-8", help="CSV: encoding (default: utf-8)")
    add = parser.group("output").add_argument
    add("--output", "-o", type=Path, metavar="FOLDER", help="above the data set (default: --data-path)")
    add("--overwrite", action="store_true", help="replace the atomic files of a data set that is there")


def _import(parser: Parser) -> None:
    parser.add_argument(
        "source", help="profiles as FILE.jsonl, a tag's archive, a released folder, or hf://..., what was shared"
    )
    add_data(parser)
    add_profiles(parser, tag="name to give to the profiles (required for a .jsonl file)")


def _profile(parser: Parser) -> None:
    add_data(parser)
    add_profiles(parser, tag="name to give to the profiles", required=True)
    add_chat_model(parser, "model of the server; transformers:FOLDER for a local one; template for none", 700)
    add = parser.group("prompts").add_argument
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
    add("--date-field", help="column of .inter with the times that --history latest quotes as days; 'none' for none")
    add(
        "--history",
        choices=HISTORIES,
        help="what a prompt quotes of a user: a random sample, or the latest in order (default with sequential models)",
    )
    add("--sample-items", type=int, default=12, help="interactions in a user's prompt (default: 12)")
    add("--sample-reviews", type=int, default=6, help="reviews in an item's prompt (default: 6)")
    add("--max-prompt-tokens", type=int, default=3000, help="longest prompt; the longest texts are cut (default: 3000)")
    add("--show-prompts", type=int, metavar="N", help="print N prompts of each kind and stop")
    add("--review", type=int, metavar="N", help="print N stored profiles with what they quote, and checks of all, and stop")
    part = parser.group("prompts").add_mutually_exclusive_group()
    part.add_argument("--limit", type=int, metavar="N", help="write N items and the users who quote just those, to read first")
    part.add_argument("--only", metavar="FILE", help="write just the users and items whose ids the file lists, one per line")
    add_pace(parser, 8)
    add = parser.group("pace and failures").add_argument
    add("--tpm", type=float, help="most tokens per minute")
    add("--max-attempts", type=int, default=3, help="answers to a question that may be unusable (default: 3)")
    add("--retry-failed", action="store_true", help="ask again just for what is listed in failures.jsonl")
    add = parser.group("money", f"Prices, and from when they are: {PRICES}").add_argument
    add("--dry-run", action="store_true", help="print the number of requests, tokens and the price, and stop")
    add("--exact", action="store_true", help="with --dry-run: make every question, not a sample of 2,000 of each kind")
    add("--budget-usd", type=float, help="stop before the tag has cost more than this")
    add("--price-in", type=float, help="US dollars per million prompt tokens")
    add("--price-out", type=float, help="US dollars per million completion tokens")
    add("--batch", choices=("submit", "status", "collect"), help="use OpenAI's Batch API: half the price, within a day")
    add("--batch-requests", type=int, default=BATCH_REQUESTS, help=f"requests in one batch (default: {BATCH_REQUESTS})")


def _encode(parser: Parser) -> None:
    add_data(parser)
    add_profiles(parser, tag="which profiles", required=True)
    add = parser.group("encoder").add_argument
    add("--encoder", "--semantic-encoder", dest="encoder", required=True, metavar="ENCODER", help=ENCODERS)
    add("--dtype", choices=("float32", "float16"), default="float32", help="type of the stored matrix")
    add("--no-normalize", action="store_true", help="keep the length of the embeddings")
    parts = parser.group(
        "processes", "Several GPUs or machines: each encodes a shard, one merges them."
    ).add_mutually_exclusive_group()
    parts.add_argument("--shard", metavar="K/N", help="encode the K-th of N parts of the texts")
    parts.add_argument("--merge", action="store_true", help="make the matrices of what all shards have encoded")
    for name, (kind, summary) in ENCODER_OPTIONS.items():
        add(f"--{name.replace('_', '-')}", type=kind, default=None, help=summary)


def _show(parser: Parser) -> None:
    add_data(parser)
    add_profiles(parser)
    who = parser.group("profiles").add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", help="the user's id, as in the atomic files")
    who.add_argument("--item", metavar="ID", help="the item's id, as in the atomic files")


def _export(parser: Parser) -> None:
    add_data(parser, "name of the data set; not with --checkpoint", required=False)
    add_profiles(parser, encoder="whose embeddings (default: the only ones)")
    parser.group("model").add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="export the tables of this trained model for a service instead"
    )
    add = parser.group("output").add_argument
    add(
        "--output",
        "-o",
        type=Path,
        metavar="FOLDER",
        help="for NAME.useremb and NAME.itememb (default: beside NAME.inter), or for the tables of a model",
    )
    add("--archive", type=Path, metavar="FILE", help="write the whole tag into FILE.tar.gz instead")
    add("--format", choices=TABLES, default=TABLES[0], help="of the tables of a model (default: parquet)")
    add(
        "--until",
        choices=PARTS,
        help="sequential models: the part of the split with which users' sequences end (default: valid)",
    )
    add("--index", metavar="KIND", help="with them a faiss index of the items: Flat, HNSW32, IVF256,Flat, ...")
    add("--to", metavar="hf://...", help="share: a tag at hf://datasets/OWNER/NAME, a model at hf://OWNER/NAME")
    add("--yes", action="store_true", help="with --to: upload, after a call without it has said what")
    add("--public", action="store_true", help="with --to: a new repository that everyone sees (default: private)")


def _split(parser: Parser) -> None:
    add_data(parser, "data set with NAME.inter")
    add_profiles(parser, tag=None)
    add = parser.group("output").add_argument
    add("--name", help="name of the new data set (default: DATASET-split)")
    add("--output", "-o", type=Path, default=Path("dataset"), metavar="FOLDER", help="folder above it (default: dataset/)")


def _recommend(parser: Parser) -> None:
    add_data(parser, dataset=None)
    add_profiles(parser, tag=None)
    parser.group("model").add_argument(
        "--checkpoint", required=True, type=Path, metavar="FILE", help="model that a run has written, saved/NAME.pth"
    )
    group = parser.group("recommendations", "Data and profiles that have moved since: --data-path, --semantic-path.")
    who = group.add_mutually_exclusive_group()
    who.add_argument("--user", action="append", metavar="ID[,ID]", help="users, by their ids in the atomic files")
    who.add_argument("--all-users", action="store_true", help="every user of the run, and new ones")
    somebody = "somebody who chose these items, the latest last (sequential models)"
    who.add_argument("--items", action="append", metavar="ID[,ID]", help=somebody)
    group.add_argument("--topk", type=int, default=10, help="items per user (default: 10)")
    group.add_argument(
        "--keep",
        choices=KEEP,
        default="none",
        help="items that the user has interacted with and that may still be shown: none (default), heldout, those of "
        "validation and test, or all",
    )
    group.add_argument(
        "--until",
        choices=PARTS,
        help="sequential models: the part of the split with which users' sequences end (default: test; --keep heldout: train)",
    )
    add = group.add_argument
    add(
        "--new-items",
        type=Path,
        metavar="FILE",
        help="items that training never saw, as NAME.item or JSON lines of item_id, profile (AlphaRec, NAME_Semantic, con)",
    )
    add("--new-users", type=Path, metavar="FILE", help="JSON lines with user_id and history (item ids), profile, or both")
    add("--interactions", type=Path, metavar="FILE", help="later interactions of known and new users and items, as NAME.inter")
    add("--only-items", type=Path, metavar="FILE", help="recommend these items alone, one id a line")
    add("--exclude", type=Path, metavar="FILE", help="items to leave out, one id a line")
    add("--where", metavar="EXPR", help="items alone that fit, by columns of .item: \"category == 'Books' and price < 20\"")
    add(
        "--diversify",
        type=float,
        default=0.0,
        metavar="WEIGHT",
        help="how much it counts that an item is unlike those above it, 0 (default) to 1",
    )
    add(
        "--reasons",
        action="store_true",
        help="with each item the nearest ones of the user's history, and the sentence of the user's profile that fits it best",
    )
    share = "processes that share the users, 8,192 at a time (default: 1); torchrun starts them too"
    parser.group("processes").add_argument("--nproc", metavar="N", help=share)
    add = parser.group("output").add_argument
    add("--format", choices=FORMATS, default="table", help="how to write them (default: table)")
    add(
        "--output",
        "-o",
        type=Path,
        metavar="FILE",
        help="file to write (default: the screen); the same command goes on where it broke off",
    )


def _similar(parser: Parser) -> None:
    add_data(parser, dataset=None)
    add_profiles(
        parser, encoder="whose embeddings (default: those of the run)", tag="which profiles (default: those of the run)"
    )
    parser.group("model").add_argument(
        "--checkpoint", required=True, type=Path, metavar="FILE", help="model that a run has written, saved/NAME.pth"
    )
    group = parser.group("recommendations")
    who = group.add_mutually_exclusive_group()
    who.add_argument("--item", action="append", metavar="ID[,ID]", help="items, by their ids in the atomic files")
    who.add_argument("--all-items", action="store_true", help="every item of the run")
    group.add_argument(
        "--by",
        choices=LIKENESS,
        default=LIKENESS[0],
        help="behaviour: how the model represents them (default); text: their profiles; both: the mean of the cosines",
    )
    group.add_argument("--topk", type=int, default=10, help="similar items per item (default: 10)")
    add = parser.group("output").add_argument
    add("--format", choices=FORMATS, default="table", help="how to write them (default: table)")
    add("--output", "-o", type=Path, metavar="FILE", help="to write (default: the screen)")


def _advise(parser: Parser) -> None:
    add_data(parser)
    add_profiles(parser)


def _report(parser: Parser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="results folders, --output of experiments")
    parser.group("model").add_argument(
        "--model", metavar="NAME", help="backbone of map and profile browser (default: one whose trained models were kept)"
    )
    add = parser.group("output").add_argument
    add("--projection", choices=("tsne", "pca"), default="tsne", help="of the map (default: tsne)")
    add("--limit", type=int, help="users and items in the browser, of each (default: 2000, fewer where texts are long)")
    add("--output", "-o", type=Path, default=Path("report.html"), metavar="FILE", help="to write (default: report.html)")


def _benchmark(parser: Parser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="results folders of compare and tune")
    add = parser.group("output").add_argument
    add("--output", "-o", required=True, type=Path, metavar="FILE", help="page to write, Markdown")


COMMANDS = {
    "run": Command("train and evaluate a model, as run_recbole_rlmrec.py does", _run),
    "doctor": Command("say what is installed, which data sets and profiles are there, and what is missing", _doctor, False),
    "convert": Command("make a data set out of CSV, Parquet, JSON lines or a database", _convert, False),
    "import": Command("take profiles, or the data that the RLMRec authors publish, into a data set", _import, False),
    "profile": Command("let a chat model write profiles of items and users", _profile),
    "encode": Command("turn profiles into semantic embeddings", _encode, False),
    "show": Command("print a profile with its reasoning and the history it quotes", _show),
    "export": Command("give embeddings to other models of RecBole, a model to a service, or a tag to other people", _export),
    "split": Command("draw a split once and keep it as a data set of its own", _split),
    "advise": Command("measure a data set and say which variant, with which options, is worth trying first", _advise),
    "recommend": Command("the top items of some or all users, by a trained model", _recommend, False),
    "similar": Command("the items most like an item, by behaviour, by text, or by both", _similar, False),
    "report": Command("experiments as one HTML file to look at", _report, False),
    "benchmark": Command("a benchmark page from the stored results of experiments", _benchmark, False),
}
