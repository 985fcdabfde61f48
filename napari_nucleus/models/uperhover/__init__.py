"""UperHoVer: classes and HV maps for every pixel, parted into nuclei by a watershed.

After "SegTME-UNI2: A Foundation Model-Based Framework for Generalisable Multiclass Cell
Segmentation and LLM-Driven Tumour Microenvironment Characterisation". The published size, on
UNI2-h, and the bundled nano are configurations of the same classes.
"""
