from __future__ import annotations

from functools import cache

import nibabel as nib
import numpy as np
import pytest

from medssl.errors import UsageError
from medssl.phantom import ORGANS, SUBJECT_CLASSES, PhantomSubject, make_subject
from medssl.phantom.physique import draw_physique
from medssl.types import Volume

SIZE = (64, 64, 64)
SEEDS = range(6)


@cache
def subject(seed: int, modality: str = "ct", size: tuple[int, ...] = SIZE) -> PhantomSubject:
    return make_subject(seed, size=size, modality=modality)


def center_mm(scan: PhantomSubject, organ: str) -> np.ndarray:
    voxels = np.argwhere(scan.labels == ORGANS[organ])
    return nib.affines.apply_affine(scan.affine, voxels).mean(axis=0)


def volume_ml(scan: PhantomSubject, organ: str) -> float:
    voxel_ml = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    return float((scan.labels == ORGANS[organ]).sum() * voxel_ml)


def core(scan: PhantomSubject, organ: str) -> np.ndarray:
    """Return the intensities of an organ away from its surface."""
    from scipy import ndimage

    inside = ndimage.binary_erosion(scan.labels == ORGANS[organ])
    return scan.image[inside]


@pytest.mark.parametrize("modality", ["ct", "t1", "t2", "xr"])
def test_a_seed_replays_a_scan_bit_for_bit(modality):
    again = make_subject(1, size=SIZE, modality=modality)
    first = subject(1, modality)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.image.dtype == np.float32
    assert first.labels.dtype == np.int16


def test_every_modality_shows_the_same_body():
    ct, t1, t2 = (subject(2, modality) for modality in ("ct", "t1", "t2"))
    np.testing.assert_array_equal(ct.labels, t1.labels)
    np.testing.assert_array_equal(ct.labels, t2.labels)
    classes = {subject(2, modality).subject_class for modality in ("ct", "t1", "t2", "xr")}
    assert len(classes) == 1
    inside = ct.image > -300
    assert abs(np.corrcoef(t1.image[inside], t2.image[inside])[0, 1]) < 0.9


def test_the_same_body_has_the_same_size_and_place_on_every_grid():
    coarse = subject(3)
    fine = make_subject(3, size=(110, 80, 90), spacing_mm=(4.0, 4.4, 5.3))
    for organ in ("liver", "lung_left", "kidney_left", "heart"):
        assert volume_ml(fine, organ) == pytest.approx(volume_ml(coarse, organ), rel=0.08)
        offset_mm = center_mm(fine, organ) - center_mm(coarse, organ)
        assert np.abs(offset_mm).max() < 2.5, organ


@pytest.mark.parametrize("seed", SEEDS)
def test_axes_are_ras_and_the_liver_lies_on_the_right(seed):
    scan = subject(seed)
    assert nib.aff2axcodes(scan.affine) == ("R", "A", "S")
    liver, stomach = center_mm(scan, "liver"), center_mm(scan, "stomach")
    assert liver[0] > stomach[0] + 40, "x grows to the patient's right"
    assert np.argwhere(scan.labels == ORGANS["liver"])[:, 0].mean() > SIZE[0] / 2
    assert center_mm(scan, "heart")[0] < center_mm(scan, "lung_right")[0]
    assert center_mm(scan, "vena_cava")[0] > center_mm(scan, "vertebrae")[0]
    assert center_mm(scan, "heart")[1] > center_mm(scan, "vertebrae")[1] + 30, "y to the front"
    heights = [center_mm(scan, name)[2] for name in ("lung_left", "liver", "bladder")]
    assert heights == sorted(heights, reverse=True), "z to the head"


@pytest.mark.parametrize("seed", SEEDS)
def test_sides_of_paired_organs_are_told_apart(seed):
    scan = subject(seed)
    assert center_mm(scan, "lung_right")[0] > center_mm(scan, "lung_left")[0] + 100
    assert volume_ml(scan, "lung_left") < volume_ml(scan, "lung_right") * 1.05
    middle = center_mm(scan, "vertebrae")[0]
    if "kidney_right" in scan.organs:
        assert center_mm(scan, "kidney_right")[0] > middle + 30
    if "kidney_left" in scan.organs:
        assert center_mm(scan, "kidney_left")[0] < middle - 30
    if "spleen" in scan.organs:
        assert center_mm(scan, "spleen")[0] < middle - 50


HU = {
    "lung_right": (-890, -790),
    "lung_left": (-890, -790),
    "heart": (90, 200),
    "aorta": (130, 240),
    "liver": (80, 125),
    "spleen": (75, 150),
    "kidney_right": (90, 230),
    "kidney_left": (90, 230),
    "bladder": (-10, 40),
    "vertebrae": (150, 900),
    "pelvis": (150, 900),
}


@pytest.mark.parametrize("organ", HU)
def test_organs_have_their_hounsfield_units(organ):
    low, high = HU[organ]
    medians = [
        float(np.median(core(subject(seed), organ)))
        for seed in SEEDS
        if core(subject(seed), organ).size > 8
    ]
    assert medians
    assert low < min(medians) <= max(medians) < high


def test_air_fat_and_muscle_have_their_hounsfield_units():
    scan = subject(0)
    assert np.median(scan.image[:3, -3:]) == pytest.approx(-1000, abs=15)
    assert 2 < scan.image[:6, -6:].std() < 25, "air is grainy too"
    body = np.rint(scan.image[scan.labels == 0])
    counts, edges = np.histogram(body, bins=np.arange(-200, 200, 10))
    fat = counts[(edges[:-1] >= -130) & (edges[:-1] < -70)].sum()
    between = counts[(edges[:-1] >= -50) & (edges[:-1] < 10)].sum()
    muscle = counts[(edges[:-1] >= 20) & (edges[:-1] < 80)].sum()
    assert fat > 1.5 * between
    assert muscle > 1.2 * between


def test_magnetic_resonance_has_the_contrast_of_its_weighting():
    t1, t2 = subject(4, "t1"), subject(4, "t2")
    assert np.median(core(t1, "bladder")) < 0.5 * np.median(core(t1, "liver"))
    assert np.median(core(t2, "bladder")) > 2.0 * np.median(core(t2, "liver"))
    assert np.median(core(t2, "spleen")) > 1.3 * np.median(core(t2, "liver"))
    for scan in (t1, t2):
        assert scan.image.min() >= 0
        air = scan.image[:5, -5:, :]
        assert air.mean() / air.std() == pytest.approx(1.91, abs=0.25), "Rayleigh noise"


def test_the_coil_shades_one_tissue():
    """Without a bias field the liver would be as bright at one end as at the other."""
    shades = []
    for seed in SEEDS:
        scan = subject(seed, "t1")
        voxels = np.argwhere(scan.labels == ORGANS["liver"])
        values = scan.image[tuple(voxels.T)]
        slope = np.polyfit(voxels[:, 0] - voxels[:, 0].mean(), values, 1)[0]
        shades.append(abs(slope) * np.ptp(voxels[:, 0]) / np.median(values))
    assert max(shades) > 0.05


@pytest.mark.parametrize("seed", range(12))
def test_the_class_is_what_the_labels_show(seed):
    scan = subject(seed, "ct", (72, 72, 72))
    kidneys = {"kidney_left", "kidney_right"} & set(scan.organs)
    is_lesions = scan.subject_class == SUBJECT_CLASSES["lesions"]
    assert ("lesion" in scan.organs) == is_lesions
    assert len(kidneys) == (1 if scan.subject_class == SUBJECT_CLASSES["single_kidney"] else 2)


def test_classes_are_balanced():
    counts = np.bincount([draw_physique(seed).subject_class for seed in range(300)])
    assert len(counts) == len(SUBJECT_CLASSES)
    assert counts.min() > 75


def test_subjects_differ_in_size_place_and_pose():
    livers = [volume_ml(subject(seed), "liver") for seed in SEEDS]
    assert np.std(livers) / np.mean(livers) > 0.05
    hearts = np.array([center_mm(subject(seed), "heart") for seed in SEEDS])
    assert (hearts.std(axis=0) > 2).all()
    bodies = [(subject(seed).image > -300).mean() for seed in SEEDS]
    assert np.ptp(bodies) > 0.02
    angles = [np.degrees(np.arccos(draw_physique(s).rotation[0, 0])) for s in range(20)]
    assert 1 < np.mean(angles) < 10


def test_some_subjects_lack_a_spleen_or_a_gallbladder():
    missing = set()
    for seed in range(30):
        scan = subject(seed, "ct", (24, 24, 24))
        missing |= {"spleen", "gallbladder"} - set(scan.organs)
    assert "spleen" in missing


def test_a_thick_slice_shows_its_middle_and_averages_around_it():
    thick = make_subject(5, size=(48, 40, 20), spacing_mm=(8, 8, 24))
    fine = make_subject(5, size=(48, 40, 60), spacing_mm=(8, 8, 8))
    np.testing.assert_array_equal(thick.labels, fine.labels[:, :, 1::3])
    neighbours = fine.image.reshape(48, 40, 20, 3)
    edge = np.ptp(neighbours, axis=-1) > 400
    away = np.abs(thick.image - neighbours.mean(axis=-1))[edge].mean()
    assert away < 0.7 * np.abs(thick.image - neighbours[..., 1])[edge].mean()


def test_thick_slices_may_lie_along_any_axis():
    scan = make_subject(5, size=(16, 48, 48), spacing_mm=(24, 8, 8))
    assert scan.image.shape == scan.labels.shape == (16, 48, 48)
    np.testing.assert_allclose(np.diag(scan.affine), (24, 8, 8, 1))


def test_a_radiograph_is_a_projection_from_the_front():
    scan = make_subject(1, size=(96, 48, 112), modality="xr")
    assert scan.image.shape == scan.labels.shape == (96, 112)
    spine = np.median(scan.image[scan.labels == ORGANS["vertebrae"]])
    lung = np.median(scan.image[scan.labels == ORGANS["lung_right"]])
    assert spine > 1.5 * lung > 0
    assert scan.image[0, :].mean() < lung
    right, left = (
        np.argwhere(scan.labels == ORGANS[name])[:, 0].mean() for name in ("liver", "stomach")
    )
    assert right > left
    assert np.argwhere(scan.labels == ORGANS["pelvis"])[:, 1].mean() < 40, "up is high"
    np.testing.assert_allclose(np.diag(scan.affine), (400 / 96, 480 / 112, 1, 1))


def test_a_scan_is_a_volume_as_readers_return_it():
    volume = subject(0, "t2").volume
    assert isinstance(volume, Volume)
    assert volume.modality == "mr"
    assert subject(0).volume.modality == "ct"
    np.testing.assert_allclose(volume.spacing_mm, (6.25, 6.25, 7.5))


def test_the_middle_of_the_grid_is_the_middle_of_the_scanner():
    scan = subject(0)
    middle = nib.affines.apply_affine(scan.affine, (np.array(SIZE) - 1) / 2)
    np.testing.assert_allclose(middle, 0, atol=1e-9)


def test_a_small_field_of_view_inside_the_body_is_all_tissue():
    scan = make_subject(0, size=(24, 24, 24), spacing_mm=(2, 2, 2))
    assert np.isfinite(scan.image).all()
    assert (scan.image > -1024 - 1).all()


def test_label_values_are_stable():
    assert list(ORGANS.values()) == list(range(1, len(ORGANS) + 1))
    assert (ORGANS["liver"], ORGANS["spleen"], ORGANS["lesion"]) == (6, 7, 17)
    with pytest.raises(TypeError):
        ORGANS["liver"] = 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": (96, 96)}, "three numbers"),
        ({"size": (96, 96, 4)}, "at least 8"),
        ({"spacing_mm": (1, 0, 1)}, "above 0"),
        ({"spacing_mm": (1, 1)}, "three lengths"),
        ({"modality": "t3"}, 'did you mean "t2"|did you mean "t1"'),
        ({"seed": -1}, "from 0 up"),
    ],
)
def test_what_can_not_be_scanned_is_refused_in_a_sentence(options, said):
    with pytest.raises(UsageError, match=said):
        make_subject(**{"seed": 0, "size": (16, 16, 16), **options})
