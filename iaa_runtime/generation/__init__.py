"""From prompts to tokens over a stack: prefill, decode steps, the token loop, beam search, sampling, the grammar of
boxes, and what all that takes of memory.

Knows no text, no image files, no checkpoint.
"""
