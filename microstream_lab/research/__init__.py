"""Walk-forward refits, backtests, evaluation, pictures and notebook runs."""
