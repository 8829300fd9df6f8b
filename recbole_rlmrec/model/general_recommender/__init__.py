"""General recommenders of this package, one file per model; ``NAME_RLMRec`` of others is made when asked for."""


def __getattr__(name: str):
    from recbole_rlmrec.registry import SUFFIX, aligned_model, backbone_name

    if not name.endswith(SUFFIX):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return aligned_model(backbone_name(name))
    except ValueError as error:
        raise AttributeError(str(error)) from None
