"""What ``train.py`` and ``eval.py`` do, from the command line to the folder of a run."""
