"""The three workflows as one calls them: IAAModel (ids and tensors), IAAPipeline (words and pictures), the same over
servers (remote), conversations.

Not: long jobs over many pictures (jobs, annotate).
"""
