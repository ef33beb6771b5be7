"""Pieces that several methods share: heads, teacher, masking."""
