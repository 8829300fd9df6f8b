"""What RecBole reads without this package: run as a process of its own, on options as JSON, a list of them."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np

OLD = {"bool8": np.bool_, "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "float": np.float64}
OLD |= {"bool": np.bool_, "int": np.int_, "complex": np.complex128, "object": np.object_, "str": np.str_}
OLD |= {"long": np.int_, "unicode": np.str_}


def columns_of(config) -> dict:
    """Columns that RecBole's dataset has, tokens as text."""
    from recbole.data import create_dataset

    data = create_dataset(config)
    found = {}
    for name in data.inter_feat:
        column = data.inter_feat[name]
        if name in data.field2id_token and data.field2type[name].value == "token":
            found[name] = [str(data.field2id_token[name][int(value)]) for value in column.fillna(0)]
        elif data.field2type[name].value == "float":
            found[name] = [None if np.isnan(value) else repr(float(value)) for value in column]
    return found


def splits_of(config) -> dict:
    """What RecBole makes of a data set: the splits it draws, with internal ids, and tokens; padding left out of features."""
    from recbole.data import create_dataset
    from recbole.utils import init_seed

    init_seed(config["seed"], config["reproducibility"])
    data = create_dataset(config)
    parts = data.build()
    columns = [
        {name: [str(values.dtype), values.tolist()] for name, values in part.inter_feat.interaction.items()} for part in parts
    ]
    feats = {side: getattr(data, f"{side}_feat") for side in ("user", "item")}
    rows = {side: {name: feat[name].tolist()[1:] for name in feat} for side, feat in feats.items() if feat is not None}
    tokens = {name: [str(token) for token in found] for name, found in data.field2id_token.items()}
    places = {name: {str(token): number for token, number in found.items()} for name, found in data.field2token_id.items()}
    return {"parts": columns, "features": rows, "tokens": tokens, "places": places}


def main() -> None:
    """Print the columns, or the error, of each; the splits where a job says ``what``."""
    warnings.simplefilter("ignore")
    vars(np).update({name: value for name, value in OLD.items() if name not in vars(np)})
    jobs, sys.argv = json.loads(sys.argv[1]), ["alone"]
    from recbole.config import Config

    assert not any(name.startswith("recbole_rlmrec") for name in sys.modules)
    results = []
    for options in jobs:
        try:
            found = splits_of if options.pop("what", "columns") == "splits" else columns_of
            results.append(found(Config("BPR", options["dataset"], config_dict={"gpu_id": "", **options})))
        except Exception as error:
            results.append(f"{type(error).__name__}: {error}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
