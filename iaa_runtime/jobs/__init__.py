"""Long jobs over many items: cut into shards, spread over processes, and resumed where they were killed.

A job's folder holds the list of its items as it was at the first start, one for each addition since, a manifest of the
settings, a file for each finished shard, and one for what is kept of each that is begun. A shard's number decides which
process computes it, and its content does not depend on which one did, so the result is the same for any number of
processes and interruptions. Not: what a job computes (annotate, evaluation).
"""
