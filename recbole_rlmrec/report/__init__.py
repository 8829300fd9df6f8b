"""The report of experiments: one HTML file that opens without network."""
