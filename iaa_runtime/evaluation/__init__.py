"""Published benchmarks, run and scored: RefCOCO by IoU, MME by yes and no; scores equal the published scorers'.

Not: the demo model's scenes (shapes), nor how a long run is cut and resumed (jobs).
"""
