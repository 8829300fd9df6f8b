"""``python -m recbole_rlmrec`` runs a model, as ``run_recbole_rlmrec.py`` does, or a command of ``recbole-rlmrec``."""

import sys

from recbole_rlmrec.cli import COMMANDS, main, run_model

if __name__ == "__main__":
    raise SystemExit(main() if {*COMMANDS, "run"} & {*sys.argv[1:2]} else run_model())
