"""From a raw folder to a table one can trust."""
