"""The parts of an IAA model: Llama blocks, stacks of them, KV cache, CLIP tower, projectors, banks of weights."""
