"""The papers' tables, each run by one command and set beside the paper's column; `python -m experiments.ablations` lists."""
