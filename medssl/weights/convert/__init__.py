"""One pure function a family of foreign checkpoints."""
