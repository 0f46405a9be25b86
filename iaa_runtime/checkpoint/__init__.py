"""What lies on disk: weight files of either format, the names of their tensors, finding and checking checkpoints,
writing and downloading them.

Not: modules of the network (model/), nor what a task's exported checkpoint looks like (export/).
"""
