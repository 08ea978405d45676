"""Files on disk to pixels with physical truth. Imports neither torch nor transformers."""

from medmvl.imaging.image import MedicalImage
from medmvl.imaging.read import read

__all__ = ["MedicalImage", "read"]
