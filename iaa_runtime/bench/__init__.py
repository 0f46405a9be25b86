"""Measures how fast the runtime is here: against the machine's roofline, and against stock transformers and vLLM.

Not: scripts that measure a single change (benchmarks/, at the top of the repository).
"""
