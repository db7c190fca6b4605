"""Every way of making a picture, once: plain, SafeGen, and the published alternatives to it."""
