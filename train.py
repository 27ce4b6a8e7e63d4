"""Trains a robust image classifier: ``python train.py --dataset=cifar10 --method=rlfat_p``."""

from rlfat_tf.run.cli import train_main

if __name__ == "__main__":
    train_main()
