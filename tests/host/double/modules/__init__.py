"""A small double of AUTOMATIC1111 WebUI 1.10.1: its contract with extensions, a toy for a model.

Written from facts about the host, not from its source. The same contract tests run against this
double and, where ``SD_WEBUI_DIR`` names one, against the real host, so that it cannot drift.
"""
