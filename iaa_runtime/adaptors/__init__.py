"""Adaptors on top of a task's adaptor blocks: their files, how layers are adapted by them, and merging them in.

An adaptor holds low-rank updates (LoRA; Hu et al., arXiv 2106.09685, 2021) of the seven matrices of one task's adaptor
blocks. The base, embeddings, norms, heads, projectors and the tower are never touched.
"""
