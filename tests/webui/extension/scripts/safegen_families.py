"""Test only: makes the parts of the made-up checkpoints known before one is loaded."""

import safegen_test_models  # noqa: F401
