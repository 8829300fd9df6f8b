"""Train and evaluate a model: python run_recbole_rlmrec.py --model=LightGCN_RLMRec --dataset=ml-100k"""

from recbole_rlmrec.cli import run_model

if __name__ == "__main__":
    raise SystemExit(run_model())
