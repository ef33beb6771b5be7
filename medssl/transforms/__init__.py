"""Random transforms on the batch, on the device.

Parameters are drawn apart from being applied (:mod:`medssl.transforms.base`), so every view can be
replayed, and labels follow their images.
"""
