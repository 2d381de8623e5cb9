"""Changes of training pictures, as policies by name."""
