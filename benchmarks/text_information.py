"""How much profiles say about held-out interactions, without training anything: users like what their neighbours like.

    python benchmarks/text_information.py --dataset=ml-100k-llm --data_path=FOLDER --semantic_path=FOLDER \\
        --semantic_tag=TAG --semantic_encoder=ENCODER "--benchmark_filename=['train','valid','test']"

Neighbours are weighted by exp(sharpness x cosine), of their training interactions or of their profiles' embeddings (the mean
of all profiles taken off); the sharpness, and the share of each kind of neighbour in the mixture, are those with the best
Recall@20 on the validation split. All items are ranked, training items masked.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch.nn.functional as F
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_rlmrec.runs.command_line import command_line
from recbole_rlmrec.semantic.load import load_semantic
from recbole_rlmrec.semantic.table import SemanticTable

SHARPNESS = (1, 2, 5, 10, 20, 40)
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
K = 20


def load() -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Interactions of the three splits, float [n_users, n_items] each, and unit profile vectors of users and items."""
    dataset = next(option.partition("=")[2] for option in sys.argv[1:] if option.startswith("--dataset="))
    with command_line([option for option in sys.argv[1:] if not option.startswith("--dataset=")]):
        config = Config("LightGCN_RLMRec", dataset, config_dict={"gpu_id": ""})
    init_seed(config["seed"], config["reproducibility"])
    splits = create_dataset(config).build()
    semantic = load_semantic(config, splits[0])
    seen = [torch.from_numpy(split.inter_matrix(form="csr").toarray()).float().clamp(max=1) for split in splits]
    return seen, directions(semantic.user), directions(semantic.item)


def directions(table: SemanticTable) -> torch.Tensor:
    """Unit vectors [n, d] of the profiles less their mean; zero without a profile."""
    rows = table.rows(table.ids)
    vectors = torch.zeros(table.n, table.dim)
    vectors[table.ids] = F.normalize(rows - rows.mean(dim=0))
    return vectors


def neighbours(vectors: torch.Tensor, sharpness: float) -> torch.Tensor:
    """Weights [n, n] of every row's neighbours, itself and empty rows left out; each row sums to 1."""
    weights = (sharpness * (vectors @ vectors.T)).exp() * (vectors.abs().sum(dim=1) > 0)
    return weights.fill_diagonal_(0) / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)


def evaluate(scores: torch.Tensor, train: torch.Tensor, held_out: torch.Tensor) -> tuple[float, float]:
    """Recall and NDCG at K, means over the users with held-out items."""
    scores = scores.masked_fill(train > 0, -torch.inf)
    scores[:, 0] = -torch.inf
    users = held_out.sum(dim=1) > 0
    hits = held_out.gather(1, scores.topk(K).indices)[users]
    discount = 1 / torch.log2(torch.arange(2, K + 2))
    count = held_out[users].sum(dim=1)
    ideal = discount.cumsum(0)[count.long().clamp(max=K) - 1]
    return (hits.sum(dim=1) / count).mean().item(), ((hits * discount).sum(dim=1) / ideal).mean().item()


def main() -> None:
    """Print a table."""
    (train, valid, test), users, items = load()
    popularity = train.sum(dim=0).expand_as(train)

    def best(candidates: dict[str, torch.Tensor]) -> tuple[str, torch.Tensor]:
        return max(candidates.items(), key=lambda one: evaluate(one[1], train, valid)[0])

    def from_neighbours(vectors: torch.Tensor) -> dict[str, torch.Tensor]:
        return {f"sharpness {value}": neighbours(vectors, value) @ train for value in SHARPNESS}

    by_items, by_text = best(from_neighbours(F.normalize(train))), best(from_neighbours(users))
    mixtures = {f"{share:.0%} text": share * by_text[1] + (1 - share) * by_items[1] for share in SHARES}
    rows = {
        "popularity": ("", popularity),
        "profiles alone: cosine of user and item": ("", users @ items.T),
        "neighbours by training interactions": by_items,
        "neighbours by profile": by_text,
        "neighbours by profile, shuffled": best(from_neighbours(users[shuffled(users)])),
        "mixture of both neighbours": best(mixtures),
    }
    print("| ranked by | chosen on the validation split | valid Recall@20 | test Recall@20 | test NDCG@20 |")
    print("| --- " * 5 + "|")
    for name, (chosen, scores) in rows.items():
        (valid_recall, _), (recall, ndcg) = evaluate(scores, train, valid), evaluate(scores, train, test)
        print(f"| {name} | {chosen} | {valid_recall:.4f} | {recall:.4f} | {ndcg:.4f} |")


def shuffled(users: torch.Tensor) -> np.ndarray:
    """A random order of the users who have a profile; the others stay where they are."""
    order = np.arange(len(users))
    there = (users.abs().sum(dim=1) > 0).nonzero().squeeze(1).numpy()
    order[there] = np.random.default_rng(2020).permutation(there)
    return order


if __name__ == "__main__":
    main()
