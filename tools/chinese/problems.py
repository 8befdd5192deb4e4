"""What is wrong with a catalogue."""

from tools.chinese.documents import Document


def problems_of(document: Document) -> list[str]:
    """Problems of one catalogue, one line each."""
    return []
