"""Records on their way between people: checked, bundled, merged, compared (docs/submit.md)."""
