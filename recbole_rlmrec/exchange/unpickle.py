"""Read arrays, sparse matrices and plain containers out of a pickle without running anything that is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_rlmrec.data.pickles import Forbidden, container_names, make_unpickler, numpy_names, resolve_all, sparse_names
from recbole_rlmrec.errors import DataError, refused

_Unpickler = make_unpickler({**container_names(), **numpy_names(), **sparse_names()})


def read_pickle(path: Path | str) -> Any:
    """Read a pickle made by others.

    Parameters
    ----------
    path : Path

    Returns
    -------
    object
        Nested lists, tuples, sets and dicts of text, bytes, numbers, None, NumPy arrays of numbers and SciPy sparse matrices.

    Raises
    ------
    DataError
        The file is missing, damaged, or asks for anything else; nothing of it has been run then.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return resolve_all(_Unpickler(file).load())
    except FileNotFoundError:
        raise DataError(f"{path} is missing; restore it or check the folder.") from None
    except Forbidden as reason:
        raise DataError(
            f"{path} asks for {reason}, which is no array, sparse matrix or plain container; it was refused and nothing "
            "of it was run."
        ) from None
    except Exception as reason:
        if refused(reason):
            raise
        raise DataError(
            f"{path} is no pickle of arrays, sparse matrices and plain containers ({' '.join(str(reason).split())}); "
            "fetch it again."
        ) from None
