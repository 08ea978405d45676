"""Makes the transformers Auto classes know ours after `import medmvl`, without importing transformers for it.

Importing `transformers.AutoConfig` pulls torch and takes seconds, which reading an image or `medmvl --help`
must not cost. Where a module of Auto classes is loaded already, our class is registered at once; where it is
not, a finder in `sys.meta_path` waits for the module, registers when its code has run, and steps aside.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

REGISTRATIONS: dict[str, str] = {
    "transformers.models.auto.configuration_auto": "medmvl.models.configuration",
    "transformers.models.auto.modeling_auto": "medmvl.models.modeling",
    "transformers.models.auto.processing_auto": "medmvl.models.processing",
}
"""Module of transformers, and our module that registers its class in it as its last statement.

Importing ours by name is safe while it is itself being imported, which is when it pulls that of transformers.
"""


class _RegisteringLoader(Loader):
    """The module's own loader, and a registration after it."""

    def __init__(self, loader: Loader, ours: str) -> None:
        self.loader = loader
        self.ours = ours

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader  # as if we had never been here
        self.loader.exec_module(module)
        importlib.import_module(self.ours)


class _AutoClassFinder(MetaPathFinder):
    """Finds the modules of REGISTRATIONS as Python would, once each."""

    def __init__(self, waiting: dict[str, str]) -> None:
        self.waiting = waiting

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        ours = self.waiting.pop(fullname, None)
        if ours is None:
            return None
        spec = importlib.util.find_spec(fullname)  # by the other finders: ours let go of this name
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, ours)
        return spec


def install() -> None:
    """Register what transformers has loaded already, and wait for the rest; `import medmvl` calls it once."""
    waiting = {}
    for module, ours in REGISTRATIONS.items():
        if module in sys.modules:
            importlib.import_module(ours)
        else:
            waiting[module] = ours
    if waiting:
        sys.meta_path.insert(0, _AutoClassFinder(waiting))
