"""RQ5: what does alignment cost? Seconds per epoch, memory, parameters, time to the best epoch."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from statistics import fmean

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.cell import Outcome, epochs_to_best, headline, seconds_to_best
from recbole_rlmrec.experiments.cells.launch import count_cpus
from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.cells.variants import read_variants
from recbole_rlmrec.experiments.results.comparison import grouped
from recbole_rlmrec.experiments.results.files import Results
from recbole_rlmrec.experiments.results.stats import mean_and_deviation
from recbole_rlmrec.experiments.results.tables import Table, with_deviation


def run(study: Study, args: argparse.Namespace) -> Results:
    """Run every variant alone on the machine and measure it; cells of other experiments do not count."""
    variants = read_variants(args.variants)
    if study.runner.jobs > 1:
        raise ConfigError("efficiency measures time, so its cells run one after the other; leave out --jobs and --ray.")
    study.check_models(variants)
    cells = [study.cell(model, variant, seed) for seed in study.seeds for model in study.models for variant in variants]
    threads = os.environ.get("OMP_NUM_THREADS", count_cpus())
    timed = {"threads": str(threads), "cpus": count_cpus()}  # times of other speeds are not put beside these
    cells = [replace(cell, identity={**cell.identity, "timed": timed}) for cell in cells]
    outcomes = study.run(cells)
    return Results(outcomes, [cost_table(outcomes)])


def cost_table(outcomes: list[Outcome]) -> Table:
    """Costs of each model and variant, means over seeds, the ratio to base in brackets."""
    metric = headline(outcomes[0])[0] if outcomes else "metric"
    columns = ["model", "variant", "seeds", "s/epoch", "epochs", "best epoch", "s to best epoch", "memory MB"]
    table = Table("Cost of training", [*columns, "GPU memory MB", "parameters", metric])
    groups = grouped(outcomes)
    for (model, name), found in groups.items():
        base = _seconds(groups.get((model, "base"), []))
        seconds = _seconds(found)
        ratio = f" ({seconds / base:.2f}x)" if base and name != "base" else ""
        gpu = [outcome.record["usage"]["peak_gpu_memory"] for outcome in found]
        means = [
            fmean(outcome.result["run"]["epochs"] for outcome in found),
            fmean(epochs_to_best(outcome) for outcome in found),
            fmean(seconds_to_best(outcome) for outcome in found),
            fmean(outcome.record["usage"]["peak_memory"] / 1e6 for outcome in found),
            None if None in gpu else fmean(value / 1e6 for value in gpu),
        ]
        head, parameters = [model, name, len(found)], found[0].result["run"]["parameters"]
        quality = mean_and_deviation([outcome.metrics[metric] for outcome in found])
        table.rows.append([*head, f"{seconds:.3f}{ratio}", *map(_short, means), parameters, with_deviation(*quality)])
        figures = [*head, seconds, *means, parameters, quality[0]]
        more = {"x base": seconds / base if base else None, f"{metric} deviation": quality[1]}
        table.records.append({**dict(zip(table.columns, figures, strict=True)), **more})
    table.notes = [
        "s/epoch: median over a run's epochs, mean over seeds. s to best epoch: training alone, without validation; "
        "without any validation the best epoch is the last. "
        "memory: the most that the process held beyond what it held before the run."
    ]
    return table


def _seconds(found: list[Outcome]) -> float:
    return mean_and_deviation([outcome.result["run"]["median_epoch_seconds"] for outcome in found])[0] if found else 0.0


def _short(mean: float | None) -> str | None:
    return mean if mean is None else f"{mean:.1f}" if mean < 100 else f"{mean:.0f}"
