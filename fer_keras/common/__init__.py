"""What every room may use: errors, files, labels, pictures, figures, HTML."""
