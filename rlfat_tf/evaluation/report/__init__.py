"""The report of an evaluation: JSON, one HTML page, pictures, a table for the terminal."""

from __future__ import annotations

from rlfat_tf.evaluation.report.writing import refuse_to_replace, show, write_report

__all__ = ["refuse_to_replace", "show", "write_report"]
