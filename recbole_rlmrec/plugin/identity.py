"""What makes a run the run that it is: whoever gives the same gets the same result."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from recbole_rlmrec.data.paths import encoder_slug, semantic_root
from recbole_rlmrec.plugin.initial import SEMANTIC
from recbole_rlmrec.plugin.record import plain, versions
from recbole_rlmrec.plugin.source import source_digest

_ELSEWHERE = frozenset(
    "checkpoint_dir checkpoint_every resume show_progress state gpu_id data_path semantic_path log_wandb wandb_project "
    "nproc world_size ip port group_offset offset meeting_seconds "
    "dataset_save_path dataloaders_save_path save_dataset save_dataloaders".split()
)
"""Options that say where files are and what is shown."""


def digest_run(config, train, valid=None, provenance: dict | None = None) -> str:
    """Hash of all that makes a difference to training: options, data, profiles, versions; 16 hexadecimal digits."""
    options = {key: plain(value) for key, value in config.final_config_dict.items() if key not in _ELSEWHERE}
    said = {"options": options, "profiles": provenance, "versions": versions(), "source": source_digest()}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for dataset in (train, *getattr(train, "rlmrec_heldout", () if valid is None else (valid,))):
        for name in dataset.feat_name_list:
            columns = getattr(getattr(dataset, name), "interaction", {})
            for field, column in sorted(columns.items()):
                digest.update(f"{name} {field} {column.dtype} {tuple(column.shape)}".encode())
                digest.update(column.contiguous().numpy().tobytes())
    for field in (train.uid_field, train.iid_field):
        digest.update("\0".join(map(str, train.field2id_token[field])).encode())
    for folder in _folders(config, provenance):
        manifest = folder / "manifest.json"
        digest.update(manifest.read_bytes() if manifest.is_file() else b"-")
    return digest.hexdigest()[:16]


def _folders(config, provenance: dict | None) -> list[Path]:
    """Folders of embeddings that training reads."""
    folders = [Path(config["initial_embeddings"])] if config["initial_embeddings"] not in (None, "", SEMANTIC) else []
    if provenance and provenance.get("encoder"):
        tag = semantic_root(config) / str(provenance["tag"])
        folders.append(tag / "embeddings" / encoder_slug(str(provenance["encoder"])))
    return folders
