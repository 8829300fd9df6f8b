"""What several processes are asked to do in tests: functions that `plugin.launch` finds by name.

Everything that needs a pair of processes shares one, because starting a pair takes seconds.
"""

from __future__ import annotations

import io
import os
import random
from contextlib import nullcontext, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import numpy as np
import torch

from recbole_rlmrec.model import parallel
from recbole_rlmrec.plugin import resume


def run_all(folder: str, steps: list[tuple[str, dict]]) -> list:
    """Call functions of this module one after the other, in a folder; what each returns in process 0."""
    os.chdir(folder)
    log = os.open(f"output-{parallel.rank()}.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1), os.dup2(log, 2)
    resume.SHARE = 1e9  # a last checkpoint after every epoch
    return [globals()[name](**arguments) for name, arguments in steps]


def differences(cases: dict[str, tuple[str, dict]], options: dict, sizes: list[int]) -> dict[str, list[list[float]]]:
    """How far losses and gradients of a batch, computed by all processes together, are from those of one process.

    Returns
    -------
    dict of str to list of [float, float]
        For each case and each number of interactions: the largest relative difference of a loss, and the largest absolute
        one of a gradient divided by the largest gradient.
    """
    found = {}
    for name, (model, own) in cases.items():
        torch.set_default_dtype(torch.float64 if "float64" in name else torch.float32)
        found[name] = _differences(model, {**options, **own}, sizes)
    torch.set_default_dtype(torch.float32)
    return found


def _differences(model: str, options: dict, sizes: list[int]) -> list[list[float]]:
    from recbole_rlmrec.model.loss_kinds import is_mean
    from recbole_rlmrec.plugin.shards import Shards

    trainer, batches, times = _build(model, options, sizes)
    model = trainer.model
    calculations = [model.calculate_loss]
    if type(trainer).__name__.startswith("RecVAE"):
        calculations = [lambda batch, flag=flag: model.calculate_loss(batch, encoder_flag=flag) for flag in (True, False)]
    found = []
    for batch in batches:
        for calculate in calculations:
            _seed(3 + parallel.rank())  # processes draw what the first one draws, whatever their own state is
            with parallel.alone():
                _seed(3)
                alone = _step(model, calculate, batch)
            _seed(3 + parallel.rank())
            for part in Shards(_Loader([batch], times), is_mean(model)):
                both = _step(model, calculate, part)
            found.append(_distance(alone, both))
    return found


class _Loader:
    def __init__(self, batches, times):
        self.batches, self.times = batches, times

    def __iter__(self):
        return iter(self.batches)


def _ready(model: str, options: dict):
    """A trainer and its loaders."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    config = Config(model, options["dataset"], config_dict=options)
    init_seed(config["seed"], True)
    loaders = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], True)
    made = get_model(config["model"])(config, loaders[0]._dataset).to(config["device"])
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, made), loaders


def _build(model: str, options: dict, sizes: list[int]):
    from recbole.data.interaction import Interaction

    trainer, (loader, *_) = _ready(model, options)
    if hasattr(type(trainer.model), "run_kmeans"):
        trainer.model.e_step()
    if hasattr(trainer.model, "reparameterize"):  # draws for its rows in a way that processes do not share
        trainer.model.reparameterize = lambda mu, logvar: mu
    trainer.model.train()
    whole, times = next(iter(loader)), getattr(loader, "times", 1)
    count = len(whole) // times
    if "MASK_INDEX" in whole:  # first a row with targets, then one without
        order = (whole["MASK_INDEX"] == 0).all(dim=1).int().argsort(stable=True)
        whole, sizes = whole[torch.cat([order[:1], order[-1:], order[1:-1]])], [*sizes, 2]
    parts = [torch.arange(min(size, count)) for size in sizes]
    rows = [torch.cat([part + count * repeat for repeat in range(times)]) for part in parts]
    return trainer, [Interaction({key: value[part] for key, value in whole.interaction.items()}) for part in rows], times


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _step(model, calculate, batch):
    model.zero_grad(set_to_none=True)
    if hasattr(model, "update"):
        model.update = 0
    if hasattr(model, "begin_epoch"):
        model.begin_epoch(0)
    losses = calculate(batch)
    losses = losses if isinstance(losses, tuple) else (losses,)
    sum(losses).sum().backward()
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return [float(loss.detach()) for loss in losses], gradients


def _distance(alone, both) -> list[float]:
    assert len(alone[0]) == len(both[0])
    loss = max(abs(one - two) / max(abs(one), 0.1) for one, two in zip(alone[0], both[0]))
    assert [g is None for g in alone[1]] == [g is None for g in both[1]]
    pairs = [(one, two) for one, two in zip(alone[1], both[1]) if one is not None]
    largest = max(float(one.abs().max()) for one, _ in pairs)
    return [loss, max(float((one - two).abs().max()) for one, two in pairs) / max(largest, 1e-12)]


def collectives() -> dict:
    """What the pieces of `model.parallel` give in process 0."""
    rank, size = parallel.rank(), parallel.size()
    rows = torch.arange(3.0 - rank).reshape(-1, 1).requires_grad_()
    gathered = parallel.gather(rows)
    (gathered.squeeze(1) * torch.arange(1.0, len(gathered) + 1) * (rank + 1)).sum().backward()
    random.seed(rank), np.random.seed(rank), torch.manual_seed(rank)
    np.random.standard_normal(1 + rank), random.gauss(0, 1)
    parallel.same_random_state()
    drawn = [random.gauss(0, 1), random.random(), np.random.standard_normal(), np.random.rand(), torch.rand(()).item()]
    everyone = parallel.gather(torch.tensor([drawn], dtype=torch.float64))
    failed = False
    try:
        parallel.on_first(lambda: [][0])
    except (IndexError, parallel.EndedByFirst) as reason:
        failed = isinstance(reason, parallel.EndedByFirst) == bool(rank)
    return {
        "size": size,
        "gathered": gathered.detach().squeeze(1).tolist(),
        "gradient": parallel.gather(rows.grad).squeeze(1).tolist(),
        "equal draws": bool((everyone == everyone[0]).all()),
        "empty": len(parallel.gather(torch.zeros(0, 2))),
        "first fails": parallel.counts_of_all(int(failed)),
        "on first": parallel.send(rank),
        "shares": [parallel.share(count).stop for count in (0, 1, 4, 5)],
    }


def drawn_by_alignment(options: dict) -> list[list[float]]:
    """A number that each process would draw in the alignment of a step in which the recommender drew noise for its rows."""
    from recbole_rlmrec.plugin.shards import Shards

    trainer, batches, times = _build("MultiVAE_RLMRec", {**options, "alignment": "con", "align_negatives": 7}, [3])
    model = trainer.model
    del model.reparameterize  # its own again
    drawn, loss = [], model.alignment.loss
    model.alignment.loss = lambda step: (drawn.append(torch.rand(())), loss(step))[1]
    for part in Shards(_Loader(batches, times), mean=True):
        _step(model, model.calculate_loss, part)
    return parallel.gather(torch.stack(drawn).unsqueeze(0)).tolist()


def evaluations(cases: dict[str, dict], options: dict) -> dict[str, list[dict]]:
    """What an untrained model's evaluation finds with one process, and with all."""
    from recbole_rlmrec.plugin import evaluation, per_user

    evaluation.SCORES_PER_BLOCK = 100
    found = {}
    for name, own in cases.items():
        with per_user.recording() as users:
            trainer, loaders = _ready("BPR", {**options, **own})
            results, kept = [], []
            for alone in (True, False):
                _seed(5)
                with parallel.alone() if alone else nullcontext():
                    trainer.eval_collector.data_collect(loaders[0])
                    results.append(dict(trainer.evaluate(loaders[2], load_best_model=False)))
                kept.append({**users.values, **({} if users.top is None else {"top": users.top})})
        found[name] = [results, _same(*kept)]
    return found


def _same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def lists(forms: list[str], per_part: int) -> list[str]:
    """Lists of all users by the last model that was trained, with each form once interrupted; what was said."""
    from recbole_rlmrec import cli
    from recbole_rlmrec.commands import recommend
    from recbole_rlmrec.runs import list_files

    list_files.LISTS_PER_PART = per_part
    checkpoint = max(Path("saved").glob("*.pth"), key=os.path.getmtime)
    said, end = io.StringIO(), list_files._end

    def interrupted(*args):
        raise Interrupted

    for form in forms:
        command = ["recommend", f"--checkpoint={checkpoint}", "--all-users", f"--format={form}", f"--output=both.{form}"]
        args = cli.read(command)[1].args
        list_files._end = interrupted
        with suppress(Interrupted, parallel.EndedByFirst):
            recommend.make(args)
        list_files._end = end
        with redirect_stdout(said), redirect_stderr(said):
            recommend.make(args)
    return [str(checkpoint), said.getvalue()]


class Interrupted(BaseException):
    """Stands for the end of all processes."""


def trainings(argv: list[str], until: int) -> dict:
    """A whole run, one that ends before an epoch, and the same taken up again; a run that has ended, taken up again."""
    from recbole_rlmrec.runs.run import main

    whole = main(argv)
    argv = [*argv, "--checkpoint_dir=other"]
    interrupted_for_later(argv, until)
    parallel.wait()
    resumed = main([*argv, "--resume", "--result_file=resumed.json"])
    parallel.wait()
    try:
        again = main([*argv, "--resume"])
    except parallel.EndedByFirst:
        again = None
    logs = len(list(Path("log").glob("*/*.log"))), len(list(Path("log_tensorboard").iterdir()))
    return {"whole": whole, "resumed": resumed, "again": again, "logs": logs}


def interrupted_for_later(argv: list[str], until: int) -> None:
    """A run that ends before an epoch, for another number of processes to find."""
    from recbole_rlmrec.plugin.trainer import RLMRecTrainer
    from recbole_rlmrec.runs.run import main

    train_epoch = RLMRecTrainer._train_epoch

    def interrupted(self, train_data, epoch, *args, **kwargs):
        if epoch == until:
            self.last.at(epoch)
            raise Interrupted
        return train_epoch(self, train_data, epoch, *args, **kwargs)

    RLMRecTrainer._train_epoch = interrupted
    try:
        main(argv)
    except Interrupted:
        pass
    finally:
        RLMRecTrainer._train_epoch = train_epoch
