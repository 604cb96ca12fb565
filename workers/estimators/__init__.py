"""Estimators for scikit-learn, above the pools: the rows are arrays in memory, and there is no job directory. See `dbp.sklearn`."""
