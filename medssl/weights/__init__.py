"""Manifests, export and strict loading."""
