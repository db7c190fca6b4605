"""SafeGen: safer images from any Stable Diffusion checkpoint while they are being made."""

__version__ = "0.1.0"
