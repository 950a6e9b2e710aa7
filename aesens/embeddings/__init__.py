"""Every (model, effect, strength, clip) once, safely on disk."""
