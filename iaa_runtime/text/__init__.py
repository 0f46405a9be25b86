"""Words: the tokenizer, prompts and conversations in the Llama 3 layout, text out of a stream of tokens.

No weights.
"""
