"""Long recordings in parts: cut where a segment begins, measured side by side, joined to the rows of the whole."""
