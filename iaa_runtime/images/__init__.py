"""Pictures: files and arrays in, the vision tower's input out; resizing; drawing.

What boxes mean is in boxes; here they are only drawn.
"""
