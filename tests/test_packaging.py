"""What is shipped, and what happens where a package is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
PINNED_EXTRAS = ["dev", "docs", "tokens"]

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
    core = message_from_string(metadata["METADATA"])
    assert (core["Name"], core["Version"], core["License"]) == ("recbole-rlmrec", "0.1.0", "MIT")
    assert core["Description-Content-Type"] == "text/markdown"
    assert "recbole-rlmrec = recbole_rlmrec.cli:main" in metadata["entry_points.txt"]
    assert "MIT License" in metadata["LICENSE"]


def environment(python, extra=""):
    """Markers' variables of a Linux machine with that Python."""
    names = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    cpython = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    return {**names, **cpython, "python_version": python, "python_full_version": f"{python}.0", "extra": extra}


def applies(marker, *where):
    """Whether a requirement with that marker, or none, counts in one of the environments."""
    return marker is None or any(marker.evaluate(place) for place in where)


def declared(built, python, *extras):
    """What the package asks for there: (name, its extras, versions), as setup.py says."""
    where = [environment(python, extra) for extra in ("", *extras)]
    needs = map(Requirement, message_from_string(built[2]["METADATA"]).get_all("Requires-Dist"))
    return {(canonicalize_name(n.name), frozenset(n.extras), n.specifier) for n in needs if applies(n.marker, *where)}


@pytest.fixture(scope="module")
def lock():
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))


def marker_of(entry):
    return Requirement(f"{entry['name']}; {entry['marker']}").marker if "marker" in entry else None


def locked(lock, python):
    """Versions by name that uv installs there with PINNED_EXTRAS, found by following the lock from this package on."""
    packages, versions = {}, {}
    for package in lock["package"]:
        packages.setdefault(package["name"], []).append(package)
    where = [environment(python, f"extra-14-recbole-rlmrec-{extra}") for extra in PINNED_EXTRAS]
    ahead, seen = [{"name": "recbole-rlmrec", "extra": PINNED_EXTRAS}], set()
    while ahead:
        entry = ahead.pop()
        if not applies(marker_of(entry), *where):
            continue
        (package,) = (p for p in packages[entry["name"]] if entry.get("version") in (None, p.get("version")))
        versions[package["name"]] = package.get("version")
        for part in ("", *entry.get("extra", [])):
            if (package["name"], part) not in seen:
                seen.add((package["name"], part))
                ahead += package.get("optional-dependencies", {}).get(part, []) if part else package.get("dependencies", [])
    del versions["recbole-rlmrec"]
    return versions


def constraints(python):
    """Versions by name that constraints.txt gives there, each once."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pins = [pin for pin in pins if applies(pin.marker, environment(python))]
    versions = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    assert len(versions) == len(pins)
    return versions


def test_the_pythons_are_the_same_everywhere(built, lock):
    core = message_from_string(built[2]["METADATA"])
    classifiers = [line.rpartition(" ")[2] for line in core.get_all("Classifier") if "Python :: 3." in line]
    assert classifiers == PYTHONS
    for versions in (SpecifierSet(core["Requires-Python"]), SpecifierSet(lock["requires-python"])):
        assert [minor for minor in range(8, 20) if f"3.{minor}.0" in versions] == [10, 11, 12, 13, 14]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", ["test", "dev", "docs", "tune", "ray", "tokens"])
def test_the_lock_is_of_what_setup_py_asks_for(built, lock, python, extra):
    (package,) = (package for package in lock["package"] if package["name"] == "recbole-rlmrec")
    where = [environment(python), environment(python, extra)]
    asked = {
        (entry["name"], frozenset(entry.get("extras", [])), SpecifierSet(entry.get("specifier", "")))
        for entry in package["metadata"]["requires-dist"]
        if applies(marker_of(entry), *where)
    }
    assert asked == declared(built, python, extra), "run: uv lock"


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_are_the_versions_of_the_lock(lock, python):
    command = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1].lstrip("# ")
    assert all(f"--extra {extra}" in command for extra in PINNED_EXTRAS)
    assert constraints(python) == locked(lock, python), f"run: {command}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_pinned_versions_are_within_the_declared_ones(built, python):
    pinned = constraints(python)
    for name, _, versions in declared(built, python, "test", *PINNED_EXTRAS):
        assert pinned[name] in versions, name
    assert pinned["recbole"] == "1.2.1"
    assert ("ray" in pinned) == (python in ("3.10", "3.11"))


def test_pandas_2_1_0_is_not_admitted_because_it_cannot_read_atomic_files(built):
    (versions,) = (versions for name, _, versions in declared(built, "3.11") if name == "pandas")
    assert "2.1.0" not in versions and "2.1.1" in versions


def test_the_lock_names_the_public_registry_alone(lock):
    for package in lock["package"]:
        if package["name"] == "recbole-rlmrec":
            assert package["source"] == {"editable": "."}
            continue
        assert package["source"] == {"registry": "https://pypi.org/simple"}
        files = [package["sdist"]] if "sdist" in package else []
        files += package.get("wheels", [])
        assert files and all(f["url"].startswith("https://files.pythonhosted.org/") and f["hash"] for f in files)


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
from recbole_rlmrec.plugin.repairs import active
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
