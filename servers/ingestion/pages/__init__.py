"""Pages for people: what is in a dataset, what became of an ingestion, what a suite found.

Each is one HTML document that loads nothing and runs nothing. Everything that comes from data is escaped by the templates.
"""

from servers.ingestion.pages.rendering import ingestion_page, profile_page, validation_page

__all__ = ["ingestion_page", "profile_page", "validation_page"]
