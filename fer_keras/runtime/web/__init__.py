"""The face in the browser: one static page that runs an exported model by itself."""
