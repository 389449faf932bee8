"""Reserved for dispatch through SLURM; empty today. See docs/slurm.md for what works without it."""
