"""Bringing market data into the store: from files, from the public archive, and over REST."""

from microstream_lab.ingest.download import ingest
from microstream_lab.ingest.files import import_path
from microstream_lab.ingest.report import IngestReport

__all__ = ["IngestReport", "import_path", "ingest"]
