"""Sphinx: pages in Markdown, the reference out of the docstrings."""

import re

import recbole_rlmrec

project = "recbole-rlmrec"
author = "The recbole-rlmrec authors"
release = version = recbole_rlmrec.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"recbole-rlmrec {release}"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)*((?:benchmarks|dataset|properties|recbole_rlmrec|CHANGELOG)[^)#]*)(?:#[^)]*)?\)")


def name_outside(text: str) -> str:
    """Links to files of the repository that are no pages of this site, as the names of these files."""
    return OUTSIDE.sub(lambda link: link[1] if link[1].strip("`") == link[2] else f"{link[1]} (`{link[2]}`)", text)


def setup(app):
    """Pages are read with the links out of docs/ turned into names."""

    def page(app, name, source):
        source[0] = name_outside(source[0])

    def included(app, path, name, source):
        source[0] = name_outside(source[0])

    app.connect("source-read", page)
    app.connect("include-read", included)
