"""The kinds of linear layer, one file each: plain, packed for oneDNN, quantized.

A block asks for a matrix, a bank for a head; which kind they get is decided here.
"""
