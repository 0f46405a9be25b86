"""Tools for boxes that anyone's detector found: select, mask, crop and paste back, convert, merge.

Boxes come and go as ComfyUI's ``BOUNDING_BOX``: a dict of ``x, y, width, height`` in pixels, with ``label``, ``score``
and whatever else its maker put in, in one list per image. Everything here is a pure function of such lists, arrays and
tensors. Symbols: B images, N boxes of one image, H and W an image's height and width, C its channels; sizes are
(width, height); rectangles are (left, top, right, bottom) in pixels, right and bottom exclusive.
"""
