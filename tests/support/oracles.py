"""The mathematics of the paper and of its released implementation in dense float64 torch, for comparison.

Written from the formulas alone, with no regard to speed and nothing taken from the package. Users are nodes 0 .. U - 1 and
items nodes U .. U + I - 1; user 0 and item 0 are RecBole's padding, which is in no interaction and never a candidate.
Gradients come from autograd through the dense formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass
class World:
    """A graph, a batch and who has which profile.

    Parameters
    ----------
    pairs : list of (user, item)
    n_users, n_items : int
    user, positive, negative : list of int
        The batch.
    profiles : dict
        "user" and "item": {id: embedding [d_s]} of those that have one.
    """

    pairs: list
    n_users: int
    n_items: int
    user: list
    positive: list
    negative: list
    profiles: dict

    @property
    def n(self):
        return self.n_users + self.n_items

    def adjacency(self, loops=False):
        """A, or A + I."""
        a = torch.zeros(self.n, self.n)
        for user, item in self.pairs:
            a[user, self.n_users + item] = a[self.n_users + item, user] = 1
        return a + torch.eye(self.n) if loops else a

    def sides(self, nodes):
        return nodes[: self.n_users], nodes[self.n_users :]


def normalised(a):
    """D^-1/2 A D^-1/2; a node without neighbours keeps a row of zeros."""
    scale = torch.tensor([degree**-0.5 if degree > 0 else 0.0 for degree in a.sum(1).tolist()])
    return scale[:, None] * a * scale[None, :]


def cosine(a, b):
    norm_a, norm_b = torch.sqrt(1e-8 + (a**2).sum(-1)), torch.sqrt(1e-8 + (b**2).sum(-1))
    return (a * b).sum(-1) / (norm_a * norm_b)


def info_nce(a, b, candidates, tau):
    """sum over rows i of -cos(a_i, b_i)/tau + log sum over c of exp(cos(a_i, c)/tau)."""
    total = torch.zeros(())
    for i in range(len(a)):
        total = total - cosine(a[i], b[i]) / tau + torch.logsumexp(cosine(a[i][None], candidates) / tau, 0)
    return total


def bpr(users, items, world):
    u, v, w = users[world.user], items[world.positive], items[world.negative]
    return torch.log1p(torch.exp((u * w).sum(1) - (u * v).sum(1))).mean()


def squares(parameters):
    return sum((parameter**2).sum() for parameter in parameters)


# --- backbones: representations (and what their own contrast needs) ------------------------------------------------


def propagation(matrix, e0, n_layers):
    """E_0 .. E_L with E_{l+1} = matrix E_l."""
    layers = [e0]
    for _ in range(n_layers):
        layers.append(matrix @ layers[-1])
    return layers


def lightgcn(world, e0, n_layers, keep):
    return world.sides(sum(propagation(normalised(world.adjacency()) * keep, e0, n_layers)))


def gccf(world, e0, n_layers, loops):
    return world.sides(torch.cat(propagation(normalised(world.adjacency(loops)), e0, n_layers), dim=1))


def simgcl_view(world, e0, eps, noises):
    layers = [e0]
    for noise in noises:
        x = normalised(world.adjacency()) @ layers[-1]
        unit = noise / noise.norm(dim=1, keepdim=True)
        layers.append(x + eps * torch.sign(x.detach()) * unit)
    return world.sides(sum(layers))


def view_contrast(world, first, second, tau, negatives_too):
    """InfoNCE of the batch's users and items between two views, against all users and all items, over B."""
    sides = [(0, world.user), (1, world.positive)] + ([(1, world.negative)] if negatives_too else [])
    terms = [info_nce(first[s][ids], second[s][ids], second[s][1:], tau) for s, ids in sides]
    return sum(terms) / len(world.user)


def dccf(world, e0, user_intents, item_intents, n_layers):
    """Representations, and per layer (g, t, graph-masked, intent-masked)."""
    a = world.adjacency()

    def masked(x, h):
        unit = x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)
        weights = a * (unit @ unit.T + 1) / 2
        sums = weights.sum(1)
        rows = [weights[i] @ h / sums[i] if sums[i] > 0 else torch.zeros(h.shape[1]) for i in range(world.n)]
        return torch.stack(rows)

    layers, views = [e0], []
    for _ in range(n_layers):
        h = layers[-1]
        g = normalised(a) @ h
        users, items = world.sides(h)
        t = torch.cat(
            [
                torch.softmax(users @ user_intents, 1) @ user_intents.T,
                torch.softmax(items @ item_intents, 1) @ item_intents.T,
            ]
        )
        by_graph, by_intent = masked(g, h), masked(t, h)
        views.append((g, t, by_graph, by_intent))
        layers.append(g + t + by_graph + by_intent + h)
    return world.sides(sum(layers)), views


def dccf_contrast(world, views, tau):
    users, items = sorted(set(world.user)), [world.n_users + item for item in sorted(set(world.positive))]
    total = torch.zeros(())
    for g, *others in views:
        for other in others:
            for nodes in (users, items):
                total = total + info_nce(g[nodes], other[nodes], other[nodes], tau)
    return total / len(users)


def autocf_graphs(world, seeds, random_nodes, pairs, depth):
    """Dense encoder matrix and decoder pattern; ``pairs`` maps the sorted eligible nodes to pairs of them."""
    edges = {(int(r), int(c)) for r, c in world.adjacency().nonzero().tolist()}
    eligible, centres = set(seeds), set(seeds)
    for hop in range(depth):
        removed = {(r, c) for r, c in edges if r in centres or c in centres}
        edges -= removed
        if hop < depth - 1:
            centres = {end for pair in removed for end in pair}
            eligible |= centres
    eligible = sorted(eligible | set(random_nodes))
    rest = torch.zeros(world.n, world.n)
    for r, c in edges:
        rest[r, c] = 1
    decoder = rest + torch.eye(world.n)
    for r, c in pairs(eligible):
        decoder[r, c] = decoder[c, r] = 1
    return normalised(rest), (decoder > 0).double()


def transformer(x, pattern, query, key, value, n_heads):
    size, out = x.shape[1] // n_heads, []
    for head in range(n_heads):
        part = slice(head * size, (head + 1) * size)
        q, k, v = (x @ query)[:, part], (x @ key)[:, part], (x @ value)[:, part]
        weights = torch.exp((q @ k.T).clamp(-10, 10)) * pattern
        out.append(weights / (weights.sum(1, keepdim=True) + 1e-8) @ v)
    return torch.cat(out, dim=1)


def autocf(world, e0, encoder, decoder, qkv, n_layers, n_heads):
    layers = propagation(encoder, e0, n_layers)
    return world.sides(sum(layers) + transformer(layers[-1], decoder, *qkv, n_heads))


def autocf_losses(world, users, items, ssl_weight):
    recommendation = -(users[world.user] * items[world.positive]).sum(1).mean()
    once_users, once_items = sorted(set(world.user)), sorted(set(world.positive))

    def spread(anchors, columns):
        return torch.log(torch.exp(anchors @ columns[1:].T).sum(1)).mean()

    contrast = ssl_weight * (spread(users[once_users], users) + spread(items[once_items], items))
    return recommendation, contrast + spread(users[world.user], items)


def seed_scores(world, e0):
    """log sigmoid cos((A^2 E0 - A E0 - D E0)_i, E0_i) of every node."""
    a = world.adjacency()
    x = a @ a @ e0 - a @ e0 - a.sum(1)[:, None] * e0
    norms = x.norm(dim=1).clamp_min(1e-12) * e0.norm(dim=1).clamp_min(1e-12)
    return torch.log(1 / (1 + torch.exp(-(x * e0).sum(1) / norms)))


# --- alignment -----------------------------------------------------------------------------------------------------


def mlp(x, layers):
    (w1, b1), (w2, b2) = layers
    return F.leaky_relu(x @ w1.T + b1, 0.01) @ w2.T + b2


def con(world, users, items, down, tau, negatives, with_negative_items=True):
    """RLMRec-Con over B, without its weight.

    ``negatives`` is "all" (users: all that have a profile, items: the batch's), "batch", or the drawn ids by side.
    """
    sides = [("user", world.user, users), ("item", world.positive, items)]
    if with_negative_items:
        sides.append(("item", world.negative, items))
    total = torch.zeros(())
    for side, ids, representations in sides:
        profiles = {i: mlp(row, down) for i, row in world.profiles[side].items()}
        anchors = [i for i in ids if i in profiles]
        for i in anchors:
            if negatives == "batch" or (negatives == "all" and side == "item"):
                chosen = anchors
            elif negatives == "all":
                chosen = list(profiles)
            else:
                chosen = sorted({i, *negatives[side]})
            candidates = torch.stack([profiles[j] for j in chosen])
            total = total + info_nce(representations[i][None], profiles[i][None], candidates, tau)
    return total / len(world.user)


def gen(world, users, items, up, tau, masked_users, masked_items):
    """RLMRec-Gen: mean over the masked nodes, without its weight."""
    q = mlp(torch.cat([users[masked_users], items[masked_items]]), up)
    s = torch.stack([world.profiles["user"][i] for i in masked_users] + [world.profiles["item"][i] for i in masked_items])
    q, s = q / q.norm(dim=1, keepdim=True), s / s.norm(dim=1, keepdim=True)
    similarity = torch.exp(q @ s.T / tau)
    return -torch.log(similarity.diagonal() / (similarity.sum(1) + 1e-8) + 1e-8).mean()


def masked_embeddings(world, e0, token, masked_users, masked_items):
    """E_0 whose masked rows are the mask token."""
    rows = list(e0)
    for node in [*masked_users, *(world.n_users + item for item in masked_items)]:
        rows[node] = token
    return torch.stack(rows)
