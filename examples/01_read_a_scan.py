"""Read a real CT slice: what a MedicalImage knows, and an image of it. pydicom ships the file.

python examples/01_read_a_scan.py [PATH]
"""

import sys
import tempfile
from pathlib import Path

from pydicom.data import get_testdata_file

from medmvl.imaging import read
from medmvl.imaging.draw import preview

path = sys.argv[1] if len(sys.argv) > 1 else str(get_testdata_file("CT_small.dcm"))
image = read(path)

print(image)
print("kind      ", image.kind, image.shape)
print("units     ", image.units, f"from {image.array.min():.0f} to {image.array.max():.0f}")
print("axes grow ", image.axcodes, "with", image.spacing_mm, "mm between voxels")
print("affine (array index to RAS+ millimetres):")
print(image.affine)
for warning in image.warnings:
    print("warning:", warning)

png = Path(tempfile.mkdtemp()) / "preview.png"
preview(image).save(png)
print("image:  ", png)
