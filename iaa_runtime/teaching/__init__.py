"""Teaches a checkpoint a new thing from some dozen pictures: low-rank updates of one task's adaptor blocks.

The order of the modules: examples are read (``examples``, ``formats``), seen in several ways (``views``), looked at
once by the frozen tower and written as tokens (``lessons``), as is what the model says of other things (``replay``).
Batches share prefixes (``branching``, ``batches``), and what they cost (``losses``) is learned (``loop``, ``teach``);
``scores`` and ``pages`` tell what came of it. ``training/`` shares ``branching``, ``losses``, ``looking`` and ``loop``.
"""
