"""One self-contained HTML page per stage, with pictures."""
