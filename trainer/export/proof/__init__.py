"""The proof of an export: the file is run in its own runtime on real images, and compared with PyTorch."""
