"""Variants of a backbone: what is run under each name, and whether it uses profiles."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from recbole_rlmrec.errors import ConfigError


@dataclass(frozen=True)
class Variant:
    """One way to train a backbone.

    Attributes
    ----------
    name : str
        As tables and ``--variants`` name it.
    model : str
        What is run, with ``{}`` for the backbone.
    summary : str
    options : dict
        RecBole's options that make the variant.
    text : bool
        Whether it uses profiles.
    """

    name: str
    model: str
    summary: str
    options: dict = field(default_factory=dict)
    text: bool = True

    def runs(self, backbone: str) -> str:
        """Name of the model that is run."""
        return self.model.format(backbone)

    def options_for(self, backbone: str, given: Collection[str] = ()) -> dict:
        """Options that make the variant of a backbone; one whose loss is no BPR loss keeps its own.

        A loss that the user gave counts for every variant but the one that is called after its loss.
        """
        from recbole_rlmrec.model.adapters import get_adapter  # loads torch, which a command's --help does without

        keeps = "{}" in self.model and (get_adapter(backbone).softmax or ("loss" in given and self.name != "softmax"))
        return {key: value for key, value in self.options.items() if not (keeps and key == "loss")}


_ALIGNED = "{}_RLMRec"
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("base", _ALIGNED, "the backbone with its own loss", {"alignment": "none"}, text=False),
        Variant("softmax", _ALIGNED, "the softmax loss", {"alignment": "none", "loss": "softmax"}, text=False),
        Variant("con", _ALIGNED, "contrastive alignment", {"alignment": "con"}),
        Variant("gen", _ALIGNED, "generative alignment", {"alignment": "gen"}),
        Variant("darec", _ALIGNED, "disentangled alignment", {"alignment": "darec"}),
        Variant("distance", _ALIGNED, "alignment by distance", {"alignment": "distance"}),
        Variant("kar", "{}_KAR", "semantic vectors as further input"),
        Variant(
            "init",
            _ALIGNED,
            "embeddings that start from the profiles",
            {"alignment": "none", "loss": "softmax", "initial_embeddings": "semantic"},
        ),
        Variant(
            "semantic",
            "{}_Semantic",
            "id embeddings plus projected text as input",
            {"alignment": "none", "loss": "softmax"},
        ),
        Variant(
            "text",
            "{}_Semantic",
            "projected text in place of id embeddings",
            {"alignment": "none", "loss": "softmax", "semantic_input": "replace"},
        ),
        Variant("alpharec", "AlphaRec", "projected text alone; no parameter belongs to a user or an item"),
    )
}
PAPER = ("base", "con", "gen")
"""Variants of the RLMRec paper."""
COLD = ("base", "softmax", "con", "semantic", "text", "alpharec")
"""Variants that an experiment with users and items that training never saw takes; the first two rank known items alone."""


def read_variants(text: str, allowed: Sequence[str] = tuple(VARIANTS)) -> list[str]:
    """Names of variants, in the order of tables.

    Parameters
    ----------
    text : str
        Separated by commas; ``all`` for every one that an experiment takes.
    allowed : sequence of str
        What an experiment takes.

    Raises
    ------
    ConfigError
        One is unknown.
    """
    wanted = list(allowed) if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in allowed]
    if unknown or not wanted:
        raise ConfigError(f"--variants takes {', '.join(allowed)} here, not {text!r}.")
    return [name for name in allowed if name in wanted]
