"""General recommenders of this package, one file per model; `model.lookup` makes ``NAME_RLMRec`` of others."""
