"""Long jobs over many items: cut into shards, spread over processes, and taken up again where they were killed.

A job's folder holds the list of its items as it was at the first start, a manifest of the settings, and a file a shard.
A shard is either there and whole, or not there. Which process computes it follows from its number, and what is in it
does not depend on who computes it, so the result is the same for any number of processes and interruptions.
"""
