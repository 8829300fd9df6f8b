"""README and docs say what the code does."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recbole_rlmrec

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def blocks(page: str) -> dict[str, str]:
    """Python examples of a page by the heading they stand under."""
    sections = re.split(r"^## (.*)$", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    pairs = zip(sections[::2], sections[1::2], strict=True)
    return {title: BLOCK.findall(text)[0] for title, text in pairs if BLOCK.findall(text)}


def test_readme_is_a_first_page():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 100


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    lost = [target for target, _ in LINK.findall(text) if not ((ROOT / page).parent / target).exists()]
    assert not lost


def test_the_layers_of_the_page_are_those_of_the_contract():
    if sys.version_info < (3, 11):
        pytest.skip("tomllib")
    import tomllib

    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*`) \|", page.partition("| layer |")[2].partition("\n\n")[0], flags=re.MULTILINE)
    assert [" | ".join(re.findall(r"`(\w+)`", row)) for row in rows] == contract["layers"]
    package = Path(recbole_rlmrec.__file__).parent
    there = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert there - {"__init__"} == {name for layer in contract["layers"] for name in layer.split(" | ")}


def test_the_tables_of_options_are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("make_options", ROOT / "docs" / "make_options.py")
    make_options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_options)
    written = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert make_options.page(written) == written, "run python docs/make_options.py"
    for name in ("alignment", "align_weight", "darec_clusters", "semantic_tag", "fast_loader", "kar_size", "edge_keep_rate"):
        assert f"| `{name}` |" in written


TRAIN = """
from recbole.quick_start import run_recbole
from recbole_rlmrec.encoding.encode import encode_tag
from pathlib import Path

options = {options!r}
options["semantic_path"] = "dataset"
result = run_recbole(model="MyModel_RLMRec", dataset="tiny", config_dict={{**options, "alignment": "pull", "pull_power": 1.5}})
assert result["test_result"]["recall@10"] > 0
GRU = {{"loss_type": "CE", "hidden_size": 8, "num_layers": 1, "dropout_prob": 0.1, "epochs": 1}}
result = run_recbole(model="MySequences_RLMRec", dataset="tiny", config_dict={{**options, **GRU, "alignment": "gen"}})
assert 0 <= result["test_result"]["recall@10"] <= 1
tag = next(Path(options["semantic_path"]).glob("tiny/semantic/template-lsa-*"))
assert encode_tag(tag, "lengths", show_progress=False).name == "lengths"
assert "rather short" in Echo().ask([{{"role": "user", "content": "rather short"}}]).text
assert callable(run)
"""


def test_the_examples_of_extending_run(tiny, tmp_path):
    examples = blocks("extending.md")
    assert list(examples) == [
        "A recommender",
        "A sequential recommender",
        "An alignment",
        "A text encoder",
        "A chat model",
        "An experiment",
    ]
    code = "\n".join([*examples.values(), TRAIN.format(options=dict(tiny))])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
