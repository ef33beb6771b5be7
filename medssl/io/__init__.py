"""Files to and from :class:`medssl.types.Volume`; knows no torch."""
