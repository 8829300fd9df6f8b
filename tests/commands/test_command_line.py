"""One way to say a thing: every command, every option, in every spelling."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from recbole_rlmrec import cli, experiments
from recbole_rlmrec.commands import experiment_options, options, recommend
from recbole_rlmrec.commands.parser import GROUPS, SPELLING, read_command_line
from recbole_rlmrec.data.properties import is_option
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.exchange import serving
from recbole_rlmrec.experiments import ablation
from recbole_rlmrec.experiments.search.search import ALGORITHMS
from recbole_rlmrec.profiling.batch import MOST_REQUESTS
from recbole_rlmrec.runs import list_files, similar

ALL = {**cli.COMMANDS, **{f"experiment {name}": command for name, command in cli.EXPERIMENTS.items()}}

RECBOLE = {
    "learning_rate": "-1e-3",
    "topk": "[5,10]",
    "train_batch_size": "64",
    "gpu_id": "",
    "show_progress": "False",
    "val_interval": "{'rating':'[3,inf)'}",
    "USER_ID_FIELD": "-who",
    "metrics": "['Recall', 'NDCG']",
}

SPELLINGS = {
    "--data-path X": lambda name, value: [name, value],
    "--data-path=X": lambda name, value: [f"{name}={value}"],
    "--data_path X": lambda name, value: [f"--{name[2:].replace('-', '_')}", value],
    "--data_path=X": lambda name, value: [f"--{name[2:].replace('-', '_')}={value}"],
}


def parser_of(name: str):
    return cli.make_parser(name, ALL[name])


def sample(action: argparse.Action) -> str:
    if action.choices:
        return list(action.choices)[-1]
    return {int: "-3", float: "-0.5"}.get(action.type, "-a value=1,2")


def is_switch(action: argparse.Action) -> bool:
    return action.nargs == 0


def every_option(parser, spell) -> list[str]:
    """An argument list that sets every option of a command; of options that exclude each other, the first."""
    excluded = [group._group_actions[1:] for group in parser._mutually_exclusive_groups]
    words = ["word"] if parser.takes_words else []
    for action in parser._actions:
        names = [name for name in action.option_strings if name.startswith("--")]
        if not names or names == ["--help"] or any(action in group for group in excluded):
            continue
        words += [names[0]] if is_switch(action) else spell(names[0], sample(action))
    return words


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ALL)
def test_every_option_in_every_spelling(name, spelling):
    parser, spell = parser_of(name), SPELLINGS[spelling]
    recbole = {key: value for key, value in RECBOLE.items() if f"--{key.replace('_', '-')}" not in parser.declared}
    theirs = [word for key, value in recbole.items() for word in spell(f"--{key.replace('_', '-')}", value)]
    line = read_command_line(parser, [*theirs, *every_option(parser, spell)])
    reference = parser.parse_args(every_option(parser, SPELLINGS["--data-path=X"]))
    assert line.args == reference
    assert line.recbole == recbole and all(f"--{key}={value}" in line.options for key, value in recbole.items())
    shared = {"config_files", "data_path", "semantic_path", "semantic_tag", "semantic_encoder"}
    assert line.shared == {key: "-a value=1,2" for key in shared & set(vars(reference))}


@pytest.mark.parametrize("name", ALL)
def test_second_names_are_the_same_option(name):
    parser = parser_of(name)
    for action in parser._actions:
        for second in action.option_strings[1:]:
            if second not in ("-h", "--help", "-o"):
                assert second[2:].replace("-", "_") == f"semantic_{action.option_strings[0][2:]}"


@pytest.mark.parametrize("name", ALL)
def test_helps_have_the_same_groups_in_the_same_order(name):
    text = parser_of(name).format_help()
    titles = re.findall(r"^([A-Za-z ]+):$", text, flags=re.MULTILINE)
    groups = [title for title in titles if title not in ("options", "positional arguments")]
    assert groups == [title for title in GROUPS if title in groups] and groups[-1] == "RecBole"
    assert "have no effect here" in " ".join(text.split()) or ALL[name].uses_recbole
    assert "data" in groups or name in ("report", "benchmark")
    assert SPELLING in " ".join(text.split())


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("report", "benchmark")])
def test_every_command_says_where_things_lie(name):
    declared = parser_of(name).declared
    assert {"--data-path", "--semantic-path", "--config-files"} <= set(declared)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epohcs", "3"], "There is no option --epohcs; did you mean --epochs?"),
        (["--retry_faild"], "did you mean --retry-failed"),
        (["--archive=x"], "--archive is no option of profile, but of export"),
        (["--zzzzzzz=x"], "There is no option --zzzzzzz, neither here nor in RecBole"),
        (["-x"], "There is no option -x"),
        (["--seed=1", "--seed", "2"], "--seed is given twice"),
        (["--sample-items=1", "--sample_items=2"], "--sample-items is given twice"),
        (["--tag=a", "--semantic_tag", "b"], "--semantic-tag is given twice"),
        (["--seed"], "--seed needs a value"),
        (["--seed", "--dry-run"], "--seed needs a value"),
        (["--domain", "-h"], "--domain needs a value"),
        (["--dry-run=perhaps"], "--dry-run is a switch"),
        (["--topk", "[5,", "10]"], "The argument '10]' is not understood; .* in quotes"),
        (["--dry-run", "True"], "The argument 'True' is not understood"),
        (["-5"], "The argument '-5' is not understood"),
        (["--", "--seed=1"], "The argument '--seed=1' is not understood"),
    ],
)
def test_what_cannot_be_understood_is_one_sentence(words, said):
    with pytest.raises(ConfigError, match=said) as error:
        read_command_line(parser_of("profile"), words, cli.commands_with)
    assert "\n" not in str(error.value)


def test_switches_take_true_and_false():
    required = ["--dataset=d", "--tag=t", "--chat-model=m"]
    for word, wanted in (("--dry_run", True), ("--dry-run=True", True), ("--dry_run=false", False)):
        assert read_command_line(parser_of("profile"), [*required, word]).args.dry_run is wanted


def test_words_options_and_what_follows_two_dashes():
    for words in (
        ["a", "--limit", "3", "b", "-o", "r.html"],
        ["-or.html", "--limit=3", "a", "b"],
        ["--output=r.html", "--limit=3", "--", "a", "b"],
    ):
        args = read_command_line(parser_of("report"), words).args
        assert (args.folders, args.output, args.limit) == ([Path("a"), Path("b")], Path("r.html"), 3)
    args = read_command_line(parser_of("benchmark"), ["-o=x", "--", "--a", "-b"]).args
    assert args.folders == [Path("--a"), Path("-b")] and args.output == Path("x")


def test_users_may_be_repeated():
    words = ["--checkpoint=m.pth", "--user", "a,b", "--user=c"]
    assert read_command_line(parser_of("recommend"), words).args.user == ["a,b", "c"]


def test_unknown_commands(capsys):
    assert cli.main(["shwo"]) == 2 and cli.main(["experiment", "compere"]) == 2 and cli.main(["experiment", "zzz"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "recbole-rlmrec: There is no command 'shwo'; did you mean show?"
    assert "did you mean compare" in second and "there are compare, ablation" in third


def test_declarations_agree_with_what_they_are_of():
    assert tuple(experiment_options.EXPERIMENTS) == experiments.EXPERIMENTS
    assert experiment_options.KINDS == ablation.KINDS and experiment_options.ALGORITHMS == ALGORITHMS
    assert options.BATCH_REQUESTS == MOST_REQUESTS
    assert options.FORMATS == (*list_files.TEXTS, "parquet") and options.KEEP == tuple(recommend.HIDDEN)
    assert options.TABLES == serving.FORMS and options.LIKENESS == similar.BY


def test_options_of_recbole_are_known_without_importing_it():
    from recbole.utils import argument_list

    listed = (value for name, value in vars(argument_list).items() if name.endswith("_arguments"))
    keys = {key for values in listed for key in values}
    assert len(keys) > 50 and all(map(is_option, {*keys, "align_weight", "fast_loader", "ssl_tau", "semantic_tag"}))
    assert not any(map(is_option, ("epohcs", "ml-1m", "tag")))


def test_a_run_with_spaces_and_dashes(tiny, workdir):
    words = ["run", "--model", "BPR", "--dataset", "tiny", "--epochs", "1", "--train-batch-size", "64", "--gpu_id", ""]
    words += ["--topk", "[5,10]", "--valid-metric", "Recall@10", "--embedding-size=8", "--show_progress", "False"]
    assert cli.main([*words, "--result-file", "out.json", "--data-path", "dataset"]) == 0
    kept = json.loads((workdir / "out.json").read_text())
    assert kept["settings"]["train_batch_size"] == 64 and kept["run"]["epochs"] == 1 and "recall@5" in kept["test_result"]


def test_a_value_that_recbole_would_drop_is_told(tiny, capsys):
    assert cli.main(["run", "--dataset=tiny", "--save-dataset", "a=b"]) == 2
    assert "contains '=', which RecBole drops; put it into a --config_files file" in capsys.readouterr().err


def test_one_line_of_options_for_every_command(tiny, workdir, capsys):
    (workdir / "dataset").rename(workdir / "data")
    (workdir / "p.jsonl").write_text(
        "\n".join(json.dumps({"user_id": f"u{n}", "profile": f"likes {'drama' if n % 2 else 'comedy'} {n}"}) for n in range(20))
        + "\n"
        + json.dumps({"user_id": "u3", "profile": "likes drama", "pairs": [["u3", "i0"], ["u3", "i1"]]}).replace("u3", "u30", 1)
        + "\n"
    )
    Path("places.yaml").write_text("semantic_path: kept\n")
    common = ["--dataset", "tiny", "--data_path=data", "--config-files", "places.yaml", "--seed", "2020"]
    assert cli.main(["import", "p.jsonl", *common, "--semantic-tag=mine"]) == 0
    said = capsys.readouterr()
    assert "kept/tiny/semantic/mine" in said.out and "holds no interactions" not in said.out
    assert said.err == "recbole-rlmrec: import makes no use of --seed.\n"
    assert cli.main(["encode", *common, "--tag=mine", "--encoder", "lsa", "--dim=4"]) == 0
    assert cli.main(["show", *common, "--user", "u3"]) == 0
    assert "user u3, tag mine" in capsys.readouterr().out
    assert cli.main(["export", *common, "--archive", "mine.tar.gz"]) == 0 and Path("mine.tar.gz").is_file()
    assert cli.main(["doctor", *common[2:]]) == 0
    said = capsys.readouterr().out
    assert "Data sets under data" in said and "Data sets under kept" in said and "tiny: tiny.inter" in said


def test_show_reads_the_files_as_the_run_would(tiny, workdir, capsys):
    profile = {"item_id": "i3", "profile": "A film.", "pairs": [["u1", "i3"], ["u2", "i3"], ["u3", "i3"]]}
    (workdir / "p.jsonl").write_text(json.dumps(profile) + "\n")
    assert cli.main(["import", "p.jsonl", "--dataset=tiny", "--tag=mine"]) == 0
    header = "who:token;item_id:token;stars:float;text:token_seq"
    rows = ["u1;i3;4;what a good film this is", "u2;i3;1;one of two", "u2;i3;5;the other", "u4;i3;2;not quoted at all"]
    Path("dataset/tiny/tiny.train.inter").write_text("\n".join([header, *rows]) + "\n")
    Path("dataset/tiny/tiny.item").write_text("item_id:token;name:token_seq\ni3;Brazil\n")
    words = ["show", "--dataset=tiny", "--item=i3", "--field_separator", ";", "--USER_ID_FIELD=who", "--RATING_FIELD=stars"]
    capsys.readouterr()
    assert cli.main([*words, "--benchmark-filename", "['train']"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("item i3 (Brazil), tag mine")
    assert said[-3:] == ["  user u1; stars: 4; text: what a good film this is", "  user u2", "  user u3"]
    Path("dataset/tiny/tiny.inter").unlink()
    assert cli.main(words) == 0
    assert capsys.readouterr().out.splitlines() == said
    assert cli.main(["show", "--dataset=tiny", "--item=i3"]) == 2
    assert "option field_separator" in capsys.readouterr().err


def test_released_data_goes_into_one_folder(workdir, capsys):
    (workdir / "released").mkdir()
    words = ["import", "released", "--dataset=amazon", "--data_path=a"]
    assert cli.main([*words, "--semantic_path=b"]) == 2
    assert "goes into one folder" in capsys.readouterr().err
