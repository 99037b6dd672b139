"""From result rows to what people read: rows, rank correlations, figures, table and report."""
