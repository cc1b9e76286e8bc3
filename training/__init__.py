"""A training run as a program: `python -m training SPEC OUT` fine-tunes one model into one folder.

Only this package imports torch, trl and transformers. `training.contract` is the part that others may import:
what a run is told, and what it leaves behind.
"""
