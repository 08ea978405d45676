"""Files on disk to pixels with physical truth. Imports neither torch nor transformers."""

from medmvl.imaging.image import MedicalImage

__all__ = ["MedicalImage"]
