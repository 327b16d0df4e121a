"""Where measurements go: tables, pictures, films."""
