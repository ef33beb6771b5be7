"""A fine-tuned model as its users meet it: a scan goes in, an answer in its own space comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from medssl.encoders import build_encoder
from medssl.errors import UsageError, WeightsMismatchError
from medssl.io.contract import Source
from medssl.io.geometry import resample_like
from medssl.io.read import read_volume
from medssl.store.recipe import Prepared, Recipe
from medssl.tasks.base import TASKS
from medssl.tasks.networks import TaskNetwork
from medssl.types import IntArray, Volume
from medssl.weights.load import find_export
from medssl.weights.manifest import Manifest, TaskRecord, read_manifest
from medssl.weights.state import load_state, read_tensors

__all__ = ["Model", "load_model"]


@dataclass(frozen=True)
class Model:
    """A network with everything that must be done before and after it.

    Attributes:
        manifest: What the model is, how it was trained, what its input must look like.
        network: Frozen and in evaluation mode.
    """

    manifest: Manifest
    network: TaskNetwork

    @property
    def record(self) -> TaskRecord:
        """What the model answers."""
        if self.manifest.task is None:
            raise WeightsMismatchError("these weights answer nothing; expected a fine-tuned model")
        return self.manifest.task

    @property
    def task(self) -> str:
        """``segmentation`` or ``classification``."""
        return self.record.name

    @property
    def labels(self) -> dict[str, int]:
        """Name and value of each label, or name and number of each class."""
        if self.record.classes:
            return {name: number for number, name in enumerate(self.record.classes)}
        return dict(self.record.labels)

    def predict(self, scan: Path | str | Volume) -> IntArray:
        """Return the mask of a scan, on exactly the scan's own grid.

        Args:
            scan: A file, a folder with one DICOM series, or a volume.

        Returns:
            Label values with the shape and in the axis order of the stored scan.

        Raises:
            UsageError: If the model is not one of segmentation.
            VolumeReadError: If the scan can't be read.
        """
        return self.predict_volume(_volume_of(scan))

    def predict_volume(self, volume: Volume) -> IntArray:
        """Return the mask of a volume, on exactly the volume's own grid.

        Raises:
            UsageError: If the model is not one of segmentation.
        """
        self._expect("segmentation", "classify")
        prepared = self._prepare(volume)
        answer = self._answer(prepared)
        values = np.array([0, *self.labels.values()])
        values = values.astype(np.min_scalar_type(int(values.max())))
        return values[_classes_on_grid(answer, prepared.affine, volume)]

    def classify(self, scan: Path | str | Volume) -> dict[str, float]:
        """Return the probability of each class of a scan.

        Args:
            scan: A file, a folder with one DICOM series, or a volume.

        Raises:
            UsageError: If the model is not one of classification.
            VolumeReadError: If the scan can't be read.
        """
        self._expect("classification", "predict")
        answer = self._answer(self._prepare(_volume_of(scan)))
        return dict(zip(self.labels, (float(p) for p in answer), strict=True))

    def write_dicom_seg(
        self, path: Path | str, mask: IntArray, series: Source, *, part: int | None = None
    ) -> None:
        """Write a mask of this model as one DICOM SEG file, in the geometry of its series.

        Args:
            path: The file to write.
            mask: What :meth:`predict` returned for the series.
            series: A folder or file with one DICOM series, or the files of one.
            part: Which of several volumes in exactly these files, as a cohort counts them.

        Raises:
            UsageError: If the model is not one of segmentation, or highdicom is not installed.
            InputError: If the source is no DICOM series of a volume.
            GeometryError: If the mask is not one of this model and this series.
        """
        from medssl.io.dicom_seg import write_dicom_seg

        self._expect("segmentation", "classify")
        write_dicom_seg(
            Path(path),
            mask,
            series,
            self.labels,
            algorithm=self.manifest.id,
            algorithm_version=self.manifest.file.sha256,
            part=part,
        )

    def _expect(self, task: str, other: str) -> None:
        if self.task != task:
            raise UsageError(f"this model is one of {self.task}; call {other}() instead")

    def _prepare(self, volume: Volume) -> Prepared:
        contract = self.manifest.input
        return Recipe.from_dict(contract.recipe).apply(volume, modality=contract.modality)

    def _answer(self, prepared: Prepared) -> npt.NDArray[np.float32]:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        image = torch.from_numpy(np.ascontiguousarray(prepared.data, dtype=np.float32))
        answer = self.network.to(device).answer(
            image.unsqueeze(0),
            patch=self.manifest.input.patch,
            pad_value=prepared.minimum,
            device=device,
        )
        return answer.numpy()


def _volume_of(scan: Path | str | Volume) -> Volume:
    return scan if isinstance(scan, Volume) else read_volume(Path(scan))


def _classes_on_grid(
    answer: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], volume: Volume
) -> npt.NDArray[np.intp]:
    """Return the likeliest class of each voxel of the source.

    Probabilities are interpolated, not classes: borders stay smooth where the source is finer. One
    class at a time, because twenty classes of a whole-body scan fill the memory.

    Args:
        answer: ``(K, X, Y, Z)`` or ``(K, X, Y)`` on the prepared grid.
        affine: Of the prepared grid.
        volume: The source.
    """
    shape = volume.data.shape
    if _is_reordered(affine, volume.affine):
        likeliest = answer.argmax(axis=0)
        moved = resample_like(likeliest, affine, shape, volume.affine, order="nearest")
        return np.ascontiguousarray(moved)
    highest = resample_like(answer[0], affine, shape, volume.affine, order="linear")
    classes: npt.NDArray[np.intp] = np.zeros(shape, dtype=np.intp)
    for number in range(1, len(answer)):
        probability = resample_like(answer[number], affine, shape, volume.affine, order="linear")
        better = probability > highest
        classes[better] = number
        np.maximum(highest, probability, out=highest)
    return classes


def _is_reordered(affine: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    """Say whether two grids of one volume differ in the order and direction of their axes alone."""
    step = np.abs(np.linalg.solve(affine, other)[:3, :3])
    return bool(np.allclose(step, step.round(), atol=1e-3))


def load_model(source: Path | str) -> Model:
    """Load a model that ``medssl finetune`` exported.

    Args:
        source: The export folder, or the run folder that holds it.

    Raises:
        InputError: If there is no export, or its manifest is not valid.
        WeightsMismatchError: If it is an encoder without a task, damaged, or does not fit.

    Example:
        >>> model = load_model("runs/hippocampus/export")  # doctest: +SKIP
        >>> mask = model.predict("scan.nii.gz")  # doctest: +SKIP
    """
    folder = find_export(source)
    manifest = read_manifest(folder / "manifest.json")
    if manifest.task is None:
        raise WeightsMismatchError(
            f'"{folder.name}" holds an encoder ({manifest.encoder.name}) and no fine-tuned model; '
            "give it to `medssl finetune --weights` first, and predict with what comes out"
        )
    encoder = build_encoder(manifest.encoder.name, **manifest.encoder.config)
    task = manifest.task
    network = TASKS[task.name].build_network(
        encoder, len(task.classes or task.labels), task.options
    )
    load_state(network, read_tensors(folder, manifest.file))
    return Model(manifest, network.eval().requires_grad_(False))
