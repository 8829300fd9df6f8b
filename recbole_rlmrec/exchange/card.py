"""Cards of what is shared: of what data and split, by what model and prompts, at what cost, and what it quotes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from recbole_rlmrec.data.files import file_digest
from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.embeddings import list_encoders, read_embeddings
from recbole_rlmrec.errors import CheckpointError

_HEAD = "---\nlicense: unknown\ntags:\n{tags}---\n\n# {title}\n\n"
_LICENCE = """
## Licence

To be filled in by whoever shares this: {what}
"""


def tag_card(folder: Path) -> str:
    """Card of a tag, Markdown.

    Parameters
    ----------
    folder : Path
        The tag's folder.
    """
    store = ProfileStore(folder)
    manifest = store.manifest
    dataset, how, usage = manifest.get("dataset"), manifest.get("how") or {}, manifest.get("usage") or {}
    counts = {side: len(store.texts(side)) for side in SIDES}
    pairs, unknown = store.quoted_pairs()
    split = " of the training split" if manifest.get("split_hash") else ""
    quoted = f"{len(pairs.drop_duplicates()):,} interactions{split}, by the ids of user and item"
    rows = [
        ("data set", dataset),
        ("profiles", f"{counts['user']:,} users, {counts['item']:,} items"),
        ("training split", manifest.get("split_hash") or "not recorded"),
        ("written by", manifest.get("by")),
        ("made", manifest.get("made")),
        ("prompts", _inline(how) or "not recorded"),
        ("cost", "; ".join(f"{model}: {_inline(used)}" for model, used in usage.items()) or "not recorded"),
        ("embeddings", ", ".join(_encoders(folder, str(dataset))) or "none"),
        ("quotes", f"{quoted}{'; of some profiles it is not recorded what they quote' if unknown else ''}"),
    ]
    licence = _LICENCE.format(
        what=f"profiles repeat what titles, descriptions and reviews of {dataset} say, so its licence, and the terms of the "
        "model that wrote them, apply."
    )
    use = f"recbole-rlmrec import hf://datasets/OWNER/NAME --dataset {dataset}"
    return _card(f"Profiles of {dataset}: {folder.name}", ("recbole", "rlmrec", "user-profiles"), rows, licence, use)


def model_card(checkpoint: Path) -> str:
    """Card of a trained model, Markdown.

    Raises
    ------
    CheckpointError
        The file is no model.
    """
    from recbole_rlmrec.plugin.checkpoint import load_checkpoint
    from recbole_rlmrec.plugin.vocabulary import KEY

    found = load_checkpoint(checkpoint, map_location="cpu")
    if not isinstance(found, dict) or "config" not in found or "state_dict" not in found:
        raise CheckpointError(f"{checkpoint} holds no model of RecBole; give the .pth file that a run wrote.")
    config, kept = found["config"], found.get(KEY)
    quotes = "ids are not in the file"
    if kept:
        pairs = sum(len(split["items"]) for split in kept["splits"].values())
        counts = f"{len(kept['user']) - 1:,} users and {len(kept['item']) - 1:,} items"
        quotes = f"the ids of {counts}, and {pairs:,} interactions between them"
    names = (
        "alignment",
        "loss",
        "embedding_size",
        "learning_rate",
        "train_batch_size",
        "semantic_tag",
        "semantic_encoder",
        "seed",
    )
    settings = {name: config[name] for name in names if config[name] not in (None, "")}
    rows = [
        ("data set", config["dataset"]),
        ("model", config["model"]),
        ("settings", _inline(settings)),
        ("epoch", found.get("epoch")),
        (f"validation, {config['valid_metric']}", found.get("best_valid_score")),
        ("parameters", f"{sum(value.numel() for value in found['state_dict'].values()):,}"),
        ("SHA-256", file_digest(checkpoint)),
        ("holds", quotes),
    ]
    licence = _LICENCE.format(
        what=f"the model was trained on {config['dataset']}, whose licence applies, and so "
        "may the rights of its users: see what it holds."
    )
    use = f"recbole-rlmrec import hf://OWNER/NAME --dataset {config['dataset']}"
    return _card(f"{config['model']} on {config['dataset']}", ("recbole", "rlmrec", "recommendation"), rows, licence, use)


def _encoders(folder: Path, dataset: str) -> Iterable[str]:
    for name in list_encoders(folder):
        if (folder / "embeddings" / name / "manifest.json").is_file():
            found = read_embeddings(folder / "embeddings" / name, dataset)
            yield f"{found.manifest.get('encoder')} ({found.dim} dimensions)"


def _inline(values: Mapping) -> str:
    said = {key: value for key, value in values.items() if not isinstance(value, (dict, list)) and value is not None}
    return ", ".join(f"{key} {value}" for key, value in said.items())


def _card(title: str, tags: Iterable[str], rows: Iterable[tuple[str, object]], licence: str, use: str) -> str:
    head = _HEAD.format(title=title, tags="".join(f"- {tag}\n" for tag in tags))
    table = "".join(f"| {name} | {_cell(value)} |\n" for name, value in rows)
    how = f"\n## Use\n\n```bash\npip install recbole-rlmrec\n{use}\n```\n"
    made = "Made with [recbole-rlmrec](https://pypi.org/project/recbole-rlmrec/)."
    return f"{head}{made}\n\n| | |\n| --- | --- |\n{table}{licence}{how}"


def _cell(value: object) -> str:
    """A value for a cell of a Markdown table: one line, nothing that ends the cell, no markup."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text.replace("<", "&lt;")[:1000]
