"""Trains a robust image classifier: ``python train.py --dataset=cifar10 --method=rlfat_p``."""

from rlfat_console import train

if __name__ == "__main__":
    train()
