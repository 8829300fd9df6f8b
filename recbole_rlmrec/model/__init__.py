"""Alignments, adapters and models; how models are found by name."""

import recbole  # noqa: F401  (so that it is repaired and extended before any module of this folder is read)
