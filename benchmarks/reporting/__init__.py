"""Reports of results: files, tables, figures, comparisons; measures nothing."""
