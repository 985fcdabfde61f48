"""Nuclei asked for in words: SAM3's detector, and the bundled nano of the same classes.

After "Prompt Group-Aware Training for Robust Text-Guided Nuclei Segmentation". The encoder sees a
tile once; any number of texts is then answered on what it saw.
"""
