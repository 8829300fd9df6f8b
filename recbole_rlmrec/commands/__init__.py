"""Sub-commands of ``recbole-rlmrec``, one file each.

A command module has ``run(args, options) -> int``, where ``options`` are RecBole's own as ``--key=value``, the one form that
RecBole reads. What a command takes is declared in ``options.py`` and ``experiment_options.py``, which import nothing heavy.
"""
