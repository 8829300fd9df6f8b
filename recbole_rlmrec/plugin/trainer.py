"""What this package adds to RecBole's trainers: named losses, a record of the run, an estimate of its length."""

from __future__ import annotations

import functools
from pathlib import Path
from time import perf_counter

import numpy as np
from recbole.trainer import RecVAETrainer
from recbole.utils import EvaluatorType, set_color

from recbole_rlmrec.data import memory
from recbole_rlmrec.errors import ConfigError, duration
from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.lookup import SEMANTIC_SUFFIX
from recbole_rlmrec.model.loss_kinds import is_mean
from recbole_rlmrec.plugin import per_user, saving, shards, vocabulary
from recbole_rlmrec.plugin.collector import FastCollector, vectorise
from recbole_rlmrec.plugin.following import Following, last_checkpoint
from recbole_rlmrec.plugin.initial import SEMANTIC, load_initial
from recbole_rlmrec.plugin.initial_semantic import load_semantic_initial
from recbole_rlmrec.plugin.optimizer import RowWiseAdam
from recbole_rlmrec.plugin.record import begin_record
from recbole_rlmrec.plugin.resume import LastCheckpoint, every, publish


class RLMRecTrainer:
    """Mixin over RecBole's trainers, for every model that is trained through this package."""

    def __init__(self, config, model):
        if not parallel.first():
            config["log_wandb"] = False
        super().__init__(config, model)
        self.eval_step = min(self.eval_step, self.epochs)  # RecBole's trainer of Pop and kin sets epochs to 1 too late
        self.record = begin_record(config, model)
        self._name_checkpoint()
        self.record.checkpoint = self.saved_model_file
        self.last: LastCheckpoint | Following | None = None
        self.data: dict | None = None
        if config["fast_loader"]:
            self.eval_collector = FastCollector(config)
            vectorise(self.evaluator, config)
        if parallel.many():
            shards.attach(self)
        per_user.attach(self)

    def _name_checkpoint(self) -> None:
        """Take a name that no file has; all processes of a run take the first one's."""
        while Path(self.saved_model_file).exists():
            self.saved_model_file = str(Path(self.checkpoint_dir) / f"{self.config['model']}-{saving.get_local_time()}.pth")
        self.saved_model_file = parallel.send(self.saved_model_file)

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        if valid_data and self.eval_step > 0:
            self._check_valid_metric()
        self.record.preloaded = getattr(train_data._dataset, "rlmrec_preloaded", None)
        self.data = vocabulary.describe(train_data._dataset) if saved else None
        if self.config["initial_embeddings"] and self.start_epoch == 0:
            self._load_initial(train_data._dataset)  # before the run is looked up: where it starts from makes it what it is
        if saved and self.start_epoch == 0 and (self.config["resume"] or every(self.config)):
            self.last = last_checkpoint(self, train_data, valid_data)
        memory.keep()
        try:
            return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
        except BaseException:
            if self.last is not None:
                self.last.release()
            raise
        finally:
            self.record.checkpoint = self.saved_model_file  # a resumed or pretrained model's has another name by now

    def _load_initial(self, dataset) -> None:
        if self.config["model"].endswith(SEMANTIC_SUFFIX) and self.config["semantic_input"] == "replace":
            raise ConfigError("semantic_input: replace leaves no embedding to start from; leave initial_embeddings out.")
        if self.config["initial_embeddings"] == SEMANTIC:
            load_semantic_initial(self.model, dataset, self.config)
            self.record.provenance = self.model.semantic_provenance
        else:
            self.record.initial = load_initial(self.model, dataset, self.config["initial_embeddings"])

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        load = load_best_model
        if parallel.many() and eval_data:
            if load:
                shards.load_best(self, model_file or self.saved_model_file)
            else:
                shards.same_statistics(self.model)
            load, eval_data = False, shards.evaluation_part(eval_data)
        result = super().evaluate(eval_data, load, model_file, show_progress and parallel.first())
        if load_best_model and self.last is not None:
            self.last.evaluated()
        return result

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        if not parallel.first():
            return
        with saving.along(**({vocabulary.KEY: self.data} if self.data else {})):
            super()._save_checkpoint(epoch, verbose, **kwargs)

    def save_pretrained_model(self, epoch, saved_model_file):
        """RecBole's name for what a later stage loads is the same in all runs; what this run tests has a name of its own."""
        if not parallel.first():
            return
        shared, digits = Path(saved_model_file), Path(self.record.checkpoint).stem[-8:]
        super().save_pretrained_model(epoch, str(shared.with_name(f"{shared.stem}-{digits}.pth")))
        publish(Path(self.saved_model_file), shared)

    def _check_valid_metric(self) -> None:
        metrics = [metric.lower() for metric in self.config["metrics"]]
        if self.config["eval_type"] == EvaluatorType.RANKING:
            topk = self.config["topk"]
            metrics = [key for name in metrics for key in ([name] if name == "gauc" else [f"{name}@{k}" for k in topk])]
        if self.valid_metric not in metrics:
            raise ConfigError(
                f"valid_metric is {self.config['valid_metric']}, which metrics and topk do not give; they give "
                f"{', '.join(metrics)}."
            )

    def _build_optimizer(self, **kwargs):
        adapter = getattr(self.model, "adapter", None)
        if self.learner.lower() != "sparse_adam" or adapter is None:
            return super()._build_optimizer(**kwargs)
        if not adapter.reads_rows:
            raise ConfigError(
                f"learner: sparse_adam does not work for {self.config['model']}: each step reads all of its embeddings. "
                "Use learner: adam."
            )
        if self.clip_grad_norm or parallel.many():
            what = "clip_grad_norm" if self.clip_grad_norm else "several processes"
            raise ConfigError(f"learner: sparse_adam does not work with {what}: its gradients have gaps. Use learner: adam.")
        embeddings = [self.model.get_submodule(name) for name in (adapter.user_embedding, adapter.item_embedding)]
        if self.weight_decay:
            self.logger.warning("learner: sparse_adam gives weight_decay to everything but the embeddings.")
        return RowWiseAdam(self.model, embeddings, self.learning_rate, self.weight_decay)

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        begin = getattr(self.model, "begin_epoch", None)
        if begin is not None:
            begin(epoch_idx)
        if self.last is not None:
            self.last.at(epoch_idx)
        if parallel.many():
            train_data, show_progress = shards.Shards(train_data, is_mean(self.model)), show_progress and parallel.first()
        self.record.training = True
        self._epoch, start = epoch_idx, perf_counter()
        try:
            losses = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        except KeyError as missing:
            raise self._unread(missing) from missing
        self.record.seconds.append(perf_counter() - start)
        return losses

    def _unread(self, missing: KeyError) -> Exception:
        """The sentence for a model that reads a column which its batches do not have: negatives or labels."""
        model, label = self.config["model"], self.config["LABEL_FIELD"]
        if missing.args == (f"{self.config['NEG_PREFIX']}{self.config['ITEM_ID_FIELD']}",):
            return ConfigError(
                f"{model} compares an item with a negative one, but train_neg_sample_args draws none; leave that option out or "
                "choose a point-wise model, for example NeuMF."
            )
        if missing.args == (label,):
            return ConfigError(
                f"{model} learns labels, but none are loaded and train_neg_sample_args draws no negatives: leave that option "
                f"out, add {label!r} to load_col, or set threshold, for example threshold: {{rating: 4}}."
            )
        return missing

    def _generate_train_loss_output(self, epoch_idx, s_time, e_time, losses):
        values = losses if isinstance(losses, tuple) else (losses,)
        names = self._loss_names(len(values))
        for name, value in zip(names, values):
            self.record.losses.setdefault(name, []).append(float(value))
        if len(self.record.seconds) == 1 and self.eval_step != 1:  # else the first validation is about to say more
            self._estimate()
        text = super()._generate_train_loss_output(epoch_idx, s_time, e_time, losses)
        for position, name in enumerate(names if len(values) > 1 else (), start=1):
            text = text.replace(set_color(f"train_loss{position}", "blue"), set_color(f"{name}_loss", "blue"), 1)
        return text

    def _loss_names(self, count: int) -> tuple[str, ...]:
        names = tuple(getattr(self.model, "loss_names", ()))
        if len(names) >= count:
            return names[:count]
        return ("loss",) if count == 1 else tuple(f"loss{position + 1}" for position in range(count))

    def _valid_epoch(self, valid_data, show_progress=False):
        start = perf_counter()
        score, result = super()._valid_epoch(valid_data, show_progress)
        epoch = self._epoch
        if not self.record.valid:
            self._estimate(perf_counter() - start)
        if score >= self.best_valid_score if self.valid_metric_bigger else score <= self.best_valid_score:
            self.record.best_epoch = epoch
        self.record.valid.append([epoch, float(score)])
        return score, result

    def _estimate(self, valid_seconds: float | None = None) -> None:
        """Say how long the run takes at most: after the first epoch, and better after the first validation."""
        epoch = float(np.median(self.record.seconds))
        validation = "" if valid_seconds is None else f" and a validation {valid_seconds:.2f} s"
        whole = self.epochs * (epoch + (valid_seconds or 0.0) / max(self.eval_step, 1))
        more = ", validation not counted" if valid_seconds is None and self.eval_step > 0 else ""
        few = max(self.epochs // 10, 1)
        early = f", less if early stopping ends them (stopping_step={self.stopping_step})" if self.eval_step > 0 else ""
        self.logger.info(
            f"An epoch takes {epoch:.2f} s{validation}: {self.epochs} epochs take about {duration(whole)} at most{more}{early}"
            f". --epochs={few} takes about {duration(whole * few / self.epochs)}."
        )


class RecVAE_RLMRecTrainer(RLMRecTrainer, RecVAETrainer):
    """RecVAE trains encoder and decoder with an optimiser each; the alignment network goes with the encoder."""

    def __init__(self, config, model):
        super().__init__(config, model)
        if model.alignment is not None:
            parameters = [*model.encoder.parameters(), *model.alignment.parameters()]
            self.optimizer_encoder = self._build_optimizer(params=parameters)


@functools.cache
def recording(trainer: type) -> type:
    """A trainer class of RecBole with the mixin in front, under its own name."""
    return type(trainer.__name__, (RLMRecTrainer, trainer), {"__doc__": trainer.__doc__})
