"""Boxes: their geometry, the model's answers turned into them, and tools for boxes that any detector found.

Drawing them on pictures is in images, asking the model for them in pipeline. Boxes come and go as ComfyUI's
``BOUNDING_BOX``: a dict of ``x, y, width, height`` in pixels, with ``label``, ``score`` and whatever else its maker put
in, in one list per image. Everything here is a pure function of such lists, arrays and tensors. Symbols: B images, N
boxes of one image, H and W an image's height and width, C its channels.
"""
