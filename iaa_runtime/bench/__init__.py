"""How fast the runtime is here: checkpoints of stated geometry, the machine's roofline, ours and stock transformers
timed in turn.

Not: single measurements of a change (benchmarks/, at the top of the repository).
"""
