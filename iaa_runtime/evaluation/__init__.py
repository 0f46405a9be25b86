"""Published benchmarks, run and scored: RefCOCO by IoU, MME by yes and no.

Scores equal those of the published scorers; answers are read as data, never run.
"""
