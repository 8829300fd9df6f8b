"""Everything that training depends on at the start of an epoch, as tensors, numbers and text."""

from __future__ import annotations

import random
import zlib

import numpy as np
import torch

COUNTERS = ("cur_step", "best_valid_score", "best_valid_result", "train_loss_dict")
"""What RecBole's trainers count; plain values."""

REDRAWN = {"SGL": ("sub_graph1", "sub_graph2"), "AutoCF": ("encoder_graph", "decoder_graph")}
"""What a model makes anew in each epoch before it reads it, by class: not kept."""

_OURS = ("recbole.", "recbole_rlmrec.", "torch.utils.data.")
_MODULE = frozenset(vars(torch.nn.Module()))
_LONG = 10_000


class _NotPlain(Exception):
    """A value has a form that a checkpoint does not hold."""


def capture(trainer, roots: dict, before: dict) -> dict:
    """State of a trainer, its model and its loaders.

    Parameters
    ----------
    trainer : recbole.trainer.Trainer
    roots : dict of str to object
        What holds random generators: loaders and model.
    before : dict
        `fingerprints` of the model before training.
    """
    optimizers, names = {}, {}
    for name, optimizer in _optimizers(trainer):
        first = names.setdefault(id(optimizer), name)
        optimizers[name] = first if first != name else optimizer.state_dict()
    return {
        "weights": trainer.model.state_dict(),
        "attributes": _changed(trainer.model, before),
        "optimizers": optimizers,
        "generators": {path: _state_of(found) for path, found in _generators(roots).items()},
        "random": {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": np.random.get_state(),
            "python": random.getstate(),
        },
    }


def restore(trainer, roots: dict, found: dict) -> None:
    """Put a state of `capture` into a trainer that was made with the same options on the same data."""
    modules = dict(trainer.model.named_modules())
    for path, values in found["attributes"].items():
        for name, value in values.items():
            _put(modules[path], name, _plain(value, trainer.device))
    trainer.model.load_state_dict(found["weights"])
    for name, value in found["optimizers"].items():
        if isinstance(value, str):
            setattr(trainer, name, getattr(trainer, value))
        else:
            getattr(trainer, name).load_state_dict(value)
    for root in roots.values():
        if hasattr(root, "prepare"):
            root.prepare()
    generators = _generators(roots)
    for path, value in found["generators"].items():
        _set_state(generators[path], value)
    if found["random"]["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(found["random"]["cuda"])
    torch.set_rng_state(found["random"]["torch"])
    np.random.set_state(found["random"]["numpy"])
    random.setstate(found["random"]["python"])


def _optimizers(trainer) -> list[tuple[str, object]]:
    """Name and object of each optimiser; ``optimizer`` last, which some trainers let stand for one of the others."""
    found = [(name, value) for name, value in vars(trainer).items() if hasattr(value, "zero_grad") and hasattr(value, "step")]
    return sorted(found, key=lambda pair: (pair[0] == "optimizer", pair[0]))


# --- what models keep beside parameters and buffers ----------------------------------------------------------------------


def fingerprints(model: torch.nn.Module) -> dict[str, dict[str, object]]:
    """What tells whether an attribute of a module is as it was, by path and name."""
    return {path: {name: _fingerprint(value) for name, value in _attributes(module)} for path, module in model.named_modules()}


def _attributes(module):
    redrawn = {name for kind in type(module).__mro__ for name in REDRAWN.get(kind.__name__, ())}
    for name, value in vars(module).items():
        if name not in _MODULE and name not in redrawn:
            yield name, value
    for name in module._non_persistent_buffers_set:
        yield name, module._buffers[name]


def _fingerprint(value):
    if isinstance(value, torch.Tensor):
        return id(value), value._version
    if isinstance(value, np.ndarray):
        return id(value), zlib.crc32(np.ascontiguousarray(value).view(np.uint8)) if value.dtype != object and value.size else 0
    if isinstance(value, dict) and len(value) < _LONG:
        return [(key, _fingerprint(part)) for key, part in value.items()]
    if isinstance(value, (list, tuple)) and len(value) < _LONG:
        return [_fingerprint(part) for part in value]
    return value if isinstance(value, (bool, int, float, str)) or value is None else id(value)


def _changed(model: torch.nn.Module, before: dict) -> dict[str, dict[str, object]]:
    changed: dict[str, dict[str, object]] = {}
    for path, module in model.named_modules():
        for name, value in _attributes(module):
            if name not in before.get(path, {}) or before[path][name] != _fingerprint(value):
                try:
                    changed.setdefault(path, {})[name] = _plain(value)
                except _NotPlain:
                    continue
    return changed


def _plain(value, device=None):
    """The value with tensors detached, on a device where one is given."""
    if isinstance(value, torch.nn.Parameter):
        raise _NotPlain
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided:
            raise _NotPlain
        return value.detach() if device is None else value.to(device)
    if isinstance(value, dict):
        return {key: _plain(part, device) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(part, device) for part in value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "?biuf" or isinstance(value, np.generic):
        return value
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    raise _NotPlain


def _put(module, name: str, value) -> None:
    if name in module._buffers:
        module._buffers[name] = value
    else:
        setattr(module, name, value)


# --- random generators of loaders, samplers and models -------------------------------------------------------------------


def _generators(roots: dict) -> dict[str, object]:
    """Every random generator that is reached from the roots over objects of RecBole and this package, by path."""
    found, seen = {}, set()
    waiting = list(roots.items())
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)):
            found[path] = value
        elif isinstance(value, torch.nn.Module) or type(value).__module__.startswith(_OURS):
            waiting += [(f"{path}.{name}", part) for name, part in sorted(getattr(value, "__dict__", {}).items(), reverse=True)]
            waiting += [(f"{path}.{name}", part) for name, part in getattr(value, "_modules", {}).items()]
    return found


def _state_of(generator):
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _set_state(generator, value) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = value
    elif isinstance(generator, random.Random):
        generator.setstate(value)
    else:
        generator.set_state(value)
