"""Leakage: which scans of a corpus, or of training, are test cases under other names."""
