"""Cells on a Ray cluster: a made-up one, and a local one where Ray can start."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells import launch
from recbole_rlmrec.experiments.cells.launch import RayLauncher
from recbole_rlmrec.experiments.cells.runner import last_line

BAD = ["--model=Nonsense", "--dataset=tiny"]


def made_up(cpus=3, fails=None):
    """A stand-in for the module ``ray``, whose tasks run here."""

    def init(**options):
        if fails is not None:
            raise fails
        module.options = options

    def remote(**resources):
        return lambda function: SimpleNamespace(remote=lambda *args: function(*args))

    module = SimpleNamespace(init=init, remote=remote, get=lambda value: value, cluster_resources=lambda: {"CPU": cpus})
    module.shutdown = lambda: setattr(module, "left", True)
    return module


def test_files_go_there_and_back(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", ray := made_up())

    class Local:
        def __call__(self, folder, argv):
            assert (folder / "cell.yaml").read_text() == "{}" and argv == ["--a=b"]
            (folder / "result.json").write_text("1")
            (folder / "saved").mkdir()
            (folder / "saved" / "m.pth").write_bytes(b"2")
            (folder / "log").mkdir()
            (folder / "log" / "much.log").write_text("3")
            return 0

    monkeypatch.setattr(launch, "LocalLauncher", Local)
    launcher = RayLauncher("auto")
    (tmp_path / "cell.yaml").write_text("{}")
    assert launcher.jobs == 3 and ray.options["address"] == "auto"
    assert launcher(tmp_path, ["--a=b"]) == 0
    assert (tmp_path / "result.json").read_text() == "1" and (tmp_path / "saved" / "m.pth").read_bytes() == b"2"
    assert not (tmp_path / "log").exists()
    launcher.stop()
    assert ray.left


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [(ConnectionError("refused"), "no Ray cluster at 'there:1'"), (ImportError("too new"), "cannot start: too new")],
)
def test_what_keeps_ray_from_starting_is_told(monkeypatch, reason, sentence):
    monkeypatch.setitem(sys.modules, "ray", made_up(fails=reason))
    with pytest.raises(ConfigError, match=sentence):
        RayLauncher("there:1")


def test_a_missing_ray_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"recbole-rlmrec\[ray\]"):
        RayLauncher("local")


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("pkg_resources") is None,
    reason="Ray is not installed, or setuptools is too new for it",
)
def test_a_local_cluster(tmp_path):
    launcher = RayLauncher("local")
    try:
        (tmp_path / "cell.yaml").write_text("{}")
        assert launcher(tmp_path, BAD) == 2
        assert "no model named 'Nonsense'" in last_line(tmp_path / "output.log")
    finally:
        launcher.stop()


def test_cells_get_what_they_ask_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", ray := made_up(cpus=5))
    assert RayLauncher("auto", 2).jobs == 2
    with pytest.raises(ConfigError, match="A cell needs 1 CPUs and 0.5 GPUs, and the cluster has 5 CPUs and 0 GPUs"):
        RayLauncher("auto", 1, 0.5)
    assert ray.left
    ray.cluster_resources = lambda: {"CPU": 8, "GPU": 2}
    assert RayLauncher("auto", 1, 0.5).jobs == 4


@pytest.mark.parametrize(("own", "more"), [("3", ["--gpu_id=3"]), ("", [])])
def test_a_cell_takes_the_gpu_that_ray_gave(monkeypatch, own, more):
    seen = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", own)
    monkeypatch.setattr(launch, "LocalLauncher", lambda: lambda folder, argv: seen.extend(argv) or 0)
    assert launch.run_in_temporary_folder(BAD, {}) == (0, {}) and seen == [*BAD, *more]
