"""``python -m recbole_rlmrec`` runs a model, as ``run_recbole_rlmrec.py`` does, or a command of ``recbole-rlmrec``."""

import sys

from recbole_rlmrec.cli import HELP, main, run_model

if __name__ == "__main__":
    first = sys.argv[1:2]
    options_of_run = not first or (first[0].startswith("-") and first[0] not in (*HELP, "--version"))
    raise SystemExit(run_model() if options_of_run else main())
