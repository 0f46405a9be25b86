"""What each command takes: one module a command, and what several share. None imports torch, so that help is quick.

Not: what a command does (the module of its name one folder up).
"""
