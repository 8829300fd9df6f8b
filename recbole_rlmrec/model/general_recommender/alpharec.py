r"""
AlphaRec
################################################

Reference:
    Leheng Sheng et al. "Language Representations Can be What Recommenders Need: Findings and Potentials." in ICLR 2025,
    arXiv 2407.05441.
"""

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType

from recbole_rlmrec.model.adapters import GraphAdapter
from recbole_rlmrec.model.alignment.infonce import normalize_rows
from recbole_rlmrec.model.graph import combine_layers, dataset_adjacency
from recbole_rlmrec.model.options import choice, count
from recbole_rlmrec.model.softmax import SoftmaxLoss, SoftmaxSettings, item_popularity
from recbole_rlmrec.model.text_input import TextInput, TextSettings
from recbole_rlmrec.semantic.load import load_semantic


class _Adapter(GraphAdapter):
    """Of a recommender without embeddings of users and items."""

    def dim(self, model):
        return model.embedding_size


class AlphaRec(GeneralRecommender):
    r"""AlphaRec learns a map from the space of texts to that of recommendation, and nothing of a user or an item.

    .. math:: E_0 = f(S), \quad E = \frac{1}{L+1} \sum_{l=0}^{L} \hat{A}^l E_0

    f is a network of two layers, or a linear map; the text of a user is the mean of the training items' texts, the own
    profile, or both (``user_text``). The loss is the softmax loss, scores are cosines. So it scores users and items too that
    training never saw: :meth:`embed_users` and :meth:`embed_items`. The batch's negative items are not used.
    """

    input_type = InputType.PAIRWISE
    loss_names = ("softmax",)
    adapter = _Adapter()

    def __init__(self, config, dataset):
        softmax, settings = SoftmaxSettings.read(config), TextSettings.from_config(config)
        super().__init__(config, dataset)
        self.embedding_size = count(config, "embedding_size")
        self.n_layers = count(config, "n_layers", "a whole number of at least 0", least=0)
        self.layer_combination = choice(config, "layer_combination", ("mean", "sum"))
        semantic = load_semantic(config, dataset)
        self.semantic_provenance = semantic.provenance
        self.text = TextInput(semantic, settings, dataset, self.embedding_size).to(self.device)
        self.graph = dataset_adjacency(dataset).to(self.device)
        self.softmax_loss = SoftmaxLoss(softmax, item_popularity(dataset).to(self.device))
        self.restore_user_e = self.restore_item_e = None
        self.other_parameter_name = ["restore_user_e", "restore_item_e"]

    def layers(self) -> list[torch.Tensor]:
        """Outputs of all layers from E_0 on, users above items, each [n_users + n_items, embedding_size]."""
        layers = [torch.cat(self.text())]
        for _ in range(self.n_layers):
            layers.append(self.graph.propagate(layers[-1]))
        return layers

    def forward(self):
        """Representations of all users [n_users, d] and all items [n_items, d]."""
        combined = self.graph.combined(torch.cat(self.text()), self.n_layers, self.layer_combination)
        return torch.split(combined, [self.n_users, self.n_items])

    def calculate_loss(self, interaction):
        self.restore_user_e = self.restore_item_e = None
        users, items = self.forward()
        user, positive = interaction[self.USER_ID], interaction[self.ITEM_ID]
        return self.softmax_loss(users.__getitem__, items.__getitem__, user, positive)

    def predict(self, interaction):
        users, items = self._unit_tables()
        return (users[interaction[self.USER_ID]] * items[interaction[self.ITEM_ID]]).sum(dim=1)

    def full_sort_predict(self, interaction):
        users, items = self._unit_tables()
        return (users[interaction[self.USER_ID]] @ items.T).view(-1)

    def _unit_tables(self):
        if self.restore_user_e is None or self.restore_item_e is None:
            self.restore_user_e, self.restore_item_e = (normalize_rows(table) for table in self.forward())
        return self.restore_user_e, self.restore_item_e

    @torch.no_grad()
    def embed_items(self, texts: torch.Tensor) -> torch.Tensor:
        """Unit vectors [k, d] of items without interactions, from the embeddings of their texts [k, d_s].

        Their products with the unit vectors of users are scores.
        """
        return normalize_rows(self.text.embed_items(texts))

    @torch.no_grad()
    def embed_users(
        self,
        history: torch.Tensor | None = None,
        profiles: torch.Tensor | None = None,
        items: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Unit vectors [k, d] of users that training never saw.

        Parameters
        ----------
        history, profiles : torch.Tensor, optional
            As :meth:`TextInput.embed_users` takes them.
        items : list of torch.LongTensor, optional
            Internal ids of each user's items, [k], repeats counted once as in training; the items' vectors of the trained graph
            are propagated to the user.

        Raises
        ------
        SemanticError
            Neither ``history`` nor ``profiles`` is given where ``user_text`` needs it.
        """
        layers = [self.text.embed_users(history, profiles)]
        if items is not None:
            items = [ids.unique() for ids in items]
            degree = (self.graph.crow[1:] - self.graph.crow[:-1])[self.n_users :].clamp_min(1).to(layers[0].dtype)
            for table in self.layers()[: self.n_layers]:
                table = table[self.n_users :] * degree.rsqrt().unsqueeze(1)
                near = [table[ids].sum(dim=0) / max(len(ids), 1) ** 0.5 for ids in items]
                layers.append(torch.stack(near))
        return normalize_rows(combine_layers(layers, self.layer_combination))
