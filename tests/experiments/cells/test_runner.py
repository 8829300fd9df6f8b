"""Cells run once each, are kept whole, and are found again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from launchers import FakeLauncher

import recbole_rlmrec
from recbole_rlmrec.data.files import digest_source
from recbole_rlmrec.errors import ConfigError, StoreError
from recbole_rlmrec.experiments.cells import worker
from recbole_rlmrec.experiments.cells.cell import Cell, package_versions
from recbole_rlmrec.experiments.cells.launch import LocalLauncher, environment
from recbole_rlmrec.experiments.cells.runner import Runner, last_line, reason
from recbole_rlmrec.plugin.source import COMPUTING, source_digest


def a_cell(seed=1, variant="base", keep=False, **options):
    alignment = {"base": "none"}.get(variant, variant)
    return Cell("LightGCN", variant, seed, "LightGCN_RLMRec", "tiny", {"alignment": alignment, **options}, {}, {}, keep)


def runner(folder, launcher, **options):
    said = []
    made = Runner(folder, launcher, say=said.append, **options)
    made.said = said
    return made


def test_a_cell_is_run_once_and_found_again(tmp_path, fake):
    cells = [a_cell(1), a_cell(2), a_cell(1)]
    outcomes = runner(tmp_path, fake).run(cells)
    assert len(fake.started) == 2
    assert [outcome.cell.seed for outcome in outcomes] == [1, 2, 1]
    again = runner(tmp_path, fake)
    assert [o.metrics for o in again.run(cells)] == [o.metrics for o in outcomes]
    assert len(fake.started) == 2
    assert again.said == ["2 of 2 cells are there from before."]


def test_what_makes_no_difference_is_no_other_cell():
    assert a_cell(data_path="/a").key == a_cell(data_path="/b").key
    assert a_cell(align_weight=0.1).key == a_cell(align_weight=0.2).key
    assert a_cell(variant="con", align_weight=0.1).key != a_cell(variant="con", align_weight=0.2).key
    assert a_cell(epochs=3).key != a_cell(epochs=4).key
    assert a_cell(1).key != a_cell(2).key
    assert a_cell(gpu_id="").key != a_cell(gpu_id="0").key


def test_a_failed_cell_is_told_with_its_last_line_and_tried_again(tmp_path):
    launcher = FakeLauncher(fails=lambda settings: settings["seed"] == 2)
    first = runner(tmp_path, launcher)
    outcomes = first.run([a_cell(1), a_cell(2), a_cell(3)])
    assert [outcome.cell.seed for outcome in outcomes] == [1, 3]
    (failure,) = first.failed.values()
    assert failure["reason"] == "ValueError: no such luck"
    assert (tmp_path / "failed" / a_cell(2).key / "output.log").is_file()

    launcher.fails = lambda settings: False
    second = runner(tmp_path, launcher)
    assert len(second.run([a_cell(1), a_cell(2), a_cell(3)])) == 3
    assert launcher.started[-1] == ("none", 2)
    assert not second.failed and not (tmp_path / "failed" / a_cell(2).key).exists()


def test_only_wanted_models_are_kept_and_a_missing_one_is_trained_again(tmp_path, fake):
    (plain,) = runner(tmp_path, fake).run([a_cell()])
    assert plain.checkpoint is None and not (plain.folder / "saved").exists()
    (kept,) = runner(tmp_path, fake).run([a_cell(keep=True)])
    assert kept.checkpoint.read_bytes() == b"model"
    assert len(fake.started) == 2


def test_side_by_side_gives_the_same_in_the_same_order(tmp_path):
    cells = [a_cell(seed) for seed in range(6)]
    one = runner(tmp_path / "one", FakeLauncher(jobs=1)).run(cells)
    many = runner(tmp_path / "many", FakeLauncher(jobs=4)).run(cells)
    assert [o.metrics for o in one] == [o.metrics for o in many]
    assert not list((tmp_path / "many" / "work").iterdir())


def test_cells_of_another_version_are_refused_unless_told(tmp_path, fake):
    (outcome,) = runner(tmp_path, fake).run([a_cell()])
    path = outcome.folder / "cell.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "versions": {**record["versions"], "recbole-rlmrec": "0.0.1"}}))
    with pytest.raises(ConfigError, match=r"recbole-rlmrec 0\.0\.1 .*--trust-cells"):
        runner(tmp_path, fake).run([a_cell()])
    assert len(runner(tmp_path, fake, trust_cells=True).run([a_cell()])) == 1


def last_checkpoint(folder):
    found = folder / "saved" / "resume" / "x" / "m.last"
    found.parent.mkdir(parents=True)
    found.write_bytes(b"state")
    return found


@pytest.mark.parametrize("place", ["work", "failed"])
def test_a_half_trained_cell_goes_on_where_it_was(tmp_path, fake, place):
    """Killed with its experiment it is in work/, killed alone it is in failed/."""
    found = []

    class Launcher(FakeLauncher):
        def __call__(self, folder, argv):
            found.extend(folder.glob("saved/resume/*/*.last"))
            found.append(argv[-1])
            for path in (folder / "saved").glob("*"):
                path.rename(folder / "elsewhere")
            if (folder / "saved").exists():
                (folder / "saved").rmdir()
            return super().__call__(folder, argv)

    last_checkpoint(tmp_path / place / a_cell().key)
    again = runner(tmp_path, Launcher())
    with again.locked():
        (outcome,) = again.run([a_cell()])
    assert [getattr(path, "name", path) for path in found] == ["m.last", "--resume"]
    assert not list((tmp_path / "work").iterdir()) and not (outcome.folder / "elsewhere").exists()
    assert not (tmp_path / "failed" / a_cell().key).exists()


def test_cells_of_other_code_are_refused_unless_trusted(tmp_path, fake, monkeypatch):
    runner(tmp_path, fake).run([a_cell()])
    monkeypatch.setattr("recbole_rlmrec.experiments.cells.cell.source_digest", lambda: "f" * 16)
    with pytest.raises(ConfigError, match=r"source code [0-9a-f]{16} \(here f{16}\).*--trust-cells"):
        runner(tmp_path, fake).run([a_cell()])
    assert len(fake.started) == 1
    assert len(runner(tmp_path, fake, trust_cells=True).run([a_cell()])) == 1


def test_cells_of_before_there_was_a_digest_are_refused_too(tmp_path, fake):
    (outcome,) = runner(tmp_path, fake).run([a_cell()])
    path = outcome.folder / "cell.json"
    record = json.loads(path.read_text())
    del record["versions"]["source"]
    path.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="source code that is not recorded"):
        runner(tmp_path, fake).run([a_cell()])


def test_the_digest_is_of_what_computes_a_result(tmp_path):
    for name in ("model", "plugin"):
        (tmp_path / name / "deep").mkdir(parents=True)
    folders = {name: tmp_path / name for name in ("model", "plugin")}
    (tmp_path / "model" / "deep" / "a.py").write_text("x = 1\n")
    first = digest_source(folders)
    (tmp_path / "model" / "notes.txt").write_text("nothing")
    assert digest_source(folders) == first
    (tmp_path / "model" / "deep" / "a.py").write_text("x = 2\n")
    second = digest_source(folders)
    (tmp_path / "model" / "deep" / "a.py").rename(tmp_path / "plugin" / "a.py")
    third = digest_source(folders)
    (tmp_path / "plugin" / "b.yaml").write_text("w: 1")
    assert len({first, second, third, digest_source(folders)}) == 4
    package = Path(recbole_rlmrec.__file__).parent
    assert all((package / name).is_dir() for name in COMPUTING if name != "properties")
    assert package_versions()["source"] == source_digest() and len(source_digest()) == 16


def test_one_experiment_at_a_time_and_leftovers_go(tmp_path, fake):
    (tmp_path / "work" / "left-by-a-killed-one").mkdir(parents=True)
    kept = last_checkpoint(tmp_path / "work" / "half-trained")
    with runner(tmp_path, fake).locked():
        assert [path.name for path in (tmp_path / "work").iterdir()] == ["half-trained"] and kept.is_file()
        with pytest.raises(StoreError, match="Another experiment runs"):
            with runner(tmp_path, fake).locked():
                pass


def test_an_interrupt_stops_the_cells_and_leaves_no_failure(tmp_path):
    class Interrupted(FakeLauncher):
        def __call__(self, folder, argv):
            if len(self.started) == 1:
                self.started.append("killed")
                raise KeyboardInterrupt
            return super().__call__(folder, argv)

    launcher = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, launcher).run([a_cell(seed) for seed in range(3)])
    assert launcher.stopped
    assert not (tmp_path / "failed").exists()
    rest = FakeLauncher()
    assert len(runner(tmp_path, rest).run([a_cell(seed) for seed in range(3)])) == 3
    assert ("none", 0) not in rest.started


def test_last_line_without_colours_and_blanks(tmp_path):
    log = tmp_path / "output.log"
    assert last_line(log) == ""
    log.write_text("first\n\x1b[1;31mrecbole-rlmrec\x1b[0m: It broke.\n\n")
    assert last_line(log) == "It broke."


def test_a_process_that_was_killed_says_so(tmp_path):
    (tmp_path / "output.log").write_text("epoch 12 training\n")
    assert reason(-9, tmp_path / "output.log") == "its process was ended by signal SIGKILL, perhaps for lack of memory"
    assert reason(1, tmp_path / "output.log") == "epoch 12 training"
    assert reason(3, tmp_path / "none.log") == "its process ended with status 3"


def test_threads_are_shared_among_jobs_unless_set(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment(2)["OMP_NUM_THREADS"] == "3"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert environment(2)["OMP_NUM_THREADS"] == "2"


def test_a_process_says_why_it_failed_and_its_launcher_can_end_it(tmp_path):
    launcher = LocalLauncher()
    assert launcher(tmp_path, ["--model=Nonsense", "--dataset=tiny", "--data_path=nowhere/"]) == 2
    assert "no model named 'Nonsense'" in last_line(tmp_path / "output.log")


def test_a_process_ends_with_its_parent(tmp_path):
    code = f"import runpy, threading, time; worker = runpy.run_path({worker.__file__!r}); "
    code += "threading.Thread(target=worker['_end_with_parent'], daemon=True).start(); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=tmp_path)
    process.stdin.close()
    assert process.wait(timeout=50) == 3
