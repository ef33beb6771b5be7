"""From the table to normalised volumes on disk, read crop by crop."""
