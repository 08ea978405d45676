"""The public data sets, one file each: card, published layout, tasks. `DATASETS` and `TASKS` derive from the files' entries."""

from __future__ import annotations

from medmvl.datasets.gathering.collection import ConvertOptions
from medmvl.datasets.public import (
    amos_mm,
    ct_rate,
    ct_spatialvqa,
    deeptumorvqa,
    iu_xray,
    m3d,
    medmnist,
    medpix,
    medqa,
    medthinkvqa,
    medxpertqa,
    mimic_cxr,
    mr_rate,
    omnimedvqa,
    path_vqa,
    phantoms,
    pmc_vqa,
    pubmedqa,
    rad_3d,
    reportqa,
    rexvqa,
    rocov2,
    sa_med2d,
    slake,
    unimed,
    vqa_med,
    vqa_rad,
)
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import UserError
from medmvl.messages import did_you_mean
from medmvl.plugins import find_plugin, known_names
from medmvl.tasks.benchmark import Benchmark

__all__ = ["DATASETS", "TASKS", "ConvertOptions", "PublicDataset", "find_dataset", "find_task"]

PUBLIC: tuple[PublicDataset, ...] = (
    # 2D
    vqa_rad.DATASET,
    slake.DATASET,
    path_vqa.DATASET,
    pmc_vqa.DATASET,
    *vqa_med.DATASETS,
    omnimedvqa.DATASET,
    iu_xray.DATASET,
    mimic_cxr.DATASET,
    medmnist.DATASET,
    sa_med2d.DATASET,
    medpix.DATASET,
    rocov2.DATASET,
    medxpertqa.DATASET,
    rexvqa.DATASET,
    medthinkvqa.DATASET,
    # 3D
    ct_rate.DATASET,
    ct_spatialvqa.DATASET,
    deeptumorvqa.DATASET,
    amos_mm.DATASET,
    reportqa.DATASET,
    mr_rate.DATASET,
    m3d.DATASET,
    rad_3d.DATASET,
    # text alone
    medqa.DATASET,
    pubmedqa.DATASET,
)
"""A data set is its file and one line here."""

DATASETS: dict[str, PublicDataset] = {dataset.name: dataset for dataset in PUBLIC}
"""Name of a public data set (`medmvl data convert NAME`) to its card and layout."""

TASKS: dict[str, Benchmark] = {
    task.name: task
    for tasks in (phantoms.TASKS, *(dataset.tasks for dataset in PUBLIC), unimed.TASKS)
    for task in tasks
}
"""Name of a task (`medmvl tasks`) to what it asks; those of phantoms and Uni-Med's wordings included."""


def find_dataset(name: str) -> PublicDataset:
    """Return a public data set by its exact name, ours or a plug-in's (entry points `medmvl.datasets`).

    Raises:
        UserError: listing the known names; or where a plug-in offers something else, or a name that is ours.
    """
    plugin = find_plugin("medmvl.datasets", name, DATASETS)
    if name in DATASETS:
        return DATASETS[name]
    if plugin is None:
        known = known_names("medmvl.datasets", DATASETS)
        raise UserError(f"no data set '{name}'{did_you_mean(name, DATASETS) or '.'} Known data sets: {known}")
    dataset = plugin.load()
    if not isinstance(dataset, PublicDataset):
        raise UserError(f"{plugin.source} offers {name!r} as a data set, but it is no PublicDataset")
    return dataset


def find_task(name: str) -> Benchmark:
    """Return a task by its exact name, ours or a plug-in's (entry points `medmvl.tasks`).

    Raises:
        UserError: naming the nearest, and all known names; or where a plug-in offers something else,
            or a name that is ours.
    """
    plugin = find_plugin("medmvl.tasks", name, TASKS)
    if name in TASKS:
        return TASKS[name]
    if plugin is not None:
        task = plugin.load()
        if not isinstance(task, Benchmark):
            raise UserError(f"{plugin.source} offers {name!r} as a task, but it is no medmvl.tasks.Benchmark")
        return task
    raise UserError(
        f"no task '{name}'{did_you_mean(name, TASKS, 3) or '.'} Known tasks: {known_names('medmvl.tasks', TASKS)}"
    )
