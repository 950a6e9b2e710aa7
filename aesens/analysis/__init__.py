"""Pure functions and scikit-learn estimators on arrays: nothing here reads, writes or draws."""
