"""RecBole's own mistakes, mended: one function for each, which returns what it mends."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from pathlib import Path

import numpy as np

from recbole_rlmrec.errors import DataError
from recbole_rlmrec.plugin.modules import module_like

PADDING = "[PAD]"


def _atomic_files() -> str | None:
    """RecBole reads atomic files by rules of CSV that those separated by tabs do not follow, and slowly.

    A text that starts with a quotation mark swallows lines or stops the reader; surplus fields become an index and shift all
    columns. pandas 3 reads text as ``str`` columns, and ``frame[field].fillna(inplace=True)`` fills a copy, so the missing
    sequences, which RecBole splits next, are filled here.
    """
    from recbole_rlmrec.data.atomic import read_columns
    from recbole_rlmrec.data.columnar import concat_rows
    from recbole_rlmrec.data.lines import check_lines, line_of

    dataset = importlib.import_module("recbole.data.dataset.dataset")

    def read_csv(path, delimiter, usecols, dtype, encoding=None, **_):
        names = {column.split(":")[0]: column for column in usecols}
        numbers = [name for name, column in names.items() if dtype[column] is np.float64]
        tokens = [name for name, column in names.items() if column.endswith(":token")]
        frame = read_columns(path, names, delimiter, encoding or "utf-8", numbers, tokens).rename(columns=names)
        sequences = [column for column in frame if column.endswith("_seq")]
        frame[sequences] = frame[sequences].fillna("")
        return frame

    dataset.pd = module_like("pandas", **{**vars(dataset.pd), "read_csv": read_csv, "concat": concat_rows})
    original = dataset.Dataset._load_feat

    def load_feat(self, filepath, source):
        separator, encoding = self.config["field_separator"], self.config["encoding"] or "utf-8"
        if self._get_load_and_unload_col(source)[0] != set():
            check_lines(Path(filepath), separator, encoding)
        feat = original(self, filepath, source)
        for field in {self.uid_field, self.iid_field}.intersection(() if feat is None else feat):
            if (padding := (feat[field] == PADDING).to_numpy()).any():
                line = line_of(Path(filepath), separator, encoding, int(padding.argmax()))
                raise DataError(f"{filepath}, line {line}: {field} is {PADDING}, which RecBole keeps for itself; rename it.")
        return feat

    dataset.Dataset._load_feat = load_feat
    return "RecBole takes fields of atomic files that hold quotation marks, or that are too many or too few, for others"


def _missing_ids() -> str | None:
    """RecBole drops rows without a user, then those without an item by where they were before: others go, and these stay."""
    from recbole.data.dataset import Dataset

    def filter_nan_user_or_item(self):
        for field, name in ((self.uid_field, "user"), (self.iid_field, "item")):
            for feat_name, feat in ((f"{name}_feat", getattr(self, f"{name}_feat")), ("inter_feat", self.inter_feat)):
                if feat is not None and field is not None and (lost := feat.index[feat[field].isna()]).size:
                    self.logger.warning(f"{lost.size} rows of {feat_name} have no {field} and are left out.")
                    feat.drop(index=lost, inplace=True)

    Dataset._filter_nan_user_or_item = filter_nan_user_or_item
    return "RecBole leaves out the wrong rows where users and items are missing"


def _given_sequences() -> str | None:
    """RecBole makes sequences of a single file alone: data that come split must have them, under names of its choice."""
    from recbole.data.dataset import Dataset, SequentialDataset

    from recbole_rlmrec.plugin.sequences import presets, with_sequences

    build = Dataset.build

    def build_with_sequences(self):
        parts = build(self)
        return with_sequences(self, parts) if getattr(self, "rlmrec_makes_sequences", False) else parts

    original = SequentialDataset._benchmark_presets
    SequentialDataset._benchmark_presets = functools.partialmethod(functools.partial(presets, original))
    Dataset.build = build_with_sequences
    return "RecBole makes no sequences of data that come split"


def _exact_times() -> str | None:
    """RecBole sorts by times that it has rounded to float32; after the split they are float32 here, too."""
    from recbole.data.dataset import Dataset

    from recbole_rlmrec.plugin.times import as_recbole_has_them, keeping_times, note_deadlines, remember_scale, to_interaction

    convert, build = Dataset._dataframe_to_interaction, Dataset.build

    def build_exactly(self):
        with keeping_times(self) as drop:
            datasets = build(self)
            note_deadlines(self, datasets)
            drop(datasets)
        as_recbole_has_them([self, *datasets])
        return datasets

    Dataset._normalize = functools.partialmethod(functools.partial(remember_scale, Dataset._normalize))
    Dataset._dataframe_to_interaction = functools.partialmethod(functools.partial(to_interaction, convert))
    Dataset.build = build_exactly
    return "RecBole sorts by times that float32 has rounded"


def _download() -> str | None:
    """RecBole waits for other processes after it has downloaded a data set, also where there are none."""
    from recbole.data.dataset import Dataset

    original = Dataset._download

    def download(self):
        import torch

        barrier, torch.distributed.barrier = getattr(torch.distributed, "barrier", None), lambda: None
        try:
            return original(self)
        finally:
            torch.distributed.barrier = barrier

    Dataset._download = download
    return "RecBole fails after a download that a single process makes"


def _collected_counts() -> str | None:
    """RecBole's collector takes counts and counters for tensors.

    Its ItemCoverage, GiniIndex, AveragePopularity and TailPercentage fail.
    """
    import torch
    from recbole.evaluator import Collector
    from recbole.evaluator.collector import DataStruct

    def get_data_struct(self):
        """Hand over what was collected, and keep what belongs to the training data."""
        struct, kept = DataStruct(), DataStruct()
        for name, value in self.data_struct._data_dict.items():
            if isinstance(value, torch.Tensor):
                struct.set(name, value.cpu())
            else:
                struct.set(name, value)
                kept.set(name, value)
        self.data_struct = kept
        return struct

    Collector.get_data_struct = get_data_struct
    return "RecBole's metrics on counts of items fail"


def _preloaded_type() -> str | None:
    """RecBole hands preloaded embeddings over in float64; KSR multiplies them with float32 and fails."""
    from recbole.data.dataset import Dataset

    original = Dataset.get_preload_weight

    def get_preload_weight(self, field):
        return original(self, field).astype(np.float32)

    Dataset.get_preload_weight = get_preload_weight
    return "RecBole's KSR fails on preloaded embeddings, which are of another type than its own"


def _modules_in_checkpoints() -> str | None:
    """RecBole writes modules whole, with the data that they hold, beside their weights: reading such a file runs it.

    SASRecF, GRU4RecF, FDSA, DIN and DIEN name one of theirs as a further parameter; its weights are in the state, too.
    """
    from recbole.model.abstract_recommender import AbstractRecommender
    from torch.nn import Module

    original = AbstractRecommender.other_parameter

    def other_parameter(self):
        return {name: value for name, value in original(self).items() if not isinstance(value, Module)}

    AbstractRecommender.other_parameter = other_parameter
    return "RecBole's checkpoints of models with item features hold the data, and can be read only by running what they hold"


REPAIRS = (
    _atomic_files,
    _missing_ids,
    _given_sequences,
    _exact_times,
    _download,
    _collected_counts,
    _preloaded_type,
    _modules_in_checkpoints,
)
