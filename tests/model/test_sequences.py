"""Every sequential recommender: none is RecBole's own, what con and gen reach, texts as input, ranking in blocks."""

import dataclasses
import inspect
import random
import re
from pathlib import Path

import numpy as np
import pytest
import recbole.model.sequential_recommender as recbole_models
import torch
from recbole.data.interaction import Interaction
from recbole.model.loss import BPRLoss
from recbole.quick_start import load_data_and_model
from recbole.utils import get_trainer
from torch import nn

from recbole_rlmrec.errors import ConfigError, DataError, ModelError
from recbole_rlmrec.model import blocks, rlmrec
from recbole_rlmrec.model.adapters import ADAPTERS, NOT_ALIGNABLE, SequenceAdapter, get_adapter
from recbole_rlmrec.model.lookup import find_model
from recbole_rlmrec.plugin.initial import export_initial, load_initial
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.runs.trained import load_trained
from recbole_rlmrec.runs.unseen import Unseen, extend
from recbole_rlmrec.semantic.table import Semantic, SemanticTable

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
WIDTH = 9
SEQUENTIAL = sorted(name for name, adapter in ADAPTERS.items() if isinstance(adapter, SequenceAdapter))
TIMES = ["user_id", "item_id", "timestamp"]
FEATURES = {"selected_features": ["genre"], "load_col": {"inter": TIMES, "item": ["item_id", "genre"]}}
KNOWLEDGE = {
    "load_col": {
        "inter": TIMES,
        "kg": ["head_id", "relation_id", "tail_id"],
        "link": ["item_id", "entity_id"],
        "entity": ["ent_id", "ent_emb"],
        "relation": ["rel_id", "rel_emb"],
    },
    "additional_feat_suffix": ["entity", "relation"],
    "alias_of_entity_id": ["ent_id"],
    "alias_of_relation_id": ["rel_id"],
    "preload_weight": {"ent_id": "ent_emb", "rel_id": "rel_emb"},
    "kg_embedding_size": 8,
}
SIZES = {"hidden_size": 8, "inner_size": 8, "MAX_ITEM_LIST_LENGTH": 8}
OWN = {
    "FDSA": FEATURES,
    "GRU4RecF": FEATURES,
    "SASRecF": FEATURES,
    "S3Rec": {"item_attribute": "genre", "train_stage": "finetune", "pre_model_path": "s3rec.pth", **FEATURES},
    "GRU4RecKG": KNOWLEDGE,
    "KSR": KNOWLEDGE,
    "FPMC": {"loss_type": "BPR"},
    "SHAN": {"short_item_length": 2},
    "SASRecCPR": {"reranker_CAN_NUM": 10},
    "GRU4RecCPR": {"reranker_CAN_NUM": 10},
    "RepeatNet": {"joint_train": True},
}
PAIRWISE = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False}}


@pytest.fixture(autouse=True)
def profiles(monkeypatch):
    """Random embeddings for all users and items but the first of each."""

    def table(count, device):
        rows = np.arange(count) - 2
        rows[:2] = -1
        return SemanticTable(np.random.default_rng(count).normal(size=(count - 2, WIDTH)).astype(np.float32), rows, device)

    def load(config, train, report=True):
        return Semantic(
            table(train.user_num, config["device"]), table(train.item_num, config["device"]), "tag", "", {"tag": "tag"}
        )

    for module in ("model.rlmrec", "model.semantic_input", "plugin.initial_semantic", "runs.unseen"):
        monkeypatch.setattr(f"recbole_rlmrec.{module}.load_semantic", load)


@pytest.fixture
def knowledge(workdir, tiny):
    """A knowledge graph with embeddings beside the small data set."""
    rng, stem = np.random.default_rng(0), workdir / "dataset" / "tiny" / "tiny"
    files = {
        "kg": ("head_id:token\trelation_id:token\ttail_id:token", [f"e{i}\tr{i % 3}\te{i * 7 % 40}" for i in range(40)]),
        "link": ("item_id:token\tentity_id:token", [f"i{i}\te{i}" for i in range(30)]),
        "entity": ("ent_id:token\tent_emb:float_seq", [f"e{i}\t{_numbers(rng)}" for i in range(40)]),
        "relation": ("rel_id:token\trel_emb:float_seq", [f"r{i}\t{_numbers(rng)}" for i in range(3)]),
    }
    for suffix, (head, lines) in files.items():
        stem.with_suffix(f".{suffix}").write_text("\n".join([head, *lines]) + "\n")


def _numbers(rng) -> str:
    return " ".join(f"{value:.3f}" for value in rng.normal(size=8))


class World:
    """The data of a backbone, loaded once, and models of it with other options."""

    def __init__(self, build, backbone: str, suffix: str = "_RLMRec", **options):
        if backbone == "S3Rec":
            pretraining = {**OWN["S3Rec"], "train_stage": "pretrain", "train_neg_sample_args": None}
            torch.save({"state_dict": build("S3Rec", **SIZES, **pretraining)[1].state_dict()}, "s3rec.pth")
        self.backbone = backbone
        options = {**SIZES, **OWN.get(backbone, {}), **options}
        self.config, _, self.loaders = build(backbone + suffix, alignment="none", **options)
        random.seed(1)
        self.batch = next(iter(self.loaders[0]))

    def model(self, suffix: str, **options):
        """The same weights whatever is aligned: all are made from one seed."""
        for key, value in {"align_weight": 1.0, "align_schedule": "constant", "mask_ratio": 0.4, **options}.items():
            self.config[key] = value
        torch.manual_seed(7)
        np.random.seed(7)
        return find_model(self.backbone + suffix)(self.config, self.loaders[0]._dataset).train()

    def losses(self, model) -> tuple:
        torch.manual_seed(3)
        random.seed(3)
        losses = model.calculate_loss(Interaction(dict(self.batch.interaction)))
        return losses if isinstance(losses, tuple) else (losses,)


@pytest.fixture
def world(build, knowledge):
    return lambda backbone, **options: World(build, backbone, **options)


def test_every_sequential_recommender_is_decided():
    theirs = {name for name, value in vars(recbole_models).items() if inspect.isclass(value)}
    assert theirs == set(SEQUENTIAL) | {"DIN", "DIEN"} and {"DIN", "DIEN"} <= set(NOT_ALIGNABLE)


@pytest.mark.parametrize("backbone", SEQUENTIAL)
def test_recommender(world, backbone, monkeypatch):
    """What holds for all of them, on one batch."""
    here = world(backbone)
    adapter = get_adapter(backbone)
    own, none, con = here.model(""), here.model("_RLMRec", alignment="none"), here.model("_RLMRec", alignment="con")

    assert [*own.state_dict()] == [*none.state_dict()]
    assert all(torch.equal(a, b) for a, b in zip(own.state_dict().values(), none.state_dict().values()))
    (wanted,), (found,) = here.losses(own), here.losses(none)
    assert torch.equal(wanted, found)

    calls = []
    monkeypatch.setattr(type(own), "forward", _counted(type(own).forward, calls))
    here.losses(own)
    alone = len(calls)
    seen, forward = [], con.alignment.forward
    con.alignment.forward = lambda step: (seen.append(step), forward(step))[1]
    losses = here.losses(con)
    assert torch.equal(losses[0], wanted) and losses[1].isfinite() and len(calls) == 2 * alone  # one forward pass serves both
    assert con.loss_names == ("recommendation", "alignment")
    sides = [term.side for term in seen[0].terms]
    assert sides == ["user", "item", "item"] if con.NEG_ITEM_ID in here.batch.columns else ["user", "item"]
    assert len(seen[0].terms[0].rows) == seen[0].batch_size == len(here.batch)
    losses[1].backward()
    grads = {name: p.grad for name, p in con.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {"alignment.down.0.weight", "alignment.down.2.weight"} <= set(grads)
    assert any(not name.startswith("alignment.") for name in grads)

    _check_gen(here, adapter)
    _check_documentation(backbone, adapter)
    _check_blocks(here, monkeypatch)


def _counted(original, calls):
    def forward(self, *args, **kwargs):
        calls.append(self)
        return original(self, *args, **kwargs)

    return forward


def _check_gen(here, adapter):
    if adapter.masking:
        with pytest.raises(ModelError, match=re.escape(adapter.masking)):
            here.model("_RLMRec", alignment="gen")
        return
    gen = here.model("_RLMRec", alignment="gen")
    before = {name: module for name, module in gen.named_modules() if isinstance(module, nn.Embedding)}
    seen, forward = [], gen.alignment.forward
    gen.alignment.forward = lambda step: (seen.append(step), forward(step))[1]
    recommendation, alignment = here.losses(gen)
    assert {name: module for name, module in gen.named_modules() if isinstance(module, nn.Embedding)} == before
    recommendation.backward(retain_graph=True)
    assert gen.alignment.mask_token.grad.abs().sum() > 0  # what the recommender's own loss reads is masked
    alignment.backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in gen.alignment.parameters())
    mask = seen[0].mask
    assert len(mask.user) and set(mask.user.tolist()) <= set(here.batch[gen.USER_ID].tolist())
    assert (len(mask.item) > 0) == (adapter.states is not None)


def _check_blocks(here, monkeypatch):
    """Blocks of few sequences rank as the recommender does, without the padding where that is left out, whatever it is."""
    monkeypatch.setattr(blocks, "POSITIONS", 24)
    own, ours = here.model("").eval(), here.model("_RLMRec", alignment="none", fast_loader=True).eval()
    generator = torch.Generator().manual_seed(2)
    for left, right in zip(own.parameters(), ours.parameters()):
        left.data = torch.randn(left.shape, generator=generator) * 0.3
        right.data = left.data.clone()
    lengths, cells = [2, 5, 1, 8, 3, 3, 4], []
    for place, length in enumerate(lengths):
        cells.append([*range(1 + place, 1 + place + length), *[0] * (8 - length)])
    sequences = torch.tensor(cells)
    sequences[1, 3] = sequences[1, 0]
    users, lengths = torch.arange(1, 8), torch.tensor(lengths)
    given = {"user_id": users, "item_id_list": sequences, "item_length": lengths, "item_id": users}
    with torch.no_grad():
        wanted = own.full_sort_predict(Interaction({key: value.clone() for key, value in given.items()}))
        found = ours.full_sort_predict(Interaction({key: value.clone() for key, value in given.items()}))
    torch.testing.assert_close(found, wanted.view(found.shape), rtol=1e-4, atol=1e-5)


def _check_documentation(backbone, adapter):
    rows = re.findall(r"^\| (\w+) \| (.+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    con, gen, loss, text = ([cell.strip() for cell in cells.split("|")] for name, cells in rows if name == backbone).__next__()
    reconstructs = "users" if adapter.states is None else "users, items"
    assert (con, gen, loss) == ("users, items", "no" if adapter.masking else reconstructs, "mean")
    assert text.endswith(f"gen: {adapter.masking}") if adapter.masking else "gen:" not in text


def test_session_graphs_are_recboles():
    from recbole.model.sequential_recommender import GCSAN, SRGNN

    sequences = torch.randint(1, 6, (40, 9), generator=torch.Generator().manual_seed(1))
    sequences[torch.arange(40)[:, None] % 9 < torch.arange(9)[None] - 0] = 0
    for backbone, own in (("SRGNN", SRGNN), ("GCSAN", GCSAN)):
        model = own.__new__(own)
        nn.Module.__init__(model)
        model.device, model.backbone = torch.device("cpu"), backbone
        wanted = own._get_slice(model, sequences)
        found = find_model(f"{backbone}_RLMRec")._get_slice(model, sequences)
        assert len(wanted) == len(found) and all(torch.equal(a, b) for a, b in zip(wanted, found))


@pytest.mark.parametrize("loss", ["CE", "BPR"])
@pytest.mark.parametrize("backbone", ["SASRec", "BERT4Rec"])
def test_terms_are_what_the_loss_scores(world, backbone, loss):
    here = world(backbone, loss_type=loss, **(PAIRWISE if loss == "BPR" else {}))
    model = here.model("_RLMRec", alignment="con")
    seen, forward = [], model.alignment.forward
    model.alignment.forward = lambda step: (seen.append(step), forward(step))[1]
    here.losses(model)
    user, *items = seen[0].terms
    wanted = [here.batch[name] for name in ("item_id", "neg_item_id")[: len(items)]]
    if backbone == "BERT4Rec":
        counted = here.batch[model.MASK_INDEX][:, -1] > 0
        assert not counted.all() and (user.ids[~counted] == 0).all()
        wanted = [here.batch[name][:, -1] * counted for name in (model.POS_ITEMS, model.NEG_ITEMS)[: len(items)]]
    assert len(items) == (2 if loss == "BPR" else 1)
    assert all(torch.equal(term.ids, ids) for term, ids in zip(items, wanted))
    if loss == "BPR" and backbone == "SASRec":  # the rows are the very ones of the loss
        scores = [(user.rows * term.lookup(term.ids)).sum(1) for term in items]
        assert torch.equal(BPRLoss()(*scores), here.losses(model)[0].detach()) or model.dropout.p > 0


def test_items_of_hgn_are_aligned_as_what_ranks_them(world):
    here = world("HGN", loss_type="BPR", **PAIRWISE)
    model = here.model("_RLMRec", alignment="con")
    seen, forward = [], model.alignment.forward
    model.alignment.forward = lambda step: (seen.append(step), forward(step))[1]
    here.losses(model)
    positive, negative = seen[0].terms[1:]
    assert torch.equal(negative.ids, here.batch["neg_item_id"])
    for term in (positive, negative):
        assert torch.equal(term.lookup(term.ids), model.item_embedding_for_prediction(term.ids))


TEXTS = [("BERT4Rec", way) for way in ("add", "concat", "replace")]
TEXTS += [("SASRec", "replace"), ("GRU4Rec", "add"), ("HGN", "concat"), ("FPMC", "replace")]


@pytest.mark.parametrize(("backbone", "way"), TEXTS)
def test_texts_as_input(world, backbone, way):
    here = world(backbone, suffix="_Semantic")
    model = here.model("_Semantic", alignment="con", align_sides="item", semantic_input=way)
    sum(here.losses(model)).backward()
    assert all(text.item.first.weight.grad.abs().sum() > 0 for text in model.texts) and model.texts[0].user is None
    names = [name for _, name in model.adapter.input_names(model)]
    if way == "replace":
        for name in names:
            weight = model.get_submodule(name).weight
            assert weight[: model.n_items].abs().sum() == 0
            assert weight.requires_grad == (backbone == "BERT4Rec")
        if backbone == "BERT4Rec":  # its mask is learnt, items are not
            grad = model.item_embedding.weight.grad
            assert grad[model.n_items].abs().sum() > 0 and grad[: model.n_items].abs().sum() == 0
    with torch.no_grad():
        scores = model.eval().full_sort_predict(here.batch)
        table = model._initial_tables()[-1]
        texts = model.texts[-1].semantic.item
        new = model.texts[-1].embed_items(texts.rows(texts.ids))  # as an item that training never saw is embedded
    assert scores.shape[1] == model.n_items and scores[:, 1:].isfinite().all()
    if way == "replace":
        torch.testing.assert_close(new, table[texts.ids], rtol=1e-4, atol=1e-6)


def test_initial_embeddings_start_from_the_texts_or_from_another_model(world, workdir, monkeypatch):
    from recbole_rlmrec.plugin.initial_semantic import load_semantic_initial

    here = world("BERT4Rec", train_neg_sample_args=None)
    model = here.model("_RLMRec", alignment="none", initial_from="variance", user_text="profile")
    before = model.item_embedding.weight.detach().clone()
    load_semantic_initial(model, here.loaders[0]._dataset, here.config)
    after = model.item_embedding.weight.detach()
    assert torch.equal(before[[0, 1, -1]], after[[0, 1, -1]]) and (before[2:-1] != after[2:-1]).all()

    checkpoint = {"config": {"model": "BERT4Rec_RLMRec"}, "state_dict": model.state_dict()}
    monkeypatch.setattr("recbole_rlmrec.plugin.initial.load_checkpoint", lambda path, map_location: checkpoint)
    export_initial(workdir / "model.pth", here.loaders[0]._dataset, workdir / "initial")
    other = here.model("_RLMRec", alignment="none")
    load_initial(other, here.loaders[0]._dataset, workdir / "initial")
    assert torch.equal(other.item_embedding.weight[1:-1], after[1:-1])
    assert torch.equal(other.item_embedding.weight[-1], before[-1])


def test_none_is_recboles_run(run):
    """The same metrics to the last digit, from whole runs."""
    common = {"load_col": {"inter": TIMES}, "epochs": 1, **SIZES}
    own, pairs = {"train_neg_sample_args": None, **common}, {"loss_type": "BPR", **PAIRWISE, **common}
    for backbone, options in (("SASRec", own), ("GRU4Rec", pairs)):
        results = [run(backbone, **options), run(f"{backbone}_RLMRec", alignment="none", fast_loader=False, **options)]
        assert results[0] == results[1]


LS, RS = {"LS": "valid_and_test"}, {"RS": [0.6, 0.2, 0.2]}
PROTOCOLS = {
    "LS-full": {"split": LS, "order": "TO", "mode": "full"},
    "LS-uni5": {"split": LS, "order": "TO", "mode": "uni5"},
    "RS-pop5": {"split": RS, "order": "TO", "group_by": "user", "mode": "pop5"},
}
RUNS = [
    ("SASRec_RLMRec", "con", "CE", "LS-full"),
    ("SASRec_RLMRec", "con", "CE", "LS-uni5"),
    ("GRU4Rec_RLMRec", "gen", "BPR", "LS-uni5"),
    ("GRU4Rec_RLMRec", "gen", "BPR", "RS-pop5"),
    ("BERT4Rec_Semantic", "con", "CE", "LS-full"),
]


@pytest.mark.parametrize(("name", "kind", "loss", "protocol"), RUNS)
def test_runs_in_each_protocol_and_loads_again(run, name, kind, loss, protocol):
    options = {"alignment": kind, "loss_type": loss, "eval_args": PROTOCOLS[protocol], "epochs": 1, "mask_ratio": 0.5, **SIZES}
    options["semantic_tag"] = "tag"
    result = run(name, **options)
    checkpoint = last_record().checkpoint
    config, model, _, _, _, test = load_data_and_model(checkpoint)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.data_collect(test)
    if protocol == "LS-full":
        assert dict(trainer.evaluate(test, load_best_model=False)) == dict(result["test_result"])
    if name == "BERT4Rec_Semantic" and protocol == "LS-full":  # its mask stays behind the items when a new one comes
        texts = {"item": (["new"], np.ones((1, WIDTH), dtype=np.float32))}
        more = extend(load_trained(checkpoint), Unseen(items=["new"], vectors=texts)).model
        old, new = model.item_embedding.weight, more.item_embedding.weight
        assert torch.equal(old[:-1], new[:-2]) and torch.equal(old[-1], new[-1]) and not new[-2].any()
        assert more.mask_token == len(new) - 1 == model.mask_token + 1
    assert type(model).__name__ == name and 0 <= result["test_result"]["ndcg@10"] <= 1


@pytest.mark.parametrize("protocol", ["LS-full", "LS-uni5"])
@pytest.mark.parametrize("name", ["SASRecCPR_RLMRec", "SASRecCPR_Semantic", "GRU4RecCPR_RLMRec"])
def test_softmax_cpr_runs_though_recboles_scores_no_single_items(run, name, protocol):
    options = {**SIZES, **OWN["SASRecCPR"], "alignment": "none", "semantic_tag": "tag", "post_remove_context": 1, "epochs": 1}
    assert 0 <= run(name, eval_args=PROTOCOLS[protocol], **options)["test_result"]["ndcg@10"] <= 1
    known = load_trained(last_record().checkpoint)
    rows = known.splits[2].inter_feat[torch.arange(5)]
    with torch.no_grad():
        every, own = known.model.full_sort_predict(rows), known.model.predict(rows)
    assert torch.equal(own, every[torch.arange(5), rows["item_id"]]) and len(own.unique()) > 1
    torch.testing.assert_close(known.scores(rows["user_id"]), every)  # to recommend, without a target


REFUSED = [
    ("SASRecF", {}, ConfigError, "'class' (selected_features), which is not loaded"),
    ("S3Rec", {"item_attribute": "mood"}, ConfigError, "'mood' (item_attribute), which is not loaded"),
    ("S3Rec", {**OWN["S3Rec"], "train_stage": "pretrain"}, ModelError, "aligned while it is fine-tuned"),
    ("KSR", {}, ConfigError, "load_col has no kg"),
    ("GRU4RecKG", {**KNOWLEDGE, "preload_weight": None}, ConfigError, "preload_weight has no ent_id"),
    ("SASRec", {"loss": "softmax"}, ModelError, "loss_type for that"),
    ("SASRec", {"TIME_FIELD": "when"}, DataError, "no 'when' is loaded from tiny.inter"),
    ("DIN", {}, ModelError, "anew for every candidate item"),
]


@pytest.mark.parametrize(("backbone", "options", "kind", "text"), REFUSED)
def test_what_is_missing_is_said(build, backbone, options, kind, text):
    with pytest.raises(kind, match=re.escape(text)) as error:
        build(f"{backbone}_RLMRec", **SIZES, **options)
    assert "\n" not in str(error.value)


def test_text_alone_needs_texts(build):
    with pytest.raises(ModelError, match="read by two names"):
        build("GRU4RecCPR_Semantic", **SIZES, **OWN["GRU4RecCPR"])


@pytest.mark.parametrize("value", ["profile", "both"])
def test_a_sequence_has_no_text_of_a_user(build, value):
    with pytest.raises(ConfigError, match="user_text is of recommenders with an embedding of users"):
        build("GRU4Rec_Semantic", **SIZES, user_text=value)


def test_the_mask_of_sequences_is_no_item_whose_id_is_hidden(build):
    _, model, _ = build("BERT4Rec_Semantic", id_dropout=0.999999, hidden_size=8, train_neg_sample_args=None)
    shown, own = model._initial_tables()[0], model.item_embedding.weight
    assert len(own) == model.n_items + 1
    assert torch.equal(shown[-1], own[-1]) and not torch.equal(shown[1], own[1])


PADDED = [("_RLMRec", {"alignment": "gen"}), ("_Semantic", {"alignment": "gen", "semantic_input": "add"})]
PADDED += [("_Semantic", {"semantic_input": way}) for way in ("add", "concat")]


@pytest.mark.parametrize("backbone", ["HGN", "FOSSIL", "LightSANs"])
@pytest.mark.parametrize(("suffix", "options"), PADDED)
def test_the_padding_of_sequences_is_not_trained(world, backbone, suffix, options):
    here = world(backbone, suffix=suffix, loss_type="BPR", **PAIRWISE)
    assert (here.batch["item_length"] < SIZES["MAX_ITEM_LIST_LENGTH"]).any()
    model = here.model(suffix, **{"alignment": "none", **options})
    sum(here.losses(model)).backward()
    grad = model.item_embedding.weight.grad
    assert grad[0].abs().sum() == 0 < grad[1:].abs().sum()


@pytest.mark.parametrize(
    ("backbone", "sides", "refused"),
    [("STAMP", "item", True), ("Caser", "item", True), ("SASRec", "user", True), ("BERT4Rec", "user", True)]
    + [("Caser", "user", False), ("SASRec", "item", False), ("BERT4Rec", "item", False)],
)
def test_gen_of_one_side_is_refused_where_it_is_nothing(world, backbone, sides, refused):
    here = world(backbone)
    if refused:
        with pytest.raises(ModelError, match=f"where {sides}s alone are masked: {backbone} then represents no {sides}"):
            here.model("_RLMRec", alignment="gen", align_sides=sides)
    else:
        assert here.losses(here.model("_RLMRec", alignment="gen", align_sides=sides))[-1] > 0


def test_gen_is_refused_where_nobody_that_it_could_represent_has_a_profile(world, monkeypatch):
    here, load = world("CORE"), rlmrec.load_semantic

    def of_items(*args):
        semantic = load(*args)
        nobody = SemanticTable(np.zeros((0, WIDTH), dtype=np.float32), np.full(semantic.user.n, -1), here.config["device"])
        return dataclasses.replace(semantic, user=nobody)

    monkeypatch.setattr(rlmrec, "load_semantic", of_items)
    with pytest.raises(ModelError, match="where items alone are masked: CORE then represents no item"):
        here.model("_RLMRec", alignment="gen")


def test_rows_that_bert4rec_does_not_count_represent_nobody(world):
    here = world("BERT4Rec", ft_ratio=0.0)
    model = here.model("_RLMRec", alignment="gen", mask_ratio=0.9, hidden_dropout_prob=0.0, attn_dropout_prob=0.0)
    seen, forward = [], model.alignment.forward
    model.alignment.forward = lambda step: (seen.append(step), forward(step))[1]
    calls, plain = [], model.forward
    model.forward = lambda *args: calls.append(plain(*args)) or calls[-1]
    here.losses(model)
    (step,), (states,) = seen, calls
    index, read, users = (here.batch[name] for name in (model.MASK_INDEX, model.MASK_ITEM_SEQ, model.USER_ID))
    counted, last = index[:, -1] > 0, index[:, -1]
    assert (~counted & torch.isin(read, step.mask.item).any(1)).any()
    assert set(step.mask.user.tolist()) <= set(users[counted].tolist())
    encoded = counted & torch.isin(read, step.mask.item).any(1)
    for user in step.mask.user:
        rows = (encoded & (users == user)).nonzero().squeeze(1)
        torch.testing.assert_close(step.user(user[None])[0], states[rows, last[rows]].mean(0))
    for item in step.mask.item:
        places = (read == item) & counted[:, None]
        torch.testing.assert_close(step.item(item[None])[0], states[places].mean(0))


@pytest.mark.parametrize("backbone", [name for name in SEQUENTIAL if get_adapter(name).text_input])
def test_the_score_of_an_item_comes_from_its_text_unless_the_adapter_says_otherwise(world, backbone):
    model = world(backbone, suffix="_Semantic").model("_Semantic", alignment="none", semantic_input="replace").eval()
    item, tables = 29, model._initial_tables()
    users, read = torch.arange(1, 4), torch.tensor([[3, 4, 5, 0, 0, 0, 0, 0]] * 3)
    given = {"user_id": users, "item_id_list": read, "item_length": torch.full((3,), 3), "item_id": users}
    scores = []
    for _ in range(2):
        model._initial_tables = lambda shown=tables: shown
        with torch.no_grad():
            scores.append(model.full_sort_predict(Interaction(dict(given))).view(3, -1)[:, item])
        tables = [table.index_add(0, torch.tensor([item]), torch.randn_like(table[:1])) for table in tables]
    assert (not torch.equal(*scores)) == get_adapter(backbone).scores_texts
