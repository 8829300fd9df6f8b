"""What importing the package does to RecBole: repairs, seams, defaults, training, evaluation, checkpoints."""

import recbole  # noqa: F401  (so that it is repaired and extended before any module of this folder is read)
