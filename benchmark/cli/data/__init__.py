"""``bench data``: one file for each of its commands."""
