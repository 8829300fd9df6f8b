"""Sections of the report that come from the experiments' results files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recbole_rlmrec.experiments.cells.cell import seconds_to_best
from recbole_rlmrec.experiments.results.tables import percent, stars
from recbole_rlmrec.report.figures import Figures, bars, dots, lines, summary
from recbole_rlmrec.report.parts import Missing, Section
from recbole_rlmrec.report.sources import Findings, Sources, experiment_command, variant_name

MARKS = "* p < .05, ** p < .01, *** p < .001 (paired t-test over users, Holm's correction)"


def result_sections(sources: Sources) -> tuple[list[Section], list[Missing]]:
    """Sections of every experiment that was run, and what was not."""
    sections, missing = [], []
    for names, build, what in _BUILDERS:
        found = sources.of(*names) if names else sources.compared
        section = build(found) if found else None
        if section is not None:
            section.paragraphs += [text for one in found if names for text in _remarks(one)]
            sections.append(section)
        else:
            wanted = names[0] if names else "compare"
            missing.append(Missing(what, "its experiment was not run in these folders", experiment_command(sources, wanted)))
    known = {name for names, _, _ in _BUILDERS for name in names}
    for one in sources.findings:
        if one.name not in known and one.results.get("tables"):
            sections.append(Section(f"experiment-{one.name}", one.name.capitalize(), tables=list(one.results["tables"])))
    return sections, missing


def _results(found: Sequence[Findings]) -> Section:
    section = Section("results", "Does it help?")
    for one in found:
        section.figures.append(_comparison_figures(one))
        section.tables += _tables(one)
    return section


def _comparison_figures(one: Findings) -> Figures:
    choices = {}
    for metric in one.metrics:
        models, variants, values = one.values(metric)
        known = {(c["model"], c["variant"]): c for c in one.results.get("comparisons", []) if c["metric"] == metric}
        labels = {v: [_gain(known.get((model, v))) for model in models] for v in variants}
        members = {v: [values.get((model, v), []) for model in models] for v in variants}
        choices[metric] = [bars(f"{metric} at test", models, members, labels, metric)]
    seeds = len({row["seed"] for row in one.rows})
    return Figures(
        f"Mean over {seeds} seed(s), error bars one standard deviation; relative gain over base, {MARKS}.",
        choices,
        "Metric",
    )


def _gain(comparison: dict | None) -> str:
    if comparison is None or comparison["gain"] is None:
        return ""
    return f"{percent(comparison['gain'])}{stars(comparison['holm_users'])}"


def _named_results(key: str, title: str, text: str) -> Callable[[Sequence[Findings]], Section]:
    def build(found: Sequence[Findings]) -> Section:
        section = Section(key, title, [text])
        for one in found:
            choices = {}
            for metric in one.metrics:
                models, names, values = one.values(metric)
                by_model = {m: {n: values[m, n] for n in names if (m, n) in values} for m in models}
                choices[metric] = [dots(f"{m}: {metric} at test", members, metric) for m, members in by_model.items()]
            section.figures.append(Figures("Mean over seeds, error bars one standard deviation.", choices, "Metric"))
            section.tables += _tables(one)
        return section

    return build


def _curves(found: Sequence[Findings]) -> Section | None:
    choices: dict[str, list] = {}
    outcomes = [outcome for one in found for outcome in one.outcomes if not outcome.cell.setting]
    for model in dict.fromkeys(outcome.cell.model for outcome in outcomes):
        members = [outcome for outcome in outcomes if outcome.cell.model == model and outcome.result.get("run")]
        first = min((outcome.cell.seed for outcome in members), default=None)
        losses: dict[str, list] = {}
        valid = []
        for outcome in members:
            about = {"name": outcome.cell.variant, "faint": outcome.cell.seed != first}
            series = outcome.result["run"]["series"]
            for name, values in series["losses"].items():
                losses.setdefault(name, []).append({**about, "x": list(range(1, len(values) + 1)), "y": values})
            epochs, scores = [epoch + 1 for epoch, _ in series["valid"]], [score for _, score in series["valid"]]
            valid.append({**about, "x": epochs, "y": scores})
        if valid:
            metric = str(members[0].result["settings"].get("valid_metric", "score")).lower()
            names = sorted(losses, key=lambda name: name == _ALIGNMENT)
            titles = {name: "Alignment loss" if name == _ALIGNMENT else f"Backbone's loss: {name}" for name in names}
            figures = [lines(f"{metric} at validation", valid, "epoch", metric)]
            choices[model] = figures + [lines(titles[name], losses[name], "epoch", "loss") for name in names]
    if not choices:
        return None
    caption = (
        "Each named loss with its weight, summed over the batches of an epoch. One line per run; the first seed is drawn "
        "strongly. Runs end where early stopping ends them."
    )
    return Section("curves", "Learning curves", figures=[Figures(caption, choices, "Model")])


def _noise(found: Sequence[Findings]) -> Section:
    section = Section("noise", "Fake interactions", ["Interactions that nobody made are added to the training split only."])
    for one in found:
        choices = {}
        for metric in one.metrics:
            figures = []
            for model in one.results.get("models", []):
                rows = [row for row in one.rows if row["model"] == model]
                series = [_by_level(rows, variant, metric) for variant in dict.fromkeys(row["variant"] for row in rows)]
                figures.append(lines(f"{model}, {metric} at test", series, "fake interactions, % of the real ones", metric))
            choices[metric] = figures
        section.figures.append(Figures("Mean over seeds, error bars one standard deviation.", choices, "Metric"))
        section.tables += _tables(one)
    return section


def _by_level(rows: Sequence[dict], variant: str, metric: str) -> dict:
    mine = [row for row in rows if row["variant"] == variant]
    levels = sorted({_level(row) for row in mine})
    means, deviations = zip(
        *(summary([r["metrics"][metric] for r in mine if _level(r) == level]) for level in levels), strict=True
    )
    return {"name": variant, "x": levels, "y": list(means), "error": list(deviations)}


def _level(row: dict) -> float:
    return float(str(row["setting"].get("noise", "0")).rstrip("%"))


def _groups(found: Sequence[Findings]) -> Section:
    text = "Where does alignment help? Users by their training interactions, test items by theirs."
    section = Section("groups", "Activity and popularity", [text])
    for one in found:
        rows = one.results.get("groups", [])
        choices = {}
        for model, metric in dict.fromkeys((row["model"], row["metric"]) for row in rows):
            mine = [row for row in rows if (row["model"], row["metric"]) == (model, metric)]
            kinds = dict.fromkeys(row["by"] for row in mine)
            figures = [_group_bars([r for r in mine if r["by"] == by], f"{metric} by {by}", metric) for by in kinds]
            choices[f"{model}, {metric}"] = figures
        caption = f"Ranges of training interactions. Error bars: one standard deviation over seeds; gain over base, {MARKS}."
        section.figures.append(Figures(caption, choices, "Model and metric"))
        section.tables += _tables(one)
    return section


def _group_bars(rows: Sequence[dict], title: str, metric: str):
    ranges = list(dict.fromkeys((row["from"], row["to"]) for row in rows))
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    known = {(row["variant"], row["from"], row["to"]): row for row in rows}
    members = {v: [known.get((v, *r), {}).get("values", []) for r in ranges] for v in variants}
    labels = {v: [_gain(known.get((v, *r), {}).get("comparison")) for r in ranges] for v in variants}
    return bars(title, [f"{first} to {last}" for first, last in ranges], members, labels, metric)


def _efficiency(found: Sequence[Findings]) -> Section:
    section = Section("efficiency", "What it costs", ["Measured one run at a time on the machine that ran the experiment."])
    for one in found:
        measures = {
            "Seconds per epoch": ("s", {row["key"]: row["epoch_seconds"] for row in one.rows}),
            "Training to the best epoch": (
                "s",
                {outcome.folder.name: seconds_to_best(outcome) for outcome in one.outcomes},
            ),
            "Memory of the run": ("MB", {row["key"]: row["peak_memory"] / 1e6 for row in one.rows}),
            "Trainable parameters": ("", {row["key"]: row["parameters"] for row in one.rows}),
        }
        figures = []
        for title, (unit, measured) in measures.items():
            models, variants = one.models_and_names()
            members = {
                v: [
                    [measured[r["key"]] for r in one.rows if (r["model"], variant_name(r)) == (m, v) and r["key"] in measured]
                    for m in models
                ]
                for v in variants
            }
            figures.append(bars(title, models, members, unit=unit))
        section.figures.append(Figures("Mean over seeds, error bars one standard deviation.", {"all": figures}))
        section.tables += _tables(one)
    return section


def _tables(one: Findings) -> list[dict]:
    tables = one.results.get("tables", [])
    return [{**table, "folded": position > 0 or len(table["rows"]) > 12} for position, table in enumerate(tables)]


def _remarks(one: Findings) -> list[str]:
    """What is missing from an experiment: cells that have not run, cells that failed."""
    failed = one.results.get("failed") or []
    reasons = dict.fromkeys(f"{cell['model']} {cell['variant']}: {cell['reason']}" for cell in failed)
    said = [f"Failed and not in these figures: {reason}" for reason in reasons]
    if not one.finished:
        there, planned = len(one.rows), one.results["planned"]
        said.insert(0, f"The experiment in {one.folder.name} is not finished: these are {there} of its {planned} cells.")
    return said


_ALIGNMENT = "alignment"
_ABLATION = "The same model with profiles that lack something: meaning, one side, their order."
_PRETRAIN = "A plain backbone on the later part of the data, by where its embeddings start."
_BUILDERS = (
    (("compare",), _results, "Results with significance"),
    ((), _curves, "Learning curves"),
    (
        ("ablation",),
        _named_results("ablation", "What do the profiles contribute?", _ABLATION),
        "What the profiles contribute",
    ),
    (("noise",), _noise, "Noise curves"),
    (("groups",), _groups, "Results by user activity and item popularity"),
    (("pretrain",), _named_results("pretrain", "As a start for another model", _PRETRAIN), "Pretraining"),
    (("efficiency",), _efficiency, "Efficiency"),
)
