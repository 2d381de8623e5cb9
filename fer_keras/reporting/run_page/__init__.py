"""The page about one run: its content (`content.py`), sections (`sections.py`) and charts."""
