"""What models have in common: named parameters, rows of them, the first state, storage."""
