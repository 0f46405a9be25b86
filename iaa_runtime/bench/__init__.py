"""Benchmarks: checkpoints of stated geometry, the machine's floors, ours and the usual alternative timed in turn."""
