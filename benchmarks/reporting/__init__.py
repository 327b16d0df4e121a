"""How results are told: files, tables, figures, comparisons; measures nothing."""
