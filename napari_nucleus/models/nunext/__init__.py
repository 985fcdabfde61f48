"""Nuclei detected by writing down their centres, one after the other.

After "NuNext: Reframing Nucleus Detection as Next-Point Detection". A language model that sees the
tile writes a point as two coordinate tokens; masks are a promptable model's work.
"""
