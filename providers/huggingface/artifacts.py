"""Artifacts of the local provider: folders of safetensors. An artifact's id is the absolute path its folder had."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from providers.errors import RejectedError
from providers.huggingface.base_models import base_of
from providers.huggingface.folders import disk_trouble, names_in
from providers.huggingface.training import JOBS_FOLDER
from providers.ports import Artifact
from training.artifact import ArtifactError, add_tokenizer, check_model_folder, check_trained, verify_manifest
from training.contract import CHECKPOINTS_FOLDER, MANIFEST_FILE, MODEL_FOLDER, Manifest, manifest_of, read_manifest

ARTIFACTS_FOLDER = "artifacts"
"""Where models that were trained elsewhere may be put to be ours: `artifacts/<name>/model`."""


class LocalArtifacts:
    """`providers.ports.Artifacts` over folders."""

    def __init__(self, folder: Path, models: Path, *, serves: Callable[[str], bool]) -> None:
        self._folder = folder
        self._models = models
        self._serves = serves

    def get(self, id: str) -> Artifact | None:
        """Reads every byte of the model: half a gigabyte takes about a second. The id it answers is absolute."""
        folder = located(self._folder, id)
        if not folder.is_dir():
            return None
        with disk_trouble("get-artifact"):
            return Artifact(id=str(Path(id).absolute()), digest=verified(folder).digest, kind="folder")

    def complete(self, id: str, base_model: str | None) -> None:
        """`providers.optional.Completing`: the tokenizer, which `model.save_pretrained` leaves out."""
        folder = located(self._folder, id)
        with disk_trouble("complete-artifact"):
            base = base_of(self._models, folder, base_model)
            if base is not None and folder.is_dir():
                add_tokenizer(folder, base)

    def list(self) -> Sequence[Artifact]:
        """The finished models in this connection's own folder, with the digests they were given, not checked again."""
        found: list[Artifact] = []
        with disk_trouble("list-artifacts"):
            for parent in self._homes():
                manifest = read_manifest(parent)
                if manifest is not None and (parent / MODEL_FOLDER).is_dir():
                    found.append(Artifact(id=str(parent / MODEL_FOLDER), digest=manifest.digest, kind="folder"))
        return found

    def delete(self, id: str) -> None:
        """A folder that was imported from elsewhere is not ours to delete: refused."""
        folder = located(self._folder, id)
        if not folder.exists():
            return
        if folder not in [parent / MODEL_FOLDER for parent in self._homes()]:
            raise RejectedError(
                f"{id} was not made in {self._folder}; delete it by hand if it is really to go",
                operation="delete-artifact",
            )
        if self._serves(id):
            raise RejectedError(f"{id} is being served", operation="delete-artifact")
        with disk_trouble("delete-artifact"):
            shutil.rmtree(folder)
            if (folder.parent / CHECKPOINTS_FOLDER).exists():
                shutil.rmtree(folder.parent / CHECKPOINTS_FOLDER)

    def _homes(self) -> Sequence[Path]:
        jobs, others = self._folder / JOBS_FOLDER, self._folder / ARTIFACTS_FOLDER
        own = sorted(child for child in others.iterdir() if child.is_dir()) if others.is_dir() else []
        return [*(jobs / name for name in names_in(jobs)), *own]


def located(own: Path, id: str) -> Path:
    """Where an artifact lies now. `own`: the connection's folder.

    A home may have been moved since, or copied, or be reached by another path. Jobs have names that no other registry
    gives; what lies below `artifacts` may have a namesake in another home, which is believed while it is there.
    """
    path = Path(id).absolute()
    here = own.joinpath(*path.parts[-3:])
    if path.parts[-5:-3] != own.parts[-2:] or not here.is_dir():
        return path
    return here if path.parts[-3] == JOBS_FOLDER or not path.exists() or path.samefile(here) else path


def verified(folder: Path) -> Manifest:
    """Check a model folder whole: formats, and every file against the manifest beside it where there is one.

    Raises RejectedError: a pickle, code of its own, a damaged file, one that is missing or was added.
    """
    try:
        if folder.name == MODEL_FOLDER and (folder.parent / MANIFEST_FILE).is_file():
            check_model_folder(folder)
            manifest = read_manifest(folder.parent)
            assert manifest is not None
            verify_manifest(folder, manifest)
            return manifest
        check_trained(folder)
        return manifest_of(folder)
    except ArtifactError as exc:
        raise RejectedError(f"{folder}: {exc}", operation="verify-artifact") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise RejectedError(f"{folder.parent / MANIFEST_FILE} is damaged: {exc}", operation="verify-artifact") from exc
