"""Sub-commands of ``recbole-rlmrec``, one file each.

A command module has ``add_arguments(parser)`` and ``run(args, options) -> int``, where ``options`` are the arguments
that the parser does not know: RecBole's own ``--key=value``.
"""
