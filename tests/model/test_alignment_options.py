"""Alignments bring their own options; schedules and sides hold for every alignment."""

import json

import numpy as np
import pytest
import torch
from recbole.config import Config
from stand_ins import Options, semantic

import recbole_rlmrec
from recbole_rlmrec.errors import ConfigError, ModelError
from recbole_rlmrec.model.alignment import ALIGNMENTS, Step, Term, alignment_options, read_settings
from recbole_rlmrec.model.alignment.base import projection
from recbole_rlmrec.model.options import Option, declared
from recbole_rlmrec.plugin import defaults
from recbole_rlmrec.plugin.record import describe_run


class Power(recbole_rlmrec.Alignment):
    """A distance to a power of one's own."""

    options = (
        Option("align_weight", 0.5, "weight of the alignment loss", least=0.0),
        Option("power", 2.0, "exponent of the distance", above=0, below=10),
        Option("power_of", "euclid", "which distance", kind=str, words=("euclid", "city")),
    )

    def __init__(self, semantic, settings, dim, initial_dim):
        super().__init__(semantic, settings, dim, initial_dim)
        self.down = projection(semantic.dim, dim)

    def loss(self, step):
        total = self.zero()
        for term in step.terms:
            table = getattr(self.semantic, term.side)
            ids = term.ids[table.covered[term.ids]]
            apart = (term.lookup(ids) - self.down(table.rows(ids))).abs()
            total = total + apart.pow(self.settings["power"]).sum()
        return total / step.batch_size


@pytest.fixture
def told(run):
    """What a run tells of itself."""

    def go(model, **options):
        run(model, **options)
        return describe_run()

    return go


@pytest.fixture
def power(monkeypatch):
    monkeypatch.delitem(ALIGNMENTS, "power", raising=False)
    recbole_rlmrec.register_alignment("power", Power)
    yield
    del ALIGNMENTS["power"]


@pytest.mark.usefixtures("power")
def test_an_alignment_of_ones_own_has_options_of_its_own(told, caplog):
    defaults._warned.clear()
    results = {
        power: told("LightGCN_RLMRec", alignment="power", **({"power": power} if power else {})) for power in (None, 3.0)
    }
    assert not [record for record in caplog.records if "knows the option" in record.message]
    losses = [result["run"]["series"]["losses"]["alignment"] for result in results.values()]
    assert losses[0] != losses[1]
    shown = json.loads(json.dumps(results[None]["settings"], default=str))
    assert shown["power"] == 2.0 and shown["power_of"] == "euclid" and shown["align_weight"] == 0.5
    assert results[3.0]["settings"]["power"] == 3.0


@pytest.mark.usefixtures("power")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"power": 10}, r"power is 10; set it to a number above 0 and below 10\."),
        ({"power": "high"}, r"power is 'high'; set it to a number above 0 and below 10\."),
        ({"power_of": "mile"}, r"power_of is 'mile'; set it to one of euclid, city\."),
    ],
)
def test_its_options_are_checked(build, options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build("LightGCN_RLMRec", alignment="power", **options)


@pytest.mark.usefixtures("power")
def test_misspelt_options_know_it(caplog):
    defaults._warned.clear()
    Config("LightGCN_RLMRec", "ml-100k", config_dict={"gpu_id": "", "alignment": "none", "powr_of": "city", "power": 3})
    warnings = [record.message for record in caplog.records if "knows the option" in record.message]
    assert len(warnings) == 1 and "Did you mean power_of?" in warnings[0]


@pytest.mark.parametrize("alignment", [*ALIGNMENTS, "none"])
def test_defaults_stand_in_the_config(alignment):
    config = Config("LightGCN_RLMRec", "ml-100k", config_dict={"gpu_id": "", "alignment": alignment})
    for name, option in alignment_options(alignment).items():
        assert config[name] == option.default
        assert alignment == "none" or name in str(config)
    others = set(alignment_options()) - set(alignment_options(alignment))
    assert others and not others & set(config.final_config_dict)


def test_a_class_stands_over_its_bases():
    assert declared(Power)["align_weight"].default == 0.5 and declared(recbole_rlmrec.Alignment)["align_weight"].default == 0.01
    assert set(declared(Power)) == {*declared(recbole_rlmrec.Alignment), "power", "power_of"}


@pytest.mark.parametrize(
    ("option", "good", "bad", "allowed"),
    [
        (
            Option("x", 1, "", least=0.0),
            [0, 0.5, 7],
            [-1, "a", True, float("nan"), float("inf"), [1]],
            "a number of at least 0",
        ),
        (Option("x", 1, "", above=0), [1e-9], [0], "a number above 0"),
        (Option("x", 1, "", kind=int, least=1), [1, 3.0], [0, 1.5, "1"], "a whole number of at least 1"),
        (Option("x", "all", "", kind=int, words=("all",), least=1), ["all", "ALL", 4], ["some", 0], "`all` or a whole number"),
        (Option("x", "a", "", kind=str, words=("a", "B")), ["A", "b"], ["c", 1, True], "one of a, B"),
        (Option("x", True, "", kind=bool), [True, False], ["True", 1], "True or False"),
    ],
)
def test_what_an_option_takes(option, good, bad, allowed):
    for empty in (None, ""):
        assert option.read({"x": empty}) == option.default
    for value in good:
        assert (
            str(option.read({"x": value})).lower() == str(value).removesuffix(".0").lower()
            or option.read({"x": value}) == value
        )
    for value in bad:
        with pytest.raises(ConfigError, match="x is ") as error:
            option.read({"x": value})
        assert f"set it to {allowed}" in str(error.value)


# --- schedules and sides -------------------------------------------------------------------------------------------


def test_schedules():
    def shares(name, length):
        settings = read_settings(Options(alignment="con", align_schedule=name, align_schedule_epochs=length))
        alignment = ALIGNMENTS["con"].__new__(ALIGNMENTS["con"])
        torch.nn.Module.__init__(alignment)
        alignment.settings = settings
        return [(alignment.begin_epoch(epoch), alignment.share)[1] for epoch in range(5)]

    assert shares("constant", 3) == [1, 1, 1, 1, 1]
    assert shares("warmup", 4) == [0.25, 0.5, 0.75, 1, 1]
    assert shares("warmup", 1) == [1, 1, 1, 1, 1]
    assert shares("decay", 4) == [1, 0.75, 0.5, 0.25, 0]


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_a_run_follows_its_schedule(told, alignment):
    """In the first epoch decay is constant; after its length the recommender is alone and nothing is masked or drawn."""
    options = {"alignment": alignment, "epochs": 4}
    constant = told("LightGCN_RLMRec", align_schedule="constant", **options)["run"]["series"]["losses"]
    decay = told("LightGCN_RLMRec", align_schedule="decay", align_schedule_epochs=2, **options)["run"]["series"]["losses"]
    assert decay["bpr"][0] == constant["bpr"][0] and decay["alignment"][0] == constant["alignment"][0]
    assert decay["alignment"][2:] == [0, 0] and all(constant["alignment"])
    warmup = told("LightGCN_RLMRec", align_schedule="warmup", align_schedule_epochs=4, **options)["run"]["series"]["losses"]
    assert abs(warmup["alignment"][0]) < 0.5 * abs(constant["alignment"][0])


def test_the_recommender_alone_after_decay(build):
    """A step with a share of 0 gives the losses of alignment none, and draws nothing."""
    losses = []
    for alignment in ("none", "gen", "darec"):
        _, model, (train, _, _) = build("LightGCN_RLMRec", alignment=alignment, align_schedule="decay", align_schedule_epochs=1)
        model.begin_epoch(1)
        batch = next(iter(train))
        before = torch.get_rng_state()
        losses.append(model.calculate_loss(batch))
        assert torch.equal(torch.get_rng_state(), before)
    assert all(found[2].item() == 0 and found[2].requires_grad for found in losses[1:])
    assert all(torch.equal(found[0], losses[0][0]) for found in losses[1:])


SIDES = pytest.mark.parametrize(
    ("sides", "aligned"), [("both", (True, True)), ("user", (True, False)), ("item", (False, True))]
)


@SIDES
@pytest.mark.parametrize("alignment", ["con", "darec", "distance"])
def test_sides(build, alignment, sides, aligned):
    """Representations are embeddings here: those of the sides that are aligned alone get a gradient."""
    _, model, (train, _, _) = build("BPR_RLMRec", alignment=alignment, align_sides=sides)
    loss = model.calculate_loss(next(iter(train)))[-1]
    weights = [model.user_embedding.weight, model.item_embedding.weight]
    gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    assert tuple(bool(gradient.abs().sum() > 0) for gradient in gradients) == aligned


@SIDES
def test_sides_that_are_masked(build, sides, aligned):
    _, model, (train, _, _) = build("LightGCN_RLMRec", alignment="gen", align_sides=sides, mask_ratio=0.5)
    mask = model.alignment.begin()
    assert (len(mask.user) > 0, len(mask.item) > 0) == aligned
    assert model.calculate_loss(next(iter(train)))[-1].isfinite()


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_beside_the_softmax_loss(build, alignment):
    _, model, (train, _, _) = build("LightGCN_RLMRec", alignment=alignment, loss="softmax")
    losses = model.calculate_loss(next(iter(train)))
    assert model.loss_names == ("softmax", "reg", "alignment") and all(loss.isfinite() for loss in losses)
    sum(losses).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.alignment.parameters())


@pytest.mark.parametrize("alignment", ["con", "darec", "distance"])
def test_a_side_that_the_recommender_lacks(build, alignment):
    _, model, (train, _, _) = build("MultiDAE_RLMRec", alignment=alignment, align_sides="item")
    with pytest.raises(ModelError, match="hold users alone; set align_sides to both"):
        model.calculate_loss(next(iter(train)))


def test_a_side_without_profiles():
    with pytest.raises(ConfigError, match="no user has a profile"):
        settings = read_settings(Options(alignment="con", align_sides="user"))
        ALIGNMENTS["con"](semantic(np.ones((8, 3)), np.ones((11, 3)), missing_users=range(1, 9)), settings, 4, 0)


@pytest.mark.parametrize("alignment", ["darec", "distance"])
def test_nobody_of_the_batch_has_a_profile(alignment):
    loss = ALIGNMENTS[alignment](
        semantic(np.ones((8, 3)), np.ones((11, 3)), (1, 2), (4, 5)), read_settings(Options(alignment=alignment)), 4, 0
    )
    table = torch.randn(12, 4, requires_grad=True)
    terms = [Term(side, torch.tensor([0, *ids]), lambda i: table[i]) for side, ids in (("user", [1, 2]), ("item", [4, 5]))]
    value = loss(Step(terms, None, None, 3))
    assert value.item() == 0.0
    value.backward()
