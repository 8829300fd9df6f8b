"""Sequential recommenders that differ from RecBole's in more than an alignment."""
