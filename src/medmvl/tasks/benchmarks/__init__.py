"""Every task of public data and of phantoms: one benchmark a file, one task a line in `TASKS`."""

from __future__ import annotations

from difflib import get_close_matches

from medmvl.errors import UserError
from medmvl.plugins import find_plugin, known_names
from medmvl.tasks.benchmark import Benchmark
from medmvl.tasks.benchmarks import (
    chest_xray_reports,
    ct_rate,
    m3d,
    medmnist,
    omnimedvqa,
    path_vqa,
    phantoms,
    pmc_vqa,
    rad_3d,
    sa_med2d,
    slake,
    unimed,
    vqa_med,
    vqa_rad,
)

GROUP = "medmvl.tasks"

TASKS: dict[str, Benchmark] = {
    # synthetic patients
    "phantoms": phantoms.PHANTOMS,
    "phantoms-en": phantoms.PHANTOMS_EN,
    "phantoms-zh": phantoms.PHANTOMS_ZH,
    "phantoms-ct": phantoms.PHANTOMS_CT,
    "phantoms-xray": phantoms.PHANTOMS_XRAY,
    "phantoms-report": phantoms.PHANTOMS_REPORT,
    "phantoms-choice": phantoms.PHANTOMS_CHOICE,
    "phantoms-measure": phantoms.PHANTOMS_MEASURE,
    "phantoms-change": phantoms.PHANTOMS_CHANGE,
    # 2D
    "vqa-rad": vqa_rad.VQA_RAD,
    "slake": slake.SLAKE,
    "slake-en": slake.SLAKE_EN,
    "slake-zh": slake.SLAKE_ZH,
    "slake-refer": slake.SLAKE_REFER,
    "slake-identify": slake.SLAKE_IDENTIFY,
    "path-vqa": path_vqa.PATH_VQA,
    "pmc-vqa": pmc_vqa.PMC_VQA,
    "vqa-med-2019": vqa_med.VQA_MED_2019,
    "vqa-med-2020": vqa_med.VQA_MED_2020,
    "vqa-med-2021": vqa_med.VQA_MED_2021,
    "omnimedvqa": omnimedvqa.OMNIMEDVQA,
    "iu-xray-report": chest_xray_reports.IU_XRAY_REPORT,
    "mimic-cxr-report": chest_xray_reports.MIMIC_CXR_REPORT,
    "medmnist": medmnist.MEDMNIST,
    "medmnist-derma": medmnist.MEDMNIST_DERMA,
    "medmnist-organs": medmnist.MEDMNIST_ORGANS,
    "sa-med2d-refer": sa_med2d.SA_MED2D_REFER,
    "sa-med2d-identify": sa_med2d.SA_MED2D_IDENTIFY,
    # Uni-Med's wording of 2D tasks, and what else is in its mixture
    "unimed-slake": unimed.UNIMED_SLAKE,
    "unimed-path-vqa": unimed.UNIMED_PATH_VQA,
    "unimed-mimic": unimed.UNIMED_MIMIC,
    "unimed-medmnist": unimed.UNIMED_MEDMNIST,
    "unimed-medpix": unimed.UNIMED_MEDPIX,
    "unimed-medqa": unimed.UNIMED_MEDQA,
    "unimed-pubmedqa": unimed.UNIMED_PUBMEDQA,
    # 3D
    "ct-rate-report": ct_rate.CT_RATE_REPORT,
    "ct-rate-report-study": ct_rate.CT_RATE_REPORT_STUDY,
    "ct-rate-long": ct_rate.CT_RATE_LONG,
    "ct-rate-short": ct_rate.CT_RATE_SHORT,
    "ct-rate-choice": ct_rate.CT_RATE_CHOICE,
    "ct-rate-conversation": ct_rate.CT_RATE_CONVERSATION,
    "m3d-caption": m3d.M3D_CAPTION,
    "m3d-choice": m3d.M3D_CHOICE,
    "m3d-open": m3d.M3D_OPEN,
    "3d-rad": rad_3d.RAD_3D,
    "3d-rad-observation": rad_3d.RAD_3D_OBSERVATION,
    "3d-rad-anomaly": rad_3d.RAD_3D_ANOMALY,
    "3d-rad-computation": rad_3d.RAD_3D_COMPUTATION,
    "3d-rad-existence": rad_3d.RAD_3D_EXISTENCE,
    "3d-rad-static": rad_3d.RAD_3D_STATIC,
    "3d-rad-longitudinal": rad_3d.RAD_3D_LONGITUDINAL,
}


def find_task(name: str) -> Benchmark:
    """Return a task by its exact name, ours or a plug-in's (entry points `medmvl.tasks`).

    Raises:
        UserError: naming the nearest, and all known names; or where a plug-in offers something else,
            or a name that is ours.
    """
    plugin = find_plugin(GROUP, name, TASKS)
    if name in TASKS:
        return TASKS[name]
    if plugin is not None:
        task = plugin.load()
        if not isinstance(task, Benchmark):
            raise UserError(f"{plugin.source} offers {name!r} as a task, but it is no medmvl.tasks.Benchmark")
        return task
    near = get_close_matches(name, TASKS, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UserError(f"no task '{name}'{hint} Known tasks: {known_names(GROUP, TASKS)}")
