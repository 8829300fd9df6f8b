"""What is shipped, and what happens where a package is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Missing())
"""


def python_without(package, code, folder):
    """Run code in a fresh interpreter in which a package cannot be imported."""
    command = [sys.executable, "-c", BLOCK.format(package=package) + code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Names of the files in the wheel and in the source distribution, and the wheel's metadata by file name."""
    pytest.importorskip("setuptools", minversion="70.1")
    source = tmp_path_factory.mktemp("source")
    for name in ("recbole_rlmrec", "properties"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    code = "from setuptools import build_meta as b; b.build_sdist('made'); b.build_wheel('made')"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = (source / "made").glob("*.whl")
    (archive,) = (source / "made").glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as shipped, tarfile.open(archive) as sources:
        metadata = {Path(name).name: shipped.read(name).decode() for name in shipped.namelist() if ".dist-info/" in name}
        return set(shipped.namelist()), {name.partition("/")[2] for name in sources.getnames()}, metadata


def files(folder, pattern):
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}
    assert found
    return found


def test_the_wheel_holds_every_module_and_every_yaml(built):
    wheel, _, _ = built
    assert files("recbole_rlmrec", "*.py") <= wheel
    assert files("recbole_rlmrec", "*.yaml") <= wheel
    assert {f"recbole_rlmrec/{name}" for name in files("properties", "*.yaml")} <= wheel
    assert files("recbole_rlmrec/report/static", "*.*") | files("recbole_rlmrec/report/templates", "*.*") <= wheel
    assert not [name for name in wheel if name.startswith(("tests/", "properties/"))]


def test_the_source_distribution_holds_what_the_wheel_is_built_from(built):
    _, sources, _ = built
    wanted = files("recbole_rlmrec", "*.py") | files("recbole_rlmrec", "*.yaml") | files("properties", "*.yaml")
    assert wanted | {"setup.py", "LICENSE", "README.md"} <= sources


def test_metadata(built):
    _, _, metadata = built
    lines = metadata["METADATA"].splitlines()
    assert "Name: recbole-rlmrec" in lines
    assert 'Requires-Dist: recbole==1.2.1; python_version < "3.12"' in lines
    assert 'Requires-Dist: colorlog==4.7.2; python_version >= "3.12"' in lines
    assert "recbole-rlmrec = recbole_rlmrec.cli:main" in metadata["entry_points.txt"]
    assert "MIT License" in metadata["LICENSE"]


RUN_WITHOUT_RAY = """
import json
import recbole_rlmrec
from recbole.quick_start import objective_function, quick_start, run_recbole
options = json.loads({options!r})
result = run_recbole(model="BPR", dataset="tiny", config_dict=dict(options))
again = objective_function(config_dict={{**options, "model": "BPR"}})
try:
    quick_start.tune.run()
except ImportError as error:
    print(error)
from recbole_rlmrec.plugin.compat import active
print(sorted(name for name in sys.modules if name.split(".")[0] == "ray"), [repair.name for repair in active()])
print(result["test_result"]["recall@10"], again["test_result"]["recall@10"])
"""


def test_recbole_runs_without_ray(tiny, workdir):
    options = json.dumps({**tiny, "epochs": 1, "state": "ERROR"})
    done = python_without("ray", RUN_WITHOUT_RAY.format(options=options), workdir)
    assert done.returncode == 0, done.stderr
    remedy, modules, recall = done.stdout.strip().splitlines()[-3:]
    assert remedy.startswith("ray.tune.run needs Ray") and "pip install" in remedy
    assert modules.startswith("[] ") and "'ray'" in modules
    assert all(0 <= float(value) <= 1 for value in recall.split())
    assert "Warning" not in done.stderr


def test_without_recbole_the_command_that_installs_it_is_named(workdir):
    done = python_without("recbole", "import recbole_rlmrec", workdir)
    assert done.returncode == 1
    option = "--no-deps " if sys.version_info >= (3, 12) else ""
    assert f"which is not installed: pip install {option}recbole==1.2.1" in done.stderr.splitlines()[-1]
