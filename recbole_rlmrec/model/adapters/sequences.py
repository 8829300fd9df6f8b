"""Adapters of RecBole's sequential recommenders: a user is the sequence representation that scores the next item.

Items are aligned as what they are scored by: the embeddings of the targets and, with a BPR loss, of the sampled negatives.
``alignment: gen`` masks items (and users that have an embedding) inside the sequences, wherever ``forward`` reads them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.errors import ConfigError, ModelError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.adapters.base import BatchAdapter, Call, Lookup, token_rows
from recbole_rlmrec.model.alignment.base import Mask, Term

_EMBEDDINGS = "a user is the embeddings of user and last item, so what is masked keeps nothing to reconstruct a profile from"


class SequenceAdapter(BatchAdapter):
    """Recommenders whose ``forward`` returns the sequence representations [B, d] that their loss compares with items.

    Attributes
    ----------
    user_embedding : str
        Empty where a user has no embedding beside the sequence.
    target_embedding : str
        Name of the embedding that an item is scored by, where that is not ``item_embedding``.
    sequence : str
        Name of the sub-module whose output is the sequence representation, where ``forward`` returns something else.
    states : str or None
        Name of the sub-module whose output holds a state for each position [B, L, d], the last of them if it is a list: what
        gen reconstructs an item from. Empty where that is ``forward``; None where there is no state of the representation's
        size: then gen has users alone.
    trims : bool
        Whether scores do not depend on the padding of a sequence, so that evaluation may leave it out.
    features : str
        Name of the option that names the item columns that it reads, if there is one.
    """

    masking = ""
    softmax = "sequential recommenders have loss_type for that: CE, where they offer it, is a softmax over all items"
    text_input = True
    reads_outside = True
    sees_forward = True
    user_embedding = ""
    target_embedding = ""
    sequence = ""
    states: str | None = None
    blocks = True
    trims = False
    features = ""

    def width(self, model) -> int:
        """How much more work a position of a sequence is than in a Transformer, where all items are ranked."""
        return 1

    def check_data(self, config, dataset):
        named = config[self.features] if self.features else []
        named = [named] if isinstance(named, str) else named or []
        there = [] if dataset.item_feat is None else list(dataset.item_feat.columns)
        if missing := [name for name in named if name not in there]:
            raise ConfigError(
                f"{config['model']} reads the item column {missing[0]!r} ({self.features}), which is not loaded; name columns "
                f"of {dataset.dataset_name}.item in {self.features} and load them, with item_id, by load_col."
            )

    def input_names(self, model):
        self.initial_dim(model)
        return (("", self.item_embedding),)

    def dim(self, model):
        return self._embedding(model, self.target_embedding or self.item_embedding).embedding_dim

    def observed(self, model):
        return [model.get_submodule(name) for name in (self.sequence, self.states) if name]

    def rows(self, model, interaction, calls):
        return self.call(model, calls, self.sequence).output

    def item_terms(self, model, interaction, ids, calls):
        look = self._checked(model, self.targets(model))
        return [Term("item", ids[name], look) for name in ("positive", "negative") if name in ids]

    def targets(self, model) -> Lookup:
        """Function from internal ids [k] to what these items are scored by [k, d]."""
        return self._embedding(model, self.target_embedding or self.item_embedding)

    def call(self, model, calls: list[Call], name: str) -> Call:
        """The first call in a step of a sub-module, or of ``forward`` where ``name`` is empty."""
        module = model.get_submodule(name) if name else None
        return next(call for call in calls if call.module is module)

    def position_states(self, model, calls: list[Call]) -> torch.Tensor | None:
        """State of each position of the sequences [B, L, d], if there is one."""
        if self.states is None:
            return None
        output = self.call(model, calls, self.states).output
        return output[-1] if isinstance(output, (list, tuple)) else output

    def items_read(self, model, interaction) -> torch.Tensor:
        """Internal ids of the items that ``forward`` read, [B, L]."""
        return interaction[model.ITEM_SEQ]

    def counted(self, model, interaction) -> torch.Tensor:
        """Which rows of the batch the recommender's own loss counts, bool [B]; others represent nobody in gen."""
        return torch.ones_like(interaction[model.USER_ID], dtype=torch.bool)

    def reconstructs(self, masked):
        there = self.user_embedding or "item" in masked, self.states is not None
        return [side for side, is_there in zip(SIDES, there) if is_there and side in masked]

    def masked_nodes(self, model, interaction, calls, mask):
        """The masked items inside the batch's sequences, those that count, and the masked users whose input has one of them.

        An item is represented by the mean of its positions' states, a user by the mean of the sequence representations.
        """
        read, user = self.items_read(model, interaction), interaction[model.USER_ID]
        counted = self.counted(model, interaction)
        there = token_rows(self._embedding(model, self.item_embedding).num_embeddings, mask.item).squeeze(1)[read]
        there &= counted.unsqueeze(1)
        states = self.position_states(model, calls)
        rows = self.rows(model, interaction, calls)
        self._check(model, rows, len(user))
        items = Means(read[there], states[there]) if states is not None else Means(read[:0, 0], rows[:0])
        encoded = torch.isin(user, mask.user) & counted
        if not self.user_embedding:
            encoded &= there.any(dim=1)
        users = Means(user[encoded], rows[encoded])
        return Mask(users.ids, items.ids), users, items


class Means:
    """Mean of the rows [m, d] that each of several ids [m] has; a function from ids [k] that are there to means [k, d].

    Of several processes each gives its own, and the means are over those of all.
    """

    def __init__(self, ids: torch.Tensor, rows: torch.Tensor):
        ids, rows = (parallel.gather(parallel.counted(part)) for part in (ids, rows))
        self.ids, places, counts = ids.unique(return_inverse=True, return_counts=True)
        sums = rows.new_zeros(len(self.ids), rows.shape[1]).index_add(0, places, rows)
        self._means = sums / counts.unsqueeze(1)

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        return self._means[torch.searchsorted(self.ids, ids)]


class UserSequenceAdapter(SequenceAdapter):
    """Caser, HRM, SHAN and kin: a user has an embedding, which is part of the sequence representation."""

    user_embedding = "user_embedding"


class TransRecAdapter(UserSequenceAdapter):
    """TransRec: the sum of the embeddings of user and last item, and a translation; it expands users by items to rank."""

    masking = _EMBEDDINGS

    def width(self, model):
        return max(model.n_items // model.max_seq_length, 1)


class HGNAdapter(UserSequenceAdapter):
    """HGN: an item has one embedding inside sequences and another one as a target.

    Negatives are aligned as what ranks them, although RecBole's BPR loss scores them by the embedding inside sequences.
    """

    target_embedding = "item_embedding_for_prediction"

    def input_names(self, model):
        return (*super().input_names(model), ("", self.target_embedding))


class NPEAdapter(UserSequenceAdapter):
    """NPE: an item is scored by its embedding after a ReLU."""

    def targets(self, model):
        embedding = self._embedding(model, self.item_embedding)
        return lambda ids: F.relu(embedding(ids))


class FPMCAdapter(SequenceAdapter):
    """FPMC: user and last item beside each other, compared with the two embeddings of the next item."""

    masking = _EMBEDDINGS
    user_embedding = "UI_emb"
    item_embedding = "LI_emb"

    def input_names(self, model):
        return tuple(("", name) for name in (self.item_embedding, "IU_emb", "IL_emb"))

    def dim(self, model):
        return 2 * model.embedding_size

    def rows(self, model, interaction, calls):
        items, last = interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN] - 1
        return torch.cat([model.UI_emb(interaction[model.USER_ID]), model.LI_emb(items.gather(1, last[:, None])[:, 0])], dim=1)

    def targets(self, model):
        return lambda ids: torch.cat([model.IU_emb(ids), model.IL_emb(ids)], dim=1)


class SRGNNAdapter(SequenceAdapter):
    """SRGNN: the state of a position is what its graph network gives the item there."""

    states = "linear_two"
    trims = True

    def position_states(self, model, calls):
        return self.call(model, calls, self.states).args[0]


class RepeatNetAdapter(SequenceAdapter):
    """RepeatNet: what its explore decoder compares with a weight vector for each item."""

    item_embedding = "item_matrix"
    sequence = "explore_recommendation_decoder.matrix_for_explore"
    scores_texts = False

    def dim(self, model):
        return model.get_submodule(self.sequence).in_features

    def rows(self, model, interaction, calls):
        return self.call(model, calls, self.sequence).args[0]

    def targets(self, model):
        return lambda ids: model.get_submodule(self.sequence).weight[ids]


class SASRecCPRAdapter(SequenceAdapter):
    """SASRecCPR, GRU4RecCPR: the first of their facets, which is compared with every item."""

    sequence = "project_arr.0"
    states = "trm_encoder"

    def rows(self, model, interaction, calls):
        return super().rows(model, interaction, calls).squeeze(1)


class GRU4RecCPRAdapter(SASRecCPRAdapter):
    """GRU4RecCPR: items as targets may have weights of their own (``use_out_emb``)."""

    states = "dense"
    text_input = False

    def input_names(self, model):
        raise ModelError(
            "GRU4RecCPR has no text as input: its items are read by two names. SASRecCPR_Semantic or GRU4Rec_Semantic can."
        )

    def targets(self, model):
        return lambda ids: model.out_item_embedding.weight[ids]


class KSRAdapter(SequenceAdapter):
    """KSR: an item is scored by its embedding and that of its entity, combined."""

    trims = True

    def dim(self, model):
        return model.embedding_size

    def targets(self, model):
        return model._get_item_comb_embedding


class BERT4RecAdapter(SequenceAdapter):
    """BERT4Rec: the state of the last position that it masked itself, and the item there, as its loss counts them.

    Rows without such a position take no part.
    """

    more_rows = 1
    states = ""
    trims = True

    def rows(self, model, interaction, calls):
        masked = model.MASK_INDEX in interaction  # else a sequence to go on: its mask is where the next item is to be
        last = interaction[model.MASK_INDEX][:, -1] if masked else interaction[model.ITEM_SEQ_LEN] - 1
        states = self.position_states(model, calls)
        return states[torch.arange(len(last), device=last.device), last]

    def items_read(self, model, interaction):
        return interaction[model.MASK_ITEM_SEQ]

    def counted(self, model, interaction):
        return interaction[model.MASK_INDEX][:, -1] > 0

    def terms(self, model, interaction, calls):
        counted = self.counted(model, interaction)
        rows = self.rows(model, interaction, calls)
        ids = {"user": interaction[model.USER_ID], "positive": interaction[model.POS_ITEMS][:, -1]}
        if model.loss_type == "BPR":
            ids["negative"] = interaction[model.NEG_ITEMS][:, -1]
        ids = {name: column * counted for name, column in ids.items()}
        self._check(model, rows, len(rows))
        return [Term("user", ids["user"], rows=rows), *self.item_terms(model, interaction, ids, calls)], len(rows)


class S3RecAdapter(SequenceAdapter):
    """S3Rec: aligned while it is fine-tuned; its pre-training scores no next item."""

    more_rows = 1
    states = ""
    trims = True
    features = "item_attribute"

    def dim(self, model):
        if model.train_stage != "finetune":
            raise ModelError(
                "S3Rec is aligned while it is fine-tuned: train S3Rec with train_stage: pretrain first, then this model with "
                "train_stage: finetune and pre_model_path."
            )
        return super().dim(model)

    def rows(self, model, interaction, calls):
        return model.gather_indexes(self.position_states(model, calls), interaction[model.ITEM_SEQ_LEN] - 1)


def sequence_adapter(states: str | None = None, trims: bool = False, features: str = "") -> SequenceAdapter:
    """Adapter of a recommender that differs in no more than these attributes of :class:`SequenceAdapter`."""
    adapter = SequenceAdapter()
    adapter.states, adapter.trims, adapter.features = states, trims, features
    return adapter
