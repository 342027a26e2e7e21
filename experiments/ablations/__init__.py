"""The papers' ablation tables, each run by one command and compared with the paper; `python -m experiments.ablations` lists
them."""
