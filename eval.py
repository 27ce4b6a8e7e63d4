"""Judges a trained image classifier: ``python eval.py --workdir=runs/digits_rlfat_p``."""

from rlfat_console import evaluate

if __name__ == "__main__":
    evaluate()
