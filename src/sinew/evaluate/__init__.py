"""Measuring policies: success rates, controls and reports."""
