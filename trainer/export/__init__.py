"""The network as a file for another runtime, with the proof that it answers as PyTorch does.

What is in the file is the network: normalised image in, raw outputs out. Normalising, decoding boxes and removing
duplicates (NMS) are not in it yet.
"""
