"""Judges a trained image classifier: ``python eval.py --workdir=runs/digits_rlfat_p``."""

from rlfat_tf.run.cli import eval_main

if __name__ == "__main__":
    eval_main()
