"""``python -m recbole_rlmrec`` runs a model, as ``run_recbole_rlmrec.py`` does."""

from recbole_rlmrec.cli import run_model

if __name__ == "__main__":
    raise SystemExit(run_model())
