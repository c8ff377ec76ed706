"""The anomaly detector, the regime model and their compiled kernels."""
