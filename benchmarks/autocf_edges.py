"""Share of the training edges that AutoCF leaves to its encoder when it hides what surrounds its seeds.

python benchmarks/autocf_edges.py --dataset=ml-100k-llm --data_path=FOLDER "--benchmark_filename=['train','valid','test']"
"""

from __future__ import annotations

import sys

import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_rlmrec.model.lookup import find_model
from recbole_rlmrec.runs.command_line import command_line


def main() -> None:
    """Print the share for several numbers of seeds, as drawn from a model before training; other options are RecBole's."""
    dataset = next(option.partition("=")[2] for option in sys.argv[1:] if option.startswith("--dataset="))
    with command_line([option for option in sys.argv[1:] if not option.startswith("--dataset=")]):
        config = Config("AutoCF", dataset)
    train, _, _ = create_dataset(config).build()
    for n_seeds in (5, 20, 100):
        config["n_seeds"] = n_seeds
        init_seed(config["seed"], config["reproducibility"])
        model = find_model("AutoCF")(config, train)
        with torch.no_grad():
            model.resample()
        kept = (model.encoder_graph.values != 0).float().mean().item()
        print(f"{dataset}: {n_seeds} seeds, mask_depth {config['mask_depth']}: {kept:.1%} of the edges are left")


if __name__ == "__main__":
    main()
