"""Hyper-parameter search with RecBole's HyperTuning, the same number of trials for base and aligned models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

import yaml

from recbole_rlmrec.data.files import read_yaml, replacing
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.cells.variants import read_variants
from recbole_rlmrec.experiments.results.files import Results
from recbole_rlmrec.experiments.results.tables import Table
from recbole_rlmrec.experiments.search.halving import Halving
from recbole_rlmrec.experiments.search.search import Search
from recbole_rlmrec.experiments.search.space import search_space


def run(study: Study, args: argparse.Namespace) -> Results:
    """Search for every model and variant; writes ``tune/best.yaml`` for ``--params``."""
    variants = read_variants(args.variants)
    if args.trials < 1:
        raise ConfigError(f"--trials is 1 or more, not {args.trials}.")
    _require_hyperopt()
    _require_validation(study)
    if study.options["epochs"] < 1:
        raise ConfigError("tune trains what it compares; set --epochs to 1 or more.")
    study.check_models(variants)
    own = read_yaml(args.space) if args.space else None
    spaces = {
        (model, variant): search_space(model, variant, own, study.given) for model in study.models for variant in variants
    }
    if args.prune and any("epochs" in ranges for space in spaces.values() for ranges in space.values()):
        raise ConfigError("--prune sets the epochs of each trial, so they cannot be searched; leave one of them out.")
    kind = Halving if args.prune else Search
    searches = [kind(study, *names, space, args.algorithm, args.trials) for names, space in spaces.items()]
    for seed in study.seeds:
        study.cell(study.models[0], variants[-1], seed)
    _run_all(searches, study)
    best: dict[str, dict] = {}
    for search in searches:
        if search.best.score is not None:
            given = study.params.get(search.model_name, {}).get(search.variant, {})
            best.setdefault(search.model_name, {})[search.variant] = {**given, **search.best.params}
    _write_best(study.output / study.name / "best.yaml", best)
    outcomes = [outcome for search in searches for trial in search.trials for outcome in trial.outcomes]
    findings = {"searches": [search.as_dict() for search in searches]}
    return Results(outcomes, [best_table(searches)], findings)


def _require_hyperopt() -> None:
    try:
        import hyperopt  # noqa: F401
    except ImportError:
        raise ConfigError("tune needs hyperopt, which is not installed: pip install 'recbole-rlmrec[tune]'.") from None


def _require_validation(study: Study) -> None:
    """Refuse a search without a validation score, in which every trial would be as good as any other."""
    if study.options["eval_step"] < 1:
        raise ConfigError("tune chooses by the validation score, and --eval_step=0 computes none; set it to 1 or more.")
    if study.data.pairs("valid").empty:
        raise ConfigError(
            "tune chooses by the validation score, and this split has no validation interactions; split so that there are some."
        )


def _run_all(searches: Sequence[Search], study: Study) -> None:
    """Run as many searches side by side as there are jobs; each proposes one point after the other."""
    with ThreadPoolExecutor(max_workers=study.runner.jobs) as pool:
        waiting = [pool.submit(search.run) for search in searches]
        try:
            for future in waiting:
                future.result()
        except BaseException:
            study.runner.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def best_table(searches: Sequence[Search]) -> Table:
    """What each search found."""
    metric = str(searches[0].study.options["valid_metric"]).lower()
    table = Table("Best of each search", ["model", "variant", "trials", f"valid {metric}", f"test {metric}", "options"])
    for search in searches:
        best = search.best
        test = mean(o.metrics[metric] for o in best.outcomes) if best.score is not None else None
        options = ", ".join(f"{name} {plain(value)}" for name, value in sorted(best.params.items()))
        table.rows.append([search.model_name, search.variant, len(search.trials), best.score, test, options])
    table.notes = [
        f"Chosen by the validation score alone, mean over {len(searches[0].study.seeds)} seed(s). "
        "Say --params OUTPUT/tune/best.yaml to use them."
    ]
    return table


def plain(value) -> str:
    """A value of an option, floats without needless digits."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _write_best(path: Path, best: dict) -> None:
    """Write the best options; those of models that were not searched this time stay."""
    known = read_yaml(path) if path.is_file() else {}
    for model, variants in best.items():
        known[model] = {**known.get(model, {}), **variants}
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(known), encoding="utf-8")
