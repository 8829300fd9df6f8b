"""A benchmark page in the form of RecBole's own, from the stored results of `compare` and `tune`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from recbole_rlmrec.data.files import read_json
from recbole_rlmrec.errors import ConfigError, StoreError
from recbole_rlmrec.experiments.cells.variants import VARIANTS
from recbole_rlmrec.experiments.results.stats import METHOD, smaller_is_better
from recbole_rlmrec.experiments.results.tables import Table, in_brackets, with_deviation
from recbole_rlmrec.model.lookup import SUFFIX

_HIDDEN = ("data_path", "semantic_path", "gpu_id", "show_progress", "benchmark_filename")


@dataclass
class Benchmark:
    """Results of one dataset.

    Attributes
    ----------
    compare : dict
        ``compare/results.json``.
    tune : dict or None
        ``tune/results.json``.
    """

    compare: dict
    tune: dict | None

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.compare["dataset"]


def read_benchmark(folders: Sequence[Path]) -> Benchmark:
    """Read results folders of one dataset; the last that has an experiment counts.

    Raises
    ------
    ConfigError
        There is no result of `compare`, or the folders are of several datasets or splits.
    StoreError
        A file is unreadable.
    """
    results: dict[str, dict] = {}
    for folder in folders:
        for name in ("compare", "tune"):
            path = folder / name / "results.json"
            if path.is_file():
                results[name] = read_json(path, StoreError, f"call `recbole-rlmrec experiment {name}` again")
    if "compare" not in results:
        where = ", ".join(map(str, folders))
        raise ConfigError(f"There are no results of compare in {where}; `recbole-rlmrec experiment compare` makes them.")
    datasets = {stored["dataset"] for stored in results.values()}
    if len(datasets) > 1:
        raise ConfigError(f"The folders hold results of several datasets ({', '.join(sorted(datasets))}); name those of one.")
    if len({stored["data"]["digest"] for stored in results.values() if not stored.get("resplit")}) > 1:
        raise ConfigError(f"compare and tune ran on different splits or files of {datasets.pop()}; name folders of one split.")
    return Benchmark(results["compare"], results.get("tune"))


def benchmark_page(benchmark: Benchmark) -> str:
    """The page as Markdown: dataset, settings, results, best parameters and search ranges, commands."""
    compare = benchmark.compare
    settings = {key: value for key, value in compare["settings"].items() if key not in _HIDDEN}
    config = "\n".join(f"{key}: {json.dumps(value)}" for key, value in sorted(settings.items()))
    metrics = ", ".join(compare["cells"][0]["metrics"]) if compare["cells"] else "none"
    commands = [results["command"] for results in (benchmark.tune, compare) if results]
    parts = [
        f"# {benchmark.dataset}, general recommendation with RLMRec",
        f"**Dataset:** {benchmark.dataset}, {_split(compare)}",
        f"**Evaluation method:** {_mode(compare)}; seeds {', '.join(map(str, compare['seeds']))}",
        f"**Evaluation metrics:** {metrics}",
        _profiles(compare),
        _dataset_table(compare).markdown().strip(),
        f"### Settings\n\n```yaml\n{config}\n```",
        results_table(compare).markdown().strip(),
        _parameter_table(benchmark).markdown().strip(),
        "### Commands\n\n```bash\n" + "\n".join(commands) + "\n```",
        f"Written by `recbole-rlmrec benchmark` from cells made with {_versions(compare)}.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _split(compare: dict) -> str:
    return "a split of its own for every seed" if compare.get("resplit") else "one split for all runs, frozen"


def _mode(compare: dict) -> str:
    mode = (compare["settings"].get("eval_args") or {}).get("mode", "full")
    return "full sorting" if mode == "full" else json.dumps(mode)


def _profiles(compare: dict) -> str:
    used = compare.get("profiles")
    if not used:
        return ""
    return f"**Profiles:** {used['tag']}, by {used['by']}, encoder {used['encoder']}, provenance {used['provenance']}"


def _dataset_table(compare: dict) -> Table:
    counts = compare["data"].get("counts")
    table = Table("Dataset Information", ["Dataset", "#Users", "#Items", "#Train", "#Valid", "#Test", "Sparsity"])
    if counts:
        total = sum(counts[part] for part in ("train", "valid", "test"))
        shown = [f"{counts[name]:,}" for name in ("users", "items", "train", "valid", "test")]
        table.rows.append([compare["dataset"], *shown, f"{1 - total / (counts['users'] * counts['items']):.4%}"])
    return table


def results_table(compare: dict) -> Table:
    """Mean and deviation of each metric by method, gains over base in brackets, the best of a backbone in bold."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for cell in compare["cells"]:
        groups.setdefault((cell["model"], cell["variant"]), []).append(cell["metrics"])
    models = list(dict.fromkeys(model for model, _ in groups))
    order = sorted(groups, key=lambda key: models.index(key[0]))
    metrics = list(compare["cells"][0]["metrics"]) if compare["cells"] else []
    tests = {(test["model"], test["variant"], test["metric"]): test for test in compare.get("comparisons", [])}
    means = {(key, metric): mean(cell[metric] for cell in groups[key]) for key in groups for metric in metrics}
    table = Table("Evaluation Results", ["Method", "Seeds", *metrics])
    for key in order:
        row = [_method(*key), len(groups[key])]
        for metric in metrics:
            values = [cell[metric] for cell in groups[key]]
            text = with_deviation(means[key, metric], stdev(values) if len(values) > 1 else None)
            best = (min if smaller_is_better(metric) else max)(means[other, metric] for other in groups if other[0] == key[0])
            text = f"**{text}**" if means[key, metric] == best else text
            test = tests.get((*key, metric))
            row.append(text + (in_brackets(test["gain"], test["holm_users"]) if test else ""))
        table.rows.append(row)
    table.notes = [f"* p < .05, ** p < .01, *** p < .001 over users. {METHOD}"]
    return table


def _method(model: str, variant: str) -> str:
    runs = VARIANTS[variant].runs(model)
    return model if variant == "base" else f"{runs} ({variant})" if runs.endswith(SUFFIX) or variant == "text" else runs


def _parameter_table(benchmark: Benchmark) -> Table:
    searches = {(search["model"], search["variant"]): search for search in (benchmark.tune or {}).get("searches", [])}
    table = Table("Hyper-parameters", ["Method", "Hyper-parameters used", "Tuning range", "Trials"])
    for model, variant in dict.fromkeys((cell["model"], cell["variant"]) for cell in benchmark.compare["cells"]):
        used = benchmark.compare["params"].get(model, {}).get(variant, {})
        search = searches.get((model, variant))
        best = ", ".join(f"{name}={value}" for name, value in sorted(used.items())) or "defaults"
        row = [_method(model, variant), best, "not tuned", 0]
        if search and (search["best"] or {}).items() <= used.items():
            row[2:] = [_ranges(search["space"]), len(search["trials"])]
        table.rows.append(row)
    return table


def _ranges(space: dict) -> str:
    return "; ".join(f"{name} {kind} {values}" for kind, ranges in space.items() for name, values in ranges.items())


def _versions(compare: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in compare["versions"].items())
