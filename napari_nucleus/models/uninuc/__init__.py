"""UniNuc: one model that finds every nucleus and corrects one with clicks.

After "UniNuc - Unified Automatic and Interactive Nucleus Instance Segmentation in Histopathology".
The published size and the bundled nano are configurations of the same classes.
"""
