"""Networks made of parts that a configuration names: encoders, decoders, heads; and the paper's U-Net."""
