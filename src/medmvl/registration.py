"""Makes the transformers Auto classes know ours after `import medmvl`, without importing transformers for it.

Importing `transformers.AutoConfig` pulls torch and takes seconds, which reading an image or `medmvl --help`
must not cost. Where a module of Auto classes is loaded already, our class is registered at once; where it is
not, a finder in `sys.meta_path` waits for the module, registers when its code has run, and steps aside.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def register_config() -> None:
    """`AutoConfig` reads `model_type: medmvl`."""
    from transformers.models.auto.configuration_auto import AutoConfig

    from medmvl.models.configuration import MedMVLConfig

    AutoConfig.register(MedMVLConfig.model_type, MedMVLConfig, exist_ok=True)


def register_model() -> None:
    """`AutoModelForImageTextToText` builds our model."""
    from transformers.models.auto.modeling_auto import AutoModelForImageTextToText

    from medmvl.models.configuration import MedMVLConfig
    from medmvl.models.modeling import MedMVLForConditionalGeneration

    AutoModelForImageTextToText.register(MedMVLConfig, MedMVLForConditionalGeneration, exist_ok=True)


def register_processor() -> None:
    """`AutoProcessor` builds our processor."""
    from transformers.models.auto.processing_auto import AutoProcessor

    from medmvl.models.configuration import MedMVLConfig
    from medmvl.models.processing import MedMVLProcessor

    AutoProcessor.register(MedMVLConfig, MedMVLProcessor, exist_ok=True)


REGISTRATIONS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": register_config,
    "transformers.models.auto.modeling_auto": register_model,
    "transformers.models.auto.processing_auto": register_processor,
}
"""Module of transformers, and what to register once its code has run."""


class _RegisteringLoader(Loader):
    """The module's own loader, and a registration after it."""

    def __init__(self, loader: Loader, register: Callable[[], None]) -> None:
        self.loader = loader
        self.register = register

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader  # as if we had never been here
        self.loader.exec_module(module)
        self.register()


class _AutoClassFinder(MetaPathFinder):
    """Finds the modules of REGISTRATIONS as Python would, once each."""

    def __init__(self, waiting: dict[str, Callable[[], None]]) -> None:
        self.waiting = waiting

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        register = self.waiting.pop(fullname, None)
        if register is None:
            return None
        spec = importlib.util.find_spec(fullname)  # by the other finders: ours let go of this name
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, register)
        return spec


def install() -> None:
    """Register what transformers has loaded already, and wait for the rest; `import medmvl` calls it once."""
    waiting = {}
    for module, register in REGISTRATIONS.items():
        if module in sys.modules:
            register()
        else:
            waiting[module] = register
    if waiting:
        sys.meta_path.insert(0, _AutoClassFinder(waiting))
