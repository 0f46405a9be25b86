"""Measures how fast the runtime is here: against the machine's roofline, stock transformers, vLLM and llama.cpp.

Not: scripts that measure a single change (benchmarks/, at the top of the repository).
"""
