"""The command line flags that SafeGen adds to the WebUI."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Called by the WebUI before it reads its command line."""
    parser.add_argument(
        "--safegen-enforce",
        metavar="LEVEL",
        default=None,
        help="SafeGen: guard every picture, whatever users ask for: basic, strict, off, or the "
        "path of a policy in a .json file (docs/webui.md)",
    )
