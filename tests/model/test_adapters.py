"""Every general recommender: what con and gen reach, what is refused and why, and adapters of one's own."""

import inspect
import random
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import recbole.model.general_recommender as recbole_models
import torch
from recbole.data.interaction import Interaction, cat_interactions
from recbole.model.abstract_recommender import GeneralRecommender
from torch import nn

import recbole_rlmrec
from recbole_rlmrec.errors import ModelError
from recbole_rlmrec.model.adapters import (
    ADAPTERS,
    NOT_ALIGNABLE,
    Adapter,
    EmbeddingAdapter,
    SequenceAdapter,
    get_adapter,
)
from recbole_rlmrec.model.lookup import find_model
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.semantic.table import Semantic, SemanticTable

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
ALIGNED = sorted(name for name, adapter in ADAPTERS.items() if not isinstance(adapter, SequenceAdapter))
WIDTH = 6
LOSS_ALONE = {  # no regulariser, nothing that changes with the number of steps
    "reg_weight": 0.0,
    "reg_weight_1": 0.0,
    "reg_weight_2": 0.0,
    "cor_weight": 0.0,
    "reg_weights": [0.0, 0.0],
    "anneal_steps": 0,
    "vae_anneal_steps": 0,
    "total_anneal_steps": 0,
}


@pytest.fixture(autouse=True)
def profiles(monkeypatch):
    """Random embeddings for all users and items but the first of each."""

    def load(config, train):
        tables = [_table(count, config["device"]) for count in (train.user_num, train.item_num)]
        return Semantic(*tables, "tag", "encoder", {"tag": "tag"})

    monkeypatch.setattr("recbole_rlmrec.model.rlmrec.load_semantic", load)


def _table(count: int, device) -> SemanticTable:
    rows = np.arange(count) - 2
    rows[:2] = -1
    return SemanticTable(np.random.default_rng(count).normal(size=(count - 2, WIDTH)).astype(np.float32), rows, device)


@pytest.fixture
def make(build):
    """``make(backbone, **options)`` -> (model, loaders) of BACKBONE_RLMRec, in sizes that the recommender can take."""

    def go(backbone: str, suffix: str = "_RLMRec", **options):
        sizes = {"embedding_size": 64} if backbone == "ConvNCF" else {}
        return build(backbone + suffix, **{**sizes, **options})[1:]

    return go


def first_batch(loaders) -> Interaction:
    return next(iter(loaders[0]))


def prepare(model):
    """What a trainer does before the first step."""
    model.train()
    if hasattr(model, "e_step"):
        model.e_step()
    if hasattr(model, "begin_epoch"):
        model.begin_epoch(0)
    return model


def losses_of(model, batch) -> tuple:
    needs_flag = "encoder_flag" in inspect.signature(type(model).__mro__[2].calculate_loss).parameters
    losses = model.calculate_loss(batch, **({"encoder_flag": True} if needs_flag else {}))
    return losses if isinstance(losses, tuple) else (losses,)


def terms_of(model, batch):
    """The terms of a step, and its batch size, as the alignment receives them."""
    seen, forward = [], model.alignment.forward
    model.alignment.forward = lambda step: (seen.append(step), forward(step))[1]
    losses_of(model, batch)
    model.alignment.forward = forward
    return seen[0]


# --- what works ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ALIGNED)
def test_con_reaches_the_recommender_and_the_projection(make, backbone):
    model, loaders = make(backbone, align_weight=1.0)
    batch = first_batch(loaders)
    losses = losses_of(prepare(model), batch)
    assert all(torch.isfinite(loss) for loss in losses)
    step = terms_of(model, batch)
    model.zero_grad()
    model.alignment(step).backward()
    own = [p.grad for name, p in model.named_parameters() if not name.startswith("alignment.")]
    assert any(grad is not None and grad.abs().sum() > 0 for grad in own)
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.alignment.parameters())


@pytest.mark.parametrize("alignment", ["darec", "distance"])
@pytest.mark.parametrize("backbone", ALIGNED)
def test_further_alignments_reach_the_recommender(make, backbone, alignment):
    model, loaders = make(backbone, alignment=alignment, align_weight=1.0)
    step = terms_of(prepare(model), first_batch(loaders))
    model.zero_grad()
    loss = model.alignment(step)
    loss.backward()
    own = [p.grad for name, p in model.named_parameters() if not name.startswith("alignment.")]
    assert loss.isfinite() and any(grad is not None and grad.abs().sum() > 0 for grad in own)
    assert all(parameter.grad.isfinite().all() for parameter in model.alignment.parameters())


@pytest.mark.parametrize("backbone", [name for name in ALIGNED if not get_adapter(name).masking])
def test_gen_reaches_the_mask_token(make, backbone):
    model, loaders = make(backbone, alignment="gen", mask_ratio=0.4)
    before = {name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    losses = losses_of(prepare(model), first_batch(loaders))
    sum(losses).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.alignment.parameters())
    assert {name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)} == before


@pytest.mark.parametrize("backbone", [name for name in ALIGNED if get_adapter(name).masking])
def test_gen_is_refused_with_the_reason(make, backbone):
    with pytest.raises(ModelError, match=re.escape(get_adapter(backbone).masking)):
        make(backbone, alignment="gen")


@pytest.mark.parametrize("backbone", sorted(NOT_ALIGNABLE))
def test_models_without_representations_are_refused_with_the_reason(backbone):
    with pytest.raises(ModelError, match=f"{backbone} cannot be aligned: {re.escape(NOT_ALIGNABLE[backbone])}"):
        find_model(f"{backbone}_RLMRec")


def test_every_general_recommender_is_decided():
    theirs = {name for name, value in vars(recbole_models).items() if inspect.isclass(value)}
    assert theirs <= set(ADAPTERS) | set(NOT_ALIGNABLE)
    assert not set(ADAPTERS) & set(NOT_ALIGNABLE)


@pytest.mark.parametrize("backbone", ALIGNED)
def test_none_adds_nothing(make, backbone):
    """The same parameters and the same loss as the recommender alone: nothing is drawn, added or hooked."""
    own = find_model(f"{backbone}_RLMRec").__mro__[2]
    if own is not find_model(backbone):
        pytest.skip("has options of its own; its test compares them")
    theirs, loaders = make(backbone, "")
    ours, _ = make(backbone, alignment="none", fast_loader=False)
    assert {name: tuple(p.shape) for name, p in ours.named_parameters()} == {
        name: tuple(p.shape) for name, p in theirs.named_parameters()
    }
    batch = first_batch(loaders)
    ours.load_state_dict(theirs.state_dict())
    results = []
    for model in (theirs, ours):
        _seed()
        prepare(model)
        flag = {"encoder_flag": True} if backbone == "RecVAE" else {}
        results.append(model.calculate_loss(batch, **flag))
    assert results[0] == results[1]


def _seed():
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)


# --- scale of the losses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ALIGNED)
def test_declared_loss_is_a_mean_or_a_sum(make, monkeypatch, backbone):
    """A batch that holds everything twice doubles a sum and leaves a mean."""
    model, loaders = make(backbone, alignment="none", **LOSS_ALONE)
    batch = first_batch(loaders)
    prepare(model).eval()
    monkeypatch.setattr(random, "random", lambda: 0.1)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    if hasattr(model, "sample_timesteps"):
        model.sample_timesteps = lambda size, device, method: (torch.zeros(size, dtype=int), torch.ones(size))
    totals = []
    for repeated in (batch, cat_interactions([batch, batch])):
        _seed()
        totals.append(losses_of(model, repeated)[0].item())
    expected = {"mean": 1.0, "sum": 2.0}[get_adapter(backbone).loss]
    assert totals[1] / totals[0] == pytest.approx(expected, rel=1e-4)


def test_alignment_of_a_summed_loss_is_multiplied_by_the_batch(make, monkeypatch):
    model, loaders = make("ENMF")
    batch = first_batch(loaders)
    *_, summed = losses_of(model, batch)
    monkeypatch.setattr(model.adapter, "loss", "mean")
    *_, mean = losses_of(model, batch)
    torch.testing.assert_close(summed, mean * len(batch))


# --- representations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ALIGNED)
def test_representations_have_the_declared_size_and_ids(make, backbone):
    model, loaders = make(backbone)
    batch = first_batch(loaders)
    step = terms_of(prepare(model), batch)
    dim = model.adapter.dim(model)
    assert [term.side for term in step.terms][0] == "user"
    for term in step.terms:
        rows = term.rows if term.lookup is None else term.lookup(term.ids)
        assert rows.shape == (len(term.ids), dim)
    assert step.batch_size == len(step.terms[0].ids)


def test_padding_takes_no_part(make):
    model, _ = make("MultiVAE")
    model.eval()
    some = Interaction({"user_id": torch.tensor([4, 5, 9])})
    padded = Interaction({"user_id": torch.tensor([4, 0, 5, 9])})
    alone, together = (losses_of(model, batch)[-1] for batch in (some, padded))
    torch.testing.assert_close(alone * 3, together * 4)


@pytest.mark.parametrize("parts", [{"mf_train": True, "mlp_train": False}, {"mf_train": False, "mlp_train": True}])
def test_neumf_aligns_the_parts_that_are_trained(make, parts):
    model, _ = make("NeuMF", mf_embedding_size=5, mlp_embedding_size=7, **parts)
    assert model.adapter.dim(model) == (5 if parts["mf_train"] else 7)


def test_fism_user_times_item_is_the_score(make):
    model, loaders = make("FISM", alpha=0.5)
    batch = first_batch(loaders)
    users, items, _ = terms_of(model, batch).terms
    liked = batch["label"] > 0.5
    logits = torch.logit(model.forward(batch["user_id"], batch["item_id"]))[liked]
    bias = model.user_bias[users.ids] + model.item_bias[items.ids]
    torch.testing.assert_close((users.rows * items.lookup(items.ids)).sum(dim=1) + bias, logits, atol=1e-6, rtol=1e-4)


def test_dmf_towers_multiply_to_the_score(make):
    model, loaders = make("DMF")
    model.eval()
    batch = first_batch(loaders)
    users, positives, negatives = terms_of(model, batch).terms
    scores = model.forward(batch["user_id"], batch["item_id"])
    liked = batch["label"] > 0.5
    torch.testing.assert_close((users.rows * positives.rows).sum(dim=1), scores[liked])
    assert torch.equal(negatives.ids, batch["item_id"][~liked])


def test_simplex_aligns_the_first_of_several_negatives(make):
    arguments = {"distribution": "uniform", "sample_num": 3, "dynamic": False}
    model, loaders = make("SimpleX", train_neg_sample_args=arguments, fast_loader=False)
    batch = first_batch(loaders)
    step = terms_of(model, batch)
    count = len(batch) // 3
    assert step.batch_size == count
    assert torch.equal(step.terms[2].ids, batch["neg_item_id"][:count])


def test_ldiffrec_concatenates_the_codes_of_its_clusters(make, monkeypatch, workdir):
    fake = ModuleType("kmeans_pytorch")
    fake.kmeans = lambda X, num_clusters, **_: (torch.arange(len(X)) % num_clusters, None)
    monkeypatch.setitem(sys.modules, "kmeans_pytorch", fake)
    np.save(workdir / "dataset" / "tiny" / "item_emb.npy", np.zeros((30, 4), dtype=np.float32))
    model, loaders = make("LDiffRec", n_cate=2)
    step = terms_of(model, first_batch(loaders))
    assert step.terms[0].rows.shape == (step.batch_size, 300)


def test_point_wise_batch_without_interactions(make):
    model, _ = make("NeuMF")
    batch = Interaction({"user_id": torch.tensor([3]), "item_id": torch.tensor([4]), "label": torch.zeros(1)})
    assert all(torch.isfinite(loss) for loss in losses_of(model, batch))


# --- trainers that treat losses in their own way -------------------------------------------------------------------


@pytest.mark.parametrize("warm_up", [0, 9])
def test_ncl_keeps_the_alignment_in_its_warm_up(run, warm_up):
    run("NCL_RLMRec", warm_up_step=warm_up)
    names = ["recommendation", "structure_contrast", "alignment", "prototype_contrast"]
    assert list(last_record().losses) == (names[:3] if warm_up else names)


def test_recvae_trains_the_alignment_network(run, monkeypatch):
    import recbole_rlmrec.plugin.record as records

    seen = []
    original = records.RunRecord.__init__

    def keep(self, config, model):
        seen.append((model, [parameter.detach().clone() for parameter in model.alignment.parameters()]))
        original(self, config, model)

    monkeypatch.setattr(records.RunRecord, "__init__", keep)
    run("RecVAE_RLMRec", epochs=1)
    model, before = seen[0]
    assert all(not torch.equal(old, new) for old, new in zip(before, model.alignment.parameters(), strict=True))
    assert list(last_record().losses) == ["recommendation_and_alignment"]


def test_ract_loads_an_earlier_stage(run, workdir):
    options = {"pretrain_epochs": 1, "save_step": 1, "metrics_k": 5, "epochs": 1}
    run("RaCT_RLMRec", train_stage="actor_pretrain", **options)
    checkpoint = str(workdir / "saved" / "RaCT_RLMRec-tiny-1.pth")
    run("RaCT_RLMRec", train_stage="critic_pretrain", pre_model_path=checkpoint, **options)
    run("RaCT_RLMRec", train_stage="finetune", pre_model_path=checkpoint, **options)
    assert set(last_record().losses) == {"recommendation", "alignment"}


# --- adapters of one's own -----------------------------------------------------------------------------------------


class MyModel(GeneralRecommender):
    """Embeddings propagated over nothing but themselves: the representation is [e, 2 e]."""

    input_type = recbole_models.BPR.input_type

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.users = nn.Embedding(self.n_users, config["embedding_size"])
        self.items = nn.Embedding(self.n_items, config["embedding_size"])

    def forward(self):
        tables = self.users.weight, self.items.weight
        return tuple(torch.cat([table, 2 * table], dim=1) for table in tables)

    def calculate_loss(self, interaction):
        users, items = self.forward()
        user = users[interaction[self.USER_ID]]
        margin = (user * (items[interaction[self.ITEM_ID]] - items[interaction[self.NEG_ITEM_ID]])).sum(dim=1)
        return nn.functional.softplus(-margin).mean()

    def predict(self, interaction):
        users, items = self.forward()
        return (users[interaction[self.USER_ID]] * items[interaction[self.ITEM_ID]]).sum(dim=1)


@pytest.fixture
def forget(monkeypatch):
    """What a test registers is gone after it."""
    from recbole_rlmrec.model import lookup

    monkeypatch.setattr(lookup, "_registered", dict(lookup._registered))
    before = dict(ADAPTERS)
    yield
    lookup.aligned_model.cache_clear()
    ADAPTERS.clear()
    ADAPTERS.update(before)


@pytest.mark.parametrize("alignment", ["con", "gen"])
def test_documented_adapter_of_an_own_model(run, forget, alignment):
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1]
    exec(code, {"MyModel": MyModel})
    result = run("MyModel_RLMRec", alignment=alignment)
    assert set(last_record().losses) == {"recommendation", "alignment"}
    assert result["test_result"]["recall@10"] > 0


def test_an_own_model_without_adapter_is_refused(make, forget):
    recbole_rlmrec.register_model(MyModel)
    with pytest.raises(ModelError, match="MyModel cannot be aligned: no adapter .*register_adapter"):
        make("MyModel")


def test_an_object_that_is_no_adapter_is_refused(forget):
    with pytest.raises(ModelError, match=r"derive it from recbole_rlmrec\.Adapter"):
        recbole_rlmrec.register_adapter("MyModel", EmbeddingAdapter)


@pytest.mark.parametrize("alignment", ["con", "gen"])
def test_embeddings_that_are_not_there_are_named(make, forget, alignment):
    recbole_rlmrec.register_model(MyModel)
    recbole_rlmrec.register_adapter("MyModel", recbole_rlmrec.GraphAdapter())
    with pytest.raises(ModelError, match="MyModel_RLMRec has no torch.nn.Embedding named 'user_embedding'"):
        make("MyModel", alignment=alignment)


@pytest.mark.parametrize("alignment", ["con", "gen"])
def test_representations_of_another_size_are_named(make, forget, alignment):
    class Wrong(recbole_rlmrec.GraphAdapter):
        user_embedding, item_embedding = "users", "items"

    recbole_rlmrec.register_model(MyModel)
    recbole_rlmrec.register_adapter("MyModel", Wrong())
    model, loaders = make("MyModel", alignment=alignment)
    with pytest.raises(ModelError, match=r"Wrong, the adapter of MyModel_RLMRec, gives .* not \(\d+, 8\)"):
        losses_of(model, first_batch(loaders))


def test_embeddings_of_two_sizes_need_a_mask_of_their_own(make, forget):
    class Uneven(MyModel):
        def __init__(self, config, dataset):
            super().__init__(config, dataset)
            self.items = nn.Embedding(self.n_items, 5)

    class UnevenAdapter(recbole_rlmrec.GraphAdapter):
        user_embedding, item_embedding = "users", "items"

    recbole_rlmrec.register_model(Uneven)
    recbole_rlmrec.register_adapter("Uneven", UnevenAdapter())
    with pytest.raises(ModelError, match="have sizes 8 and 5"):
        make("Uneven", alignment="gen")


def test_embeddings_deeper_in_the_model_are_masked(make, forget):
    class Deep(MyModel):
        def __init__(self, config, dataset):
            super().__init__(config, dataset)
            self.tables = nn.ModuleList([self.users, self.items])
            del self.users, self.items

        def forward(self):
            return self.tables[0].weight, self.tables[1].weight

    class DeepAdapter(recbole_rlmrec.GraphAdapter):
        user_embedding, item_embedding = "tables.0", "tables.1"

    recbole_rlmrec.register_model(Deep)
    recbole_rlmrec.register_adapter("Deep", DeepAdapter())
    model, loaders = make("Deep", alignment="gen", mask_ratio=0.5)
    sum(losses_of(model, first_batch(loaders))).backward()
    assert model.alignment.mask_token.grad.abs().sum() > 0
    assert type(model.tables[0]) is nn.Embedding


def test_embeddings_deeper_in_the_model_are_looked_up(make, forget):
    class Deeper(MyModel):
        def __init__(self, config, dataset):
            super().__init__(config, dataset)
            self.net = nn.ModuleDict({"user": self.users, "item": self.items})
            del self.users, self.items

        def forward(self):
            return self.net["user"].weight, self.net["item"].weight

    class DeeperAdapter(EmbeddingAdapter):
        user_embedding, item_embedding = "net.user", "net.item"

    class ItemsAlone(DeeperAdapter):
        def lookups(self, model, calls):
            return None, super().lookups(model, calls)[1]

    recbole_rlmrec.register_model(Deeper)
    for adapter, sides in ((DeeperAdapter(), ["user", "item", "item"]), (ItemsAlone(), ["item", "item"])):
        recbole_rlmrec.register_adapter("Deeper", adapter)
        model, loaders = make("Deeper", alignment="con")
        sum(losses_of(model, first_batch(loaders))).backward()
        assert model.net["item"].weight.grad.abs().sum() > 0
        assert [term.side for term in adapter.terms(model, first_batch(loaders), [])[0]] == sides


# --- documentation -------------------------------------------------------------------------------------------------


def documented() -> dict[str, list[str]]:
    rows = re.findall(r"^\| (\w+) \| (.*) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows if name != "recommender"}


@pytest.mark.parametrize("backbone", [*ALIGNED, *sorted(NOT_ALIGNABLE)])
def test_table_in_the_documentation(make, backbone):
    con, gen, loss, text = documented()[backbone]
    if backbone in NOT_ALIGNABLE:
        assert (con, gen, loss, text) == ("no", "no", "", NOT_ALIGNABLE[backbone])
        return
    adapter = get_adapter(backbone)
    assert isinstance(adapter, Adapter)
    assert (gen, loss) == ("no" if adapter.masking else "yes", adapter.loss)
    assert text.endswith(f"gen: {adapter.masking}") if adapter.masking else "gen:" not in text
    model, loaders = make(backbone)
    sides = {term.side for term in terms_of(prepare(model), first_batch(loaders)).terms}
    assert con == ("users, items" if "item" in sides else "users")
