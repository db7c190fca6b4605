"""SafeGen in AUTOMATIC1111 WebUI: settings, UI, infotext, axes, API, enforcement, life cycle."""
