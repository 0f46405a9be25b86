"""Pictures in and out: opened, turned into what the vision tower takes, resized, drawn upon.

Boxes are only drawn here; what they mean is in boxes.
"""
