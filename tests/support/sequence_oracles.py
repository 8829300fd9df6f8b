"""SASRec, GRU4Rec and BERT4Rec, their losses and the alignments of sequences, in NumPy float64, written from the formulas.

``values`` holds a recommender's weights by the names of its parameters; nothing is taken from the package, RecBole or torch.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from scipy.special import erf

EPSILON = 1e-12  # of the layer norms


def linear(x, values, name):
    return x @ values[f"{name}.weight"].T + values[f"{name}.bias"]


def layer_norm(x, values, name):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return centred / scale * values[f"{name}.weight"] + values[f"{name}.bias"]


def gelu(x):
    return x * (1 + erf(x / sqrt(2))) / 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def transformer(values, table, sequence, n_layers, n_heads, causal):
    """States [L, H] of a sequence, whose padding, zeros, is not attended to."""
    x = layer_norm(table[sequence] + values["position_embedding.weight"][: len(sequence)], values, "LayerNorm")
    places = np.arange(len(sequence))
    allowed = np.repeat((sequence != 0)[None], len(sequence), 0)
    if causal:
        allowed = allowed & (places[None] <= places[:, None])
    for layer in range(n_layers):
        name = f"trm_encoder.layer.{layer}.multi_head_attention"
        parts = [np.split(linear(x, values, f"{name}.{part}"), n_heads, axis=1) for part in ("query", "key", "value")]
        heads = []
        for query, key, value in zip(*parts):
            scores = query @ key.T / sqrt(query.shape[1]) + np.where(allowed, 0.0, -10000.0)
            heads.append(softmax(scores) @ value)
        x = layer_norm(linear(np.concatenate(heads, 1), values, f"{name}.dense") + x, values, f"{name}.LayerNorm")
        name = f"trm_encoder.layer.{layer}.feed_forward"
        inner = gelu(linear(x, values, f"{name}.dense_1"))
        x = layer_norm(linear(inner, values, f"{name}.dense_2") + x, values, f"{name}.LayerNorm")
    return x


def sasrec(values, table, sequence):
    return transformer(values, table, sequence, 2, 2, causal=True)


def bert4rec(values, table, sequence):
    states = transformer(values, table, sequence, 2, 2, causal=False)
    return layer_norm(gelu(linear(states, values, "output_ffn")), values, "output_ln")


def gru4rec(values, table, sequence):
    into, over = values["gru_layers.weight_ih_l0"], values["gru_layers.weight_hh_l0"]
    hidden, states = np.zeros(over.shape[1]), []
    for item in sequence:
        (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(into @ table[item], 3), np.split(over @ hidden, 3)
        update = sigmoid(z_x + z_h)
        hidden = (1 - update) * np.tanh(n_x + sigmoid(r_x + r_h) * n_h) + update * hidden
        states.append(hidden)
    return linear(np.array(states), values, "dense")


ENCODERS = {"SASRec": sasrec, "GRU4Rec": gru4rec, "BERT4Rec": bert4rec}


def recommendation(rows, positives, negatives, items, bias, kind):
    """Mean over rows of the cross-entropy among all items, the padding included, or of BPR with RecBole's epsilon."""
    total = 0.0
    for row, positive, negative in zip(rows, positives, negatives):
        scores = items @ row + bias
        if kind == "CE":
            total += np.log(np.exp(scores).sum()) - scores[positive]
        else:
            total -= np.log(sigmoid(scores[positive] - scores[negative]))
    return total / len(rows)


def cosine(a, b):
    return a @ b / sqrt(1e-8 + a @ a) / sqrt(1e-8 + b @ b)


def mlp(x, values, name):
    hidden = linear(x, values, f"{name}.0")
    return linear(np.where(hidden > 0, hidden, 0.01 * hidden), values, f"{name}.2")


def contrast(rows, ids, profiles, values, tau):
    """Sum over the rows that have a profile of -cos/tau + log sum over the profiles of all of these rows, repeats kept."""
    there = [place for place, node in enumerate(ids) if node in profiles]
    projected = {ids[place]: mlp(profiles[ids[place]], values, "alignment.down") for place in there}
    total = 0.0
    for place in there:
        logits = np.array([cosine(rows[place], projected[ids[other]]) / tau for other in there])
        total += np.log(np.exp(logits).sum()) - cosine(rows[place], projected[ids[place]]) / tau
    return total


def reconstruction(nodes, profiles, values, tau):
    """Mean over nodes, (side, id) -> representation, of -log of the share of the own profile among those of all."""
    total = 0.0
    for own, state in nodes.items():
        query = mlp(state, values, "alignment.up")
        powers = {(side, i): np.exp(cosine(query, profiles[side][i]) / tau) for side, i in nodes}
        total -= np.log(powers[own] / (sum(powers.values()) + 1e-8) + 1e-8)
    return total / len(nodes)


def masked_nodes(world, states, rows, masked):
    """Masked items at the mean state of their places, and masked users with a masked item at the mean of their rows."""
    nodes = {}
    for item in masked["item"]:
        there = [states[b][t] for b, read in enumerate(world["read"]) for t, other in enumerate(read) if other == item]
        if there:
            nodes["item", item] = np.mean(there, axis=0)
    for user in masked["user"]:
        there = [
            row
            for row, other, read in zip(rows, world["user"], world["read"])
            if other == user and set(read) & set(masked["item"])
        ]
        if there:
            nodes["user", user] = np.mean(there, axis=0)
    return nodes
