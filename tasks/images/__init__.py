"""Images: read, measured, normalised, augmented, recognised and exported; the parts of the image line."""
