"""What values RecBole's options take: a value of another type is a sentence here and a traceback in its depths."""

from __future__ import annotations

from collections.abc import Mapping

from recbole_rlmrec.errors import ConfigError

TEXT, NUMBER, COUNT, FLAG, TEXTS, COUNTS, TABLE, NAMED, SIZE = "text number count flag texts counts table named size".split()

_KINDS = {
    TEXT: """state data_path checkpoint_dir dataset_save_path dataloaders_save_path wandb_project learner transform valid_metric
        field_separator seq_separator encoding USER_ID_FIELD ITEM_ID_FIELD RATING_FIELD TIME_FIELD LABEL_FIELD NEG_PREFIX
        rm_dup_inter user_inter_num_interval item_inter_num_interval entity_kg_num_interval relation_kg_num_interval
        ITEM_LIST_LENGTH_FIELD LIST_SUFFIX POSITION_FIELD HEAD_ENTITY_ID_FIELD TAIL_ENTITY_ID_FIELD RELATION_ID_FIELD
        ENTITY_ID_FIELD semantic_path semantic_tag initial_embeddings test_mask""",
    NUMBER: "learning_rate weight_decay",
    COUNT: """seed worker epochs eval_batch_size eval_step stopping_step loss_decimal_place
        metric_decimal_place MAX_ITEM_LIST_LENGTH""",
    FLAG: """use_gpu reproducibility show_progress save_dataset save_dataloaders log_wandb shuffle require_pow enable_amp
        enable_scaler repeatable valid_metric_bigger filter_inter_by_user_or_item normalize_all kg_reverse_r
        fast_loader resume""",
    TEXTS: """metrics numerical_features additional_feat_suffix alias_of_user_id alias_of_item_id alias_of_entity_id
        alias_of_relation_id normalize_field benchmark_filename""",
    COUNTS: "topk",
    TABLE: "train_neg_sample_args eval_args clip_grad_norm seq_len",
    NAMED: "softmax_negatives",
    SIZE: "train_batch_size",
}
KINDS = {name: kind for kind, names in _KINDS.items() for name in names.split()}

_EXAMPLES = {
    TEXT: "a text",
    NUMBER: "a number",
    COUNT: "a whole number",
    FLAG: "True or False",
    TEXTS: "a list of texts",
    COUNTS: "a list of whole numbers, for example [10, 20]",
    TABLE: "names and values, {name: value}",
    NAMED: "`batch`, `all` or a whole number",
    SIZE: "`auto` or a whole number",
}
_TABLES = {  # name: type of the values, and what the option looks like
    "load_col": ((list,), "{inter: [user_id, item_id]}"),
    "unload_col": ((list,), "{inter: [rating]}"),
    "unused_col": ((list,), "{inter: [timestamp]}"),
    "threshold": ((int, float), "{rating: 3}"),
    "val_interval": ((str,), '{rating: "[3,inf)"}'),
    "preload_weight": ((str,), "{iid: item_emb}"),
}
_FEWEST = {
    **dict.fromkeys(("metric_decimal_place", "loss_decimal_place", "seed", "worker"), 0),
    **dict.fromkeys(("train_batch_size", "eval_batch_size"), 1),
}
_STATES = ("info", "debug", "error", "warning", "critical")


def check_types(options: Mapping[str, object], defaults: Mapping[str, object] | None = None) -> None:
    """Refuse a value whose type no run can use.

    Parameters
    ----------
    options : mapping
        What a person has set.
    defaults : mapping, optional
        A number among these takes a number; models read theirs by themselves otherwise.

    Raises
    ------
    ConfigError
        One sentence: the option, its value and what it takes.
    """
    for key, value in options.items():
        if value is None or value == "":
            continue
        wanted = _refused(key, value)
        if wanted is None and key not in KINDS and isinstance((defaults or {}).get(key), (bool, int, float)):
            wanted = _refused_for_number(value, defaults[key])
        if wanted:
            raise ConfigError(f"{key} is {_short(value)}; set it to {wanted}.")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refused(key: str, value: object) -> str | None:
    """What an option takes, where it does not take this."""
    if key in _TABLES:
        kinds, example = _TABLES[key]
        fits = isinstance(value, dict) and all(isinstance(name, str) and _is(part, kinds) for name, part in value.items())
        if fits and kinds == (list,):
            fits = all(isinstance(field, str) for fields in value.values() for field in fields)
        return None if fits or (key == "load_col" and value == {}) else f"a table such as {example}"
    kind = KINDS.get(key)
    fits = {
        None: lambda: True,
        TEXT: lambda: isinstance(value, str) and "\0" not in value,
        NUMBER: lambda: _is(value, (int, float)) and value == value,
        COUNT: lambda: _is_count(value, _FEWEST.get(key)),
        FLAG: lambda: isinstance(value, bool) or value in (0, 1),
        TEXTS: lambda: isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, str) for part in value)),
        COUNTS: lambda: _is_count(value, 1) or (isinstance(value, list) and all(_is_count(part, 1) for part in value)),
        TABLE: lambda: isinstance(value, dict) or value == "None",
        NAMED: lambda: isinstance(value, str) or _is_count(value, 1),
        SIZE: lambda: value == "auto" or _is_count(value, 1),
    }[kind]()
    if not fits:
        least = _FEWEST.get(key)
        return _EXAMPLES[kind] + (f" of at least {least}" if kind in (COUNT, SIZE) and least is not None else "")
    if key == "state" and value.lower() not in _STATES:
        return f"one of {', '.join(_STATES)}"
    return None


def _refused_for_number(value: object, default: object) -> str | None:
    if isinstance(value, (str, list, dict)):
        return "True or False" if isinstance(default, bool) else f"a number, for example {default!r}"
    return None


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)


def _is_count(value: object, least: int | None) -> bool:
    """Whole numbers, also as RecBole's users write them: 1e3."""
    whole = _is(value, (int, float)) and abs(value) < 2**53 and value == int(value)
    return whole and (least is None or value >= least)
