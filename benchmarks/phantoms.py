"""How fast phantoms are drawn: patients a second on one core, and one scan of 512x512x300.

Run with one thread: `OMP_NUM_THREADS=1 python benchmarks/phantoms.py`. The claim is at least 100 CT patients
a second a core at 32x64x64, parameters and rendering together.
"""

import argparse
import resource
import time
from collections.abc import Callable

from medmvl.phantoms import Patient, make_patient, render_ct, render_xray


def patients_per_second(preset: str, render: Callable[[Patient], object], patients: int) -> float:
    render(make_patient(1, 0, preset))
    start = time.perf_counter()
    for index in range(patients):
        render(make_patient(0, index, preset))
    return patients / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--large", action="store_true", help="also draw 300x512x512")
    arguments = parser.parse_args()
    for preset in ("quickstart", "chest"):
        ct = patients_per_second(preset, lambda patient: render_ct(patient, (32, 64, 64)), arguments.patients)
        xray = patients_per_second(
            preset, lambda patient: render_xray(patient, (64, 64)), arguments.patients // 4
        )
        print(f"{preset}: CT 32x64x64 {ct:.0f} patients/s, X-ray 64x64 {xray:.0f} patients/s")
    if arguments.large:
        start = time.perf_counter()
        volume = render_ct(make_patient(0, 1, "chest"), (300, 512, 512))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"CT {volume.shape}: {time.perf_counter() - start:.1f} s, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
