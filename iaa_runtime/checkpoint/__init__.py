"""What lies on disk: weight files of either format, the published tensor names, finding, checking, writing and
downloading them.

Knows no module of the network.
"""
