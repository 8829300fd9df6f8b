"""Importing the package: what it costs, and that RecBole is repaired and extended whoever imports it first."""

from __future__ import annotations

import importlib
import os
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import recbole_rlmrec
from recbole_rlmrec import importing
from recbole_rlmrec.model.lookup import aligned_model

ROOT = Path(__file__).resolve().parents[1]
LIGHT = (
    "errors",
    "importing",
    "cli",
    "commands.options",
    "commands.show",
    "data",
    "llm",
    "profiling",
    "encoding",
    "exchange.archive",
    "exchange.convert",
    "exchange.profiles",
    "exchange.released",
    "commands.export",
    "commands.import_",
    "commands.profile",
)

LOADED = "sorted({'torch', 'recbole', 'transformers', 'numpy', 'pandas'} & set(sys.modules))"

CHECK = """
import numpy, recbole.quick_start.quick_start, recbole.utils, torch
from recbole.data.dataset import Dataset
from recbole_rlmrec import importing
from recbole_rlmrec.model import lookup
from recbole_rlmrec.plugin import repairs, seams
assert numpy.float is numpy.float64 and 'torch_load' in [one.name for one in repairs.active()]
assert torch.load.__wrapped__.__code__.co_filename.endswith('torch/serialization.py')
for module in (recbole.utils, recbole.quick_start.quick_start, recbole.config.configurator):
    assert module.get_model is lookup.find_model, module
assert Dataset.build is seams._build and lookup.original_get_model.__module__ == 'recbole.utils.utils'
assert recbole.utils.get_model('BPR_RLMRec').__name__ == 'BPR_RLMRec'
assert sum(type(one).__name__ == 'RecBoleFinder' for one in sys.meta_path) == 1
assert recbole.__file__ and type(recbole.__loader__).__name__ == 'SourceFileLoader'
"""

FORKED = """
import os, sys, traceback
import pandas, scipy.sparse, sklearn.metrics, torch.utils.tensorboard
for number, code in enumerate({codes!r}):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            exec(compile(code, f'code {{number}}', 'exec'), {{'__name__': '__main__', 'sys': sys}})
            status = 0
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os._exit(status)
    print(number, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

THREADS = """
import threading
import recbole_rlmrec
names, failed = ['recbole.config', 'recbole.config', 'recbole', 'recbole.utils'], []
barrier = threading.Barrier(len(names) + 1)
def use(action):
    barrier.wait()
    try:
        action()
    except BaseException as error:
        failed.append(error)
import importlib
actions = [lambda name=name: importlib.import_module(name) for name in names] + [lambda: recbole_rlmrec.register_model]
threads = [threading.Thread(target=use, args=(action,)) for action in actions]
[thread.start() for thread in threads]
[thread.join(120) for thread in threads]
assert not failed and not any(thread.is_alive() for thread in threads), failed
"""

INTERRUPTED = """
import recbole_rlmrec
class Once:
    def find_spec(self, name, path=None, target=None):
        if name == 'recbole.trainer':
            sys.meta_path.remove(self)
            raise KeyboardInterrupt
sys.meta_path.insert(0, Once())
try:
    import recbole.quick_start
except KeyboardInterrupt:
    pass
else:
    raise AssertionError
left = [name for name in sys.modules if name.split('.')[0] == 'recbole' or name.startswith('recbole_rlmrec.plugin')]
assert not left, left
from recbole.config import Config
"""

RELOADS = """
from importlib import reload
import recbole_rlmrec, recbole
reload(recbole_rlmrec)
reload(recbole)
"""

ORDERS = {
    "RecBole first": "from recbole.config import Config\nimport recbole_rlmrec",
    "RecBole first, its package alone": "import recbole\nimport recbole_rlmrec",
    "every public name": "from recbole_rlmrec import *\nassert RLMRecMixin and register_model",
    "model look-up": "import recbole_rlmrec.model.lookup",
    "a module that derives from RecBole's": "import recbole_rlmrec.plugin.evaluation",
    "repairs as an attribute": "import recbole_rlmrec\nrecbole_rlmrec.plugin.repairs.active()",
    "semantic embeddings": "import recbole_rlmrec.semantic.load",
    "a pickled class": f"import pickle\npickle.loads({pickle.dumps(aligned_model('BPR'))!r})",
    "ours first, then reloads": RELOADS,
    "several threads": THREADS,
    "an import that was stopped": INTERRUPTED,
}


def python(code: str, *options: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, so that torch is imported once")
def test_recbole_is_repaired_in_every_order():
    done = python(FORKED.format(codes=["import sys\n" + code + CHECK for code in ORDERS.values()]))
    lines = dict(line.split() for line in done.stdout.splitlines() if line[:1].isdigit() and len(line.split()) == 2)
    failed = [name for number, name in enumerate(ORDERS) if lines.get(str(number)) != "0"]
    assert not failed, done.stderr


def test_modules_below_the_models_need_neither_torch_nor_recbole():
    names = []
    for name in LIGHT:
        module = importlib.import_module(f"recbole_rlmrec.{name}")
        parts = pkgutil.iter_modules(module.__path__) if hasattr(module, "__path__") else ()
        names += [f"recbole_rlmrec.{name}", *(f"recbole_rlmrec.{name}.{part.name}" for part in parts)]
    assert len(names) > 40
    code = f"import sys, importlib\n[importlib.import_module(name) for name in {names}]\nprint({LOADED})"
    done = python(code)
    assert done.stdout.strip() == "['numpy', 'pandas']", done.stdout + done.stderr


def test_helps_import_next_to_nothing():
    code = f"""
import contextlib, io, resource, sys
from recbole_rlmrec import cli
for words in [[], *[[name] for name in cli.SUMMARIES], *[['experiment', name] for name in cli.EXPERIMENTS]]:
    for option in ('--help', '-h') if words else ('--help', '-h', '--version'):
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            cli.main([*words, option])
            raise AssertionError(words)
print({LOADED})
usage = resource.getrusage(resource.RUSAGE_SELF)
assert usage.ru_utime + usage.ru_stime < 1, usage
"""
    done = python(code)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stdout + done.stderr


def test_looking_for_recbole_imports_nothing():
    code = f"""
import importlib.util, sys, recbole_rlmrec
spec = importlib.util.find_spec('recbole')
print({LOADED}, type(spec.loader).__name__, '__version__' in spec.loader.get_source('recbole'))
"""
    assert python(code).stdout.split() == ["[]", "SourceFileLoader", "True"]


def test_the_module_says_its_version():
    done = subprocess.run([sys.executable, "-m", "recbole_rlmrec", "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == f"recbole-rlmrec {recbole_rlmrec.__version__}" and done.returncode == 0


def test_public_names():
    assert set(recbole_rlmrec.__all__) == set(recbole_rlmrec._HOMES) <= set(dir(recbole_rlmrec))
    assert recbole_rlmrec.register_model is importlib.import_module("recbole_rlmrec.model.lookup").register_model
    for name in ("nothing", "__wrapped__"):
        with pytest.raises(AttributeError, match=name):
            getattr(recbole_rlmrec, name)


def test_installing_again_changes_nothing():
    before = list(sys.meta_path)
    importing.install()
    assert sys.meta_path == before
