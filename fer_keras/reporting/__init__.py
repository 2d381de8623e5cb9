"""What is drawn and written for people: plots, tables, cards, the page of a run."""
