"""Studies of what methods of adversarial training reach; see ``studies/README.md``."""
