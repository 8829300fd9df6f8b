"""What RecBole 1.2.1 needs to run on today's packages: one guarded function for each break.

A repair returns the reason for it, or None where nothing is broken.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import re
import sys
import warnings
from types import ModuleType, SimpleNamespace

import numpy as np

from recbole_rlmrec.plugin.checkpoint import load_checkpoint
from recbole_rlmrec.plugin.modules import module_like, stand_in

FAISS_ITERATIONS = 25
FAISS_SEED = 1234


def _numpy_names() -> str | None:
    """numpy 1.24 removed ``np.float`` and kin, 2.0 ``np.float_`` and kin.

    RecBole's metrics and layers use the former, ``Config.compatibility_settings`` makes them from the latter, and ray
    2.6.3 reads ``np.bool8``.
    """
    names = {
        "bool8": np.bool_,
        "float_": np.float64,
        "complex_": np.complex128,
        "unicode_": np.str_,
        "bool": np.bool_,
        "int": np.int_,
        "float": np.float64,
        "complex": np.complex128,
        "object": np.object_,
        "str": np.str_,
        "long": np.int_,
        "unicode": np.str_,
    }
    missing = {name: value for name, value in names.items() if name not in vars(np)}
    vars(np).update(missing)
    return missing and f"numpy {np.__version__} has no np.{', np.'.join(missing)}"


def _thop() -> str | None:
    """RecBole's ``get_flops`` imports thop, which reads its version with distutils; Python 3.12 removed that."""
    if importlib.util.find_spec("distutils") is not None:
        return None
    version = module_like("distutils.version", LooseVersion=_LooseVersion)
    with stand_in({"distutils": module_like("distutils", version=version), "distutils.version": version}):
        importlib.import_module("thop.profile")
    return "Python 3.12 has no distutils, which thop imports"


@functools.total_ordering
class _LooseVersion:
    def __init__(self, text: str):
        self.numbers = [int(part) for part in re.findall(r"\d+", text)[:3]]

    def __eq__(self, other: object) -> bool:
        return self.numbers == other.numbers

    def __lt__(self, other: _LooseVersion) -> bool:
        return self.numbers < other.numbers


def _ray() -> str | None:
    """RecBole's quick_start imports ``ray.tune``, which it needs for tuning with Ray alone.

    ray 2.6.3, the last version that RecBole admits, has no build for Python 3.12, and imports pkg_resources, which
    setuptools 82 removed. Where ray cannot be imported, quick_start gets a ``tune`` whose ``report`` does nothing, as
    Ray's own does outside a tuning session.
    """
    if "recbole.quick_start" in sys.modules:
        return None
    no_resources = importlib.util.find_spec("pkg_resources") is None
    error = _import_ray(no_resources)
    if error is None:
        importlib.import_module("recbole.quick_start")
        helped = no_resources and hasattr(sys.modules.get("ray._private.parameter"), "pkg_resources")
        return "ray imports pkg_resources, which is not installed (setuptools 82 removed it)" if helped else None
    tune = _NoTune("ray.tune", reason=str(error))
    with stand_in({"ray": module_like("ray", tune=tune), "ray.tune": tune}):
        importlib.import_module("recbole.quick_start")
    return f"ray cannot be imported ({error}); Ray-based tuning is not available"


def _import_ray(no_resources: bool) -> Exception | None:
    before = set(sys.modules)
    try:
        with stand_in(_pkg_resources() if no_resources else {}):
            importlib.import_module("ray.tune")
    except Exception as error:
        for name in set(sys.modules) - before:
            if name.split(".")[0] == "ray":
                del sys.modules[name]
        return error
    return None


def _pkg_resources() -> dict[str, ModuleType]:
    """As much of pkg_resources as the import of ray needs; Ray's own processes need the real one."""
    from packaging import version

    def get_distribution(name):
        raise ImportError("Ray starts processes that import pkg_resources: pip install 'setuptools<82'")

    packaging = sys.modules["packaging"]
    return {
        "pkg_resources": module_like("pkg_resources", packaging=packaging, get_distribution=get_distribution),
        "pkg_resources._vendor": module_like("pkg_resources._vendor", packaging=packaging),
        "pkg_resources._vendor.packaging": packaging,
        "pkg_resources._vendor.packaging.version": version,
    }


class _NoTune(ModuleType):
    """Stands where ``ray.tune`` would: ``report`` does nothing, everything else says what is missing."""

    def __init__(self, name: str, reason: str):
        super().__init__(name)
        self.reason = reason

    def report(self, **metrics) -> None:
        """Do nothing: there is no tuning session to report to."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        remedy = "pip install 'recbole-rlmrec[ray]'"
        if sys.version_info >= (3, 12):
            remedy = "use Python 3.11, or tune with HyperTuning: pip install 'recbole-rlmrec[tune]'"
        raise ImportError(f"ray.tune.{name} needs Ray, which cannot be imported ({self.reason}): {remedy}")


def _ray_report() -> str | None:
    """ray after 2.7 takes a report as one dict, at first in ``ray.train`` alone; RecBole gives keyword arguments."""
    quick_start = importlib.import_module("recbole.quick_start.quick_start")
    report = getattr(quick_start.tune, "report", None) or importlib.import_module("ray.train").report
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(report).parameters.values()):
        return None
    quick_start.tune = SimpleNamespace(report=lambda **metrics: report(metrics))
    return "ray after 2.7 takes a report as one dict"


def _hyperopt() -> str | None:
    """hyperopt draws with ``integers`` since 0.2.6; RecBole's exhaustive search gives it a RandomState without that."""
    if importlib.util.find_spec("hyperopt") is None:
        return None
    hyper_tuning = importlib.import_module("recbole.trainer.hyper_tuning")
    hyper_tuning.np = module_like("numpy", **{**vars(np), "random": SimpleNamespace(RandomState=_RandomState)})
    return "hyperopt draws with Generator.integers since 0.2.6"


class _RandomState(np.random.RandomState):
    integers = np.random.RandomState.randint


def _dok_update() -> str | None:
    """scipy 1.13 removed ``dok_matrix._update``, with which LightGCN, NGCF, NCL and others build their adjacency."""
    from scipy import __version__, sparse

    if hasattr(sparse.dok_matrix, "_update"):
        return None
    sparse.dok_matrix._update = lambda self, entries: self._dict.update(entries)
    return f"scipy {__version__} has no dok_matrix._update"


def _torch_load() -> str | None:
    """torch refuses RecBole's checkpoints since 2.6, and ran whatever a file held before.

    ``torch.load`` called from RecBole's own modules reads with ``load_checkpoint``; nobody else's call changes.
    """
    import torch

    original = torch.load

    @functools.wraps(original)
    def load(f, map_location=None, *args, **kwargs):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.split(".")[0] == "recbole":
            return load_checkpoint(f, map_location)
        return original(f, map_location, *args, **kwargs)

    torch.load = load
    return f"torch {torch.__version__} refuses RecBole's checkpoints, or runs what they hold"


def _pandas_3() -> bool:
    import pandas as pd

    return int(pd.__version__.split(".")[0]) >= 3


def _pandas_fill_nan() -> str | None:
    """pandas 3: ``frame[field].fillna(inplace=True)`` fills a copy, so ``Dataset._fill_nan`` leaves every NaN."""
    if not _pandas_3():
        return None
    from recbole.data.dataset import Dataset
    from recbole.utils import FeatureType

    empty = {FeatureType.TOKEN_SEQ: np.array([], dtype=np.int64), FeatureType.FLOAT_SEQ: np.array([], dtype=np.float64)}

    def fill_nan(self):
        for feat in (getattr(self, name) for name in self.feat_name_list):
            for field in feat:
                kind, values = self.field2type[field], feat[field]
                if kind is FeatureType.TOKEN:
                    feat[field] = values.fillna(0)
                elif kind is FeatureType.FLOAT:
                    feat[field] = values.fillna(values.mean())
                else:
                    feat[field] = [empty[kind] if isinstance(value, float) else value for value in values]

    Dataset._fill_nan = fill_nan
    return "pandas 3 leaves missing values unfilled"


def _pandas_agg() -> str | None:
    """pandas 3: ``column.agg(len)`` is the length of the column, no longer that of each of its sequences.

    RecBole's data sets split their sequences by it, so ``len`` of a column is the old result in their modules.
    """
    if not _pandas_3():
        return None
    import pandas as pd

    def length(value):
        return value.map(len) if isinstance(value, pd.Series) else len(value)

    for name in ("dataset", "kg_dataset", "sequential_dataset"):
        importlib.import_module(f"recbole.data.dataset.{name}").len = length
    return "pandas 3 takes the length of a column of sequences as one number"


def _amp() -> str | None:
    """torch 2.4 deprecated ``torch.cuda.amp``; RecBole's trainers use it in every epoch, and each use warns."""
    import torch

    trainer = importlib.import_module("recbole.trainer.trainer")
    trainer.amp = SimpleNamespace(
        GradScaler=functools.partial(torch.amp.GradScaler, "cuda"),
        autocast=functools.partial(torch.amp.autocast, "cuda"),
    )
    return "torch 2.4 deprecated torch.cuda.amp"


def _faiss() -> str | None:
    """RecBole's NCL clusters with faiss on a GPU; pip has no such faiss, and NCL has no other way.

    Without it NCL clusters with scikit-learn: faiss's iterations and fixed seed, and never more clusters than rows.
    """
    from recbole.model.general_recommender.ncl import NCL

    original = NCL.run_kmeans

    def run_kmeans(self, x):
        """K-means of the rows of x [n, d]: normalised centroids [k, d] and the cluster of each row [n]."""
        return original(self, x) if _faiss_on_gpu() else _kmeans(self, x)

    NCL.run_kmeans = run_kmeans
    return "NCL needs faiss on a GPU; scikit-learn clusters where there is none"


@functools.cache
def _faiss_on_gpu() -> bool:
    try:
        faiss = importlib.import_module("faiss")
    except ImportError:
        return False
    return getattr(faiss, "get_num_gpus", int)() > 0


def _kmeans(model, x):
    import torch
    from sklearn.cluster import KMeans

    clusters = min(model.k, len(x))
    kmeans = KMeans(clusters, init="random", n_init=1, max_iter=FAISS_ITERATIONS, random_state=FAISS_SEED).fit(x)
    centroids = torch.from_numpy(kmeans.cluster_centers_).float().to(model.device)
    return torch.nn.functional.normalize(centroids, dim=1), torch.from_numpy(kmeans.labels_).long().to(model.device)


def _warnings() -> str | None:
    """torch, numpy and pandas warn of what RecBole's own code does; its user can do nothing about it."""
    for message in (
        "The given NumPy array is not writable",
        "Using a non-tuple sequence",
        "torch.sparse.SparseTensor",
        "Creating a tensor from a list of numpy.ndarrays",
        r"\s*A value is (being|trying to be) set on a copy",
        "using .* in Series.agg",
    ):
        warnings.filterwarnings("ignore", message=message, module=r"recbole\.")
    return "RecBole's own code uses what torch and pandas have deprecated; those warnings are not shown"


REPAIRS = (
    _numpy_names,
    _thop,
    _ray,
    _ray_report,
    _hyperopt,
    _dok_update,
    _torch_load,
    _pandas_fill_nan,
    _pandas_agg,
    _amp,
    _faiss,
    _warnings,
)
