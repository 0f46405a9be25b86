"""The network: decoder blocks, the kinds of linear layer, stacks, KV caches, the vision tower, banks of weights and
what of them is loaded.

Not: how tokens are chosen (generation), nor what one calls (pipeline).
"""
