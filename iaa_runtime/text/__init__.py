"""Text to tokens and back: the tokenizer, prompts, conversations, streamed answers.

The boxes in an answer are parsed in boxes; what runs the model is in generation.
"""
