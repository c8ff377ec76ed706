"""The exchange edge: the only place that knows Binance's names, units and addresses."""
