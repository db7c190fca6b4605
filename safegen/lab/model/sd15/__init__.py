"""The embedded model widened into Stable Diffusion 1.5's own shapes; it computes the same.

Every host loads such a checkpoint, and it costs what a real one costs. The widths of the embedded
model divide SD1.5's, so each of its channels is repeated within its norm group, what reads
channels reads one of the copies, and blocks that the small model lacks add nothing. Three places
do not fit so simply: `middle` and `turns` say how they are done all the same, `words` what becomes
of words that are several of CLIP's tokens.
"""
