"""Live: a feed's trades made into bars that are proven whole, and kept.

Invariant: the assembler does no I/O, the pipeline no storing, the recorder no computing.
"""
