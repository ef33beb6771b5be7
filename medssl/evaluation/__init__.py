"""Figures: metrics, probes, rank of features."""
