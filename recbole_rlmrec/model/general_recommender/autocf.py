r"""
AutoCF
################################################

Reference:
    Lianghao Xia et al. "Automated Self-Supervised Learning for Recommendation." in WWW 2023.
"""

import torch
import torch.nn.functional as F
from torch import nn

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.alignment.infonce import logsumexp_total
from recbole_rlmrec.model.graph import Graph, combine_layers, edge_graph
from recbole_rlmrec.model.graph_recommender import GraphRecommender, each_once, with_repeats
from recbole_rlmrec.model.options import count, number, share


class AutoCF(GraphRecommender):
    r"""AutoCF learns to reconstruct the parts of the graph around some seeds, which it hides from its encoder.

    A graph convolution over the encoder graph is followed by one graph transformer over the decoder graph; the
    representation is the sum of all layers. Both graphs are resampled every ``fix_steps`` batches, from the first of each
    epoch, and the loss of that step favours seeds that resemble their neighbourhood. Scoring uses the whole graph.
    The batch's negative items are not used.
    """

    loss_names = ("recommendation", "reg", "contrast", "infomax")

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.pair_loss = None
        self.ssl_weight = number(config, "ssl_weight", 0.0, "a number of at least 0")
        self.n_seeds = count(config, "n_seeds")
        self.mask_depth = count(config, "mask_depth")
        self.random_ratio = share(config, "random_ratio")
        self.fix_steps = count(config, "fix_steps")
        self.transformer = GraphTransformer(self.embedding_size, count(config, "n_heads"))
        self.nodes = torch.cat([torch.arange(1, self.n_users), torch.arange(1, self.n_items) + self.n_users])
        self.nodes = self.nodes.to(self.device)
        self.neighbours = self.graph.with_values(torch.ones_like(self.graph.values), symmetric=True)
        self.degree = (self.graph.crow[1:] - self.graph.crow[:-1]).to(self.graph.values.dtype)
        self.encoder_graph = self.decoder_graph = self.graph
        self._steps = 0

    def begin_epoch(self, epoch: int) -> None:
        """Called by the trainer: the first batch of an epoch resamples the graphs."""
        self._steps = 0

    def forward(self):
        encoder, decoder = (self.encoder_graph, self.decoder_graph) if self.training else (self.graph, self.graph)
        layers = [self.initial_embeddings()]
        for _ in range(self.n_layers):
            layers.append(encoder.propagate(layers[-1]))
        layers.append(self.transformer(decoder, layers[-1]))
        return self.split(combine_layers(layers, "sum"))

    def calculate_loss(self, interaction):
        self.forget_tables()
        infomax = self.resample() if self._steps % self.fix_steps == 0 else self.degree.new_zeros(())
        self._steps += 1
        user, item = interaction[self.USER_ID], interaction[self.ITEM_ID]
        users, items = self.forward()
        recommendation = -(users[user] * items[item]).sum(dim=1).mean()
        once = each_once(user, self.n_users), each_once(item, self.n_items)
        contrast = sum(_among_batch(table, nodes) for table, nodes in zip((users, items), once))
        contrast = self.ssl_weight * contrast + _mean_logsumexp(users, items, with_repeats(user))
        return recommendation, self.regularisation(), contrast, infomax

    def resample(self) -> torch.Tensor:
        """Draw seeds, make the graphs of the next steps from them and return the loss of having drawn them."""
        scores = self.seed_scores()
        scores = scores + self.draw_gumbel(scores.detach())
        seeds = self.nodes[scores.topk(min(self.n_seeds, len(scores))).indices]
        self.encoder_graph, self.decoder_graph = self.sample_graphs(seeds)
        return -scores.mean()

    def seed_scores(self) -> torch.Tensor:
        """log sigmoid of cos((A^2 E_0 - A E_0 - D E_0)_i, E_0i) for every node i but the padding, [n - 2]."""
        x = self.initial_embeddings()
        near = self.neighbours.propagate(x)
        far = self.neighbours.propagate(near) - near - self.degree.unsqueeze(1) * x
        return F.logsigmoid((F.normalize(far[self.nodes], dim=1) * F.normalize(x[self.nodes], dim=1)).sum(dim=1))

    def sample_graphs(self, seeds: torch.Tensor) -> tuple[Graph, Graph]:
        """The encoder graph without the edges around the seeds, and the decoder graph that is to explain them.

        Parameters
        ----------
        seeds : torch.LongTensor
            Nodes, [n_seeds].

        Returns
        -------
        encoder : Graph
            The remaining edges, normalised by their own degrees.
        decoder : Graph
            The remaining edges, a loop at every node and as many random pairs (both directions) as A has entries.
        """
        row, col, n = self.graph.row, self.graph.col, self.graph.n
        marked = torch.zeros(n, dtype=torch.bool, device=row.device)
        marked[seeds] = True
        keep, frontier = torch.ones_like(row, dtype=torch.bool), marked
        for depth in range(self.mask_depth):
            removed = keep & (frontier[row] | frontier[col])
            keep &= ~removed
            if depth < self.mask_depth - 1:
                frontier = torch.zeros_like(marked)
                frontier[row[removed]] = True
                marked = marked | frontier
        marked[self.draw_nodes(int(self.random_ratio * len(self.nodes)))] = True
        first, second = self.draw_pairs(marked.nonzero().squeeze(1), self.graph.nnz)
        loops = torch.arange(n, device=row.device)
        rows, cols = torch.cat([row[keep], loops, first, second]), torch.cat([col[keep], loops, second, first])
        return self._renormalised(keep), edge_graph(rows, cols, n)

    def _renormalised(self, keep: torch.Tensor) -> Graph:
        degree = torch.zeros_like(self.degree).index_add_(0, self.graph.row, keep.to(self.degree.dtype))
        scale = torch.where(degree > 0, degree.clamp_min(1.0).rsqrt(), 0.0)
        return self.graph.with_values(keep * scale[self.graph.row] * scale[self.graph.col], symmetric=True)

    def draw_gumbel(self, scores: torch.Tensor) -> torch.Tensor:
        """Gumbel noise in the shape of the scores."""
        return -torch.empty_like(scores).exponential_().log()

    def draw_nodes(self, number: int) -> torch.Tensor:
        """Nodes but the padding, drawn with replacement, [number]."""
        return self.nodes[torch.randint(len(self.nodes), (number,), device=self.nodes.device)]

    def draw_pairs(self, nodes: torch.Tensor, number: int) -> torch.Tensor:
        """Pairs of endpoints drawn with replacement from some nodes, [2, number]."""
        return nodes[torch.randint(len(nodes), (2, number), device=nodes.device)]


class GraphTransformer(nn.Module):
    """Multi-head attention over the stored entries of a graph, without scaling, output projection, residual or norm.

    Parameters
    ----------
    dim : int
        Size of the node features.
    n_heads : int
        Number of heads; divides ``dim``.

    Raises
    ------
    ConfigError
        It does not.
    """

    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        if dim % n_heads:
            raise ConfigError(f"n_heads is {n_heads}; set it to a number that divides embedding_size, which is {dim}.")
        self.n_heads = n_heads
        self.query, self.key, self.value = (nn.Parameter(nn.init.xavier_uniform_(torch.empty(dim, dim))) for _ in range(3))

    def forward(self, graph: Graph, x: torch.Tensor) -> torch.Tensor:
        """Attend from every node to its neighbours: x [n, dim] -> [n, dim]."""
        heads = zip(*((x @ weight).chunk(self.n_heads, dim=1) for weight in (self.query, self.key, self.value)))
        return torch.cat([_attend(graph, *head) for head in heads], dim=1)


def _attend(graph: Graph, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    weights = graph.dots(query, key).clamp(-10.0, 10.0).exp()
    return graph.weigh(weights, value) / (graph.row_sums(weights) + 1e-8)


def _among_batch(table: torch.Tensor, nodes) -> torch.Tensor:
    """:func:`_mean_logsumexp` within one table; several processes sum over a part of the nodes each."""
    ids, weight = parallel.part(nodes.ids), parallel.part(nodes.weight)
    return parallel.as_part_of_loss(logsumexp_total(table[ids], table[1:], weight) / nodes.weight.sum())


def _mean_logsumexp(anchors: torch.Tensor, columns: torch.Tensor, nodes) -> torch.Tensor:
    """Mean over some nodes of log sum exp(anchor . column) over all columns but the padding."""
    return logsumexp_total(anchors[nodes.ids], columns[1:], nodes.weight) / nodes.weight.sum()
