"""Files that carry a patient's data in every place there is, sound ones and broken ones."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import fake_dicom as fake
import nibabel as nib
import numpy as np
import pydicom
from PIL import Image, PngImagePlugin, TiffImagePlugin

WORD = "Zzyzxq"
"""A name, an ID, an institution, a comment."""
DATE = "19310729"
TIME = "030917.271"
UID = "1.2.826.0.1.3680043.9.77777"
PLACE = "Qwxpath"
"""Part of the names of folders and files; files that map ids to paths may hold it."""

TAGS = {
    "PatientName": f"{WORD}^Ada",
    "PatientBirthDate": DATE,
    "StudyDate": DATE,
    "SeriesDate": DATE,
    "AcquisitionDate": DATE,
    "ContentDate": DATE,
    "StudyTime": TIME,
    "AcquisitionTime": TIME,
    "StudyDescription": WORD,
    "SeriesDescription": WORD,
    "ProtocolName": WORD,
    "AccessionNumber": WORD,
    "InstitutionName": WORD,
    "InstitutionAddress": WORD,
    "ReferringPhysicianName": WORD,
    "OperatorsName": WORD,
    "StationName": WORD,
    "DeviceSerialNumber": WORD,
    "PatientComments": WORD,
    "ImageComments": WORD,
    "OtherPatientIDs": WORD,
    "StudyID": WORD,
    "ManufacturerModelName": WORD,
    "ConvolutionKernel": WORD,
    "SequenceName": WORD,
    "FrameOfReferenceUID": f"{UID}.5",
}


def body(seed: int) -> np.ndarray:
    """Return values as CT has them, of its own for each seed."""
    return np.random.default_rng(seed).normal(0, 500, (8, 9, 10)).astype(np.int16)


def mark(dataset: pydicom.Dataset, number: int) -> None:
    """Put the patient's data into one file of a series."""
    for keyword, value in TAGS.items():
        setattr(dataset, keyword, value)
    dataset.PatientID = WORD
    dataset.StudyInstanceUID = f"{UID}.1"
    dataset.SeriesInstanceUID = f"{UID}.2"
    dataset.SOPInstanceUID = f"{UID}.3.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = f"{UID}.3.{number}"
    private = dataset.private_block(0x0099, f"{WORD} private", create=True)
    private.add_new(0x01, "LO", WORD)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", WORD.upper()]


def write_series(folder: Path, seed: int, **changes: str) -> list[Path]:
    """Write a marked series; changes are tags that it has beside."""
    files = fake.write_ct(folder, data=body(seed), affine=np.diag([1.0, 1.0, 2.0, 1.0]))
    fake.edit_all(files, mark)
    for file in files:
        fake.edit(file, fake.put(**changes))
    return files


def write_nifti(path: Path, seed: int) -> Path:
    """Write a NIfTI image that carries text in every field that takes some."""
    image = nib.Nifti1Image(body(seed), np.diag([1.0, 1.0, 2.0, 1.0]))
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = f"{WORD} {DATE}"[:15]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", WORD.encode()))
    nib.save(image, path)
    return path


def write_nrrd(path: Path, seed: int) -> None:
    """Write an NRRD image with a comment, keys and a content line."""
    data = body(seed)
    lines = [
        "NRRD0005", f"# {WORD}", f"content: {WORD}", "type: int16", "dimension: 3",
        "space: left-posterior-superior", "sizes: 8 9 10",
        "space directions: (1,0,0) (0,1,0) (0,0,2)", "space origin: (0,0,0)",
        "endian: little", "encoding: raw", f"DICOM_0010_0010:={WORD}", f"{WORD}:={DATE}", "", "",
    ]  # fmt: skip
    path.write_bytes("\n".join(lines).encode() + data.tobytes(order="F"))


def write_mha(path: Path, seed: int) -> None:
    """Write a MetaImage with a comment and an unknown key."""
    data = body(seed)
    lines = [
        "ObjectType = Image", "NDims = 3", f"Comment = {WORD}", f"Name = {WORD}",
        "BinaryData = True", "BinaryDataByteOrderMSB = False", "CompressedData = False",
        f"PatientName = {WORD}", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 0 0 0",
        "ElementSpacing = 1 1 2", "DimSize = 8 9 10", "ElementType = MET_SHORT",
        "ElementDataFile = LOCAL", "",
    ]  # fmt: skip
    path.write_bytes("\n".join(lines).encode() + data.tobytes(order="F"))


def write_planes(folder: Path) -> None:
    """Write PNG, TIFF and JPEG images with text."""
    grey = Image.fromarray(np.random.default_rng(9).integers(0, 255, (40, 30)).astype(np.uint8))
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", WORD)
    text.add_itxt("Comment", WORD)
    grey.save(folder / "a_xray.png", pnginfo=text)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[315], tags[306] = WORD, WORD, "1931:07:29 03:09:17"
    grey.rotate(90).save(folder / "b_xray.tif", tiffinfo=tags)
    grey.rotate(180).save(folder / "c_xray.jpg", comment=WORD.encode())


def write_archives(folder: Path) -> None:
    """Write a zip with a comment and a tar, their members named after the patient."""
    inner = write_nifti(folder / "inner_ct.nii.gz", 21)
    with zipfile.ZipFile(folder / f"{PLACE}.zip", "w") as archive:
        archive.comment = WORD.encode()
        archive.write(inner, f"{PLACE}/{PLACE}_ct.nii.gz")
    write_nifti(inner, 22)
    with tarfile.open(folder / f"{PLACE}2.tar", "w") as archive:
        archive.add(inner, f"{PLACE}2_ct.nii.gz")
    inner.unlink()
    (folder / f"{PLACE}3.zip").write_bytes((folder / f"{PLACE}.zip").read_bytes()[:300])
    with zipfile.ZipFile(folder / f"{PLACE}4.zip", "w") as archive:
        archive.writestr(f"../{PLACE}.nii", WORD)


def write_broken(folder: Path) -> None:
    """Write files whose faults might be told with words of theirs."""
    image = write_nifti(folder / f"{PLACE}_whole.nii", 31).read_bytes()
    (folder / f"{PLACE}_whole.nii").unlink()
    (folder / f"{PLACE}_cut.nii").write_bytes(image[:900])
    (folder / f"{PLACE}_page.nii.gz").write_text(f"<html>{WORD} {DATE}</html>")
    (folder / f"{PLACE}.nrrd").write_text(f"NRRD0004\ntype: {WORD}\n{WORD}: {DATE}\n\n")
    (folder / f"{PLACE}.mha").write_text(f"ObjectType = {WORD}\nNDims = {WORD}\n")
    (folder / f"{PLACE}.dcm").write_text(WORD)
    (folder / f"{PLACE}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + WORD.encode())
    write_series(folder / f"{PLACE}_gap", 32, SeriesInstanceUID=f"{UID}.9")[3].unlink()
    cut = write_series(folder / f"{PLACE}_cutseries", 33, SeriesInstanceUID=f"{UID}.10")
    cut[2].write_bytes(cut[2].read_bytes()[:-30])
    changes = {
        "odd modality": {"Modality": WORD.upper()},
        "derived": {"ImageType": ["DERIVED", "SECONDARY", WORD.upper()]},
        "localizer": {"ImageType": ["ORIGINAL", "LOCALIZER", WORD.upper()]},
        "report": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"},
        "odd numbers": {"InstanceNumber": None, "RescaleType": WORD},
        "colours": {"PhotometricInterpretation": WORD.upper()},
        "maker": {"Manufacturer": f"{WORD} Hospital"},
    }
    for number, (name, tags) in enumerate(changes.items(), 40):
        uid = {"SeriesInstanceUID": f"{UID}.{number}"}
        write_series(folder / f"{PLACE} {name}", number, **tags, **uid)
    header = fake.write_ct(folder / f"{PLACE}_bytes", data=body(50))
    fake.edit_all(header, mark)
    for file in header:
        # A rows that is text, and a value of implausible length.
        content = file.read_bytes().replace(
            b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00LO\x02\x00"
        )
        file.write_bytes(content)


def write_all(folder: Path) -> None:
    """Fill a folder with the data of one patient."""
    home = folder / f"{PLACE}_Ada" / f"1931-07-29 {PLACE}"
    home.mkdir(parents=True)
    write_series(home / f"{PLACE}_CT", 1)
    write_nifti(home / f"{PLACE}_ct.nii.gz", 2)
    (home / f"{PLACE}_ct.json").write_text(json.dumps({"PatientName": WORD, "Modality": "CT"}))
    (home / "dataset_description.json").write_text(json.dumps({"Name": WORD}))
    write_nrrd(home / f"{PLACE}_ct.nrrd", 3)
    write_mha(home / f"{PLACE}_ct.mha", 4)
    write_planes(home)
    write_archives(home)
    (folder / f"{PLACE}_broken").mkdir()
    write_broken(folder / f"{PLACE}_broken")


def write_broken_alone(folder: Path) -> None:
    """Fill a folder with nothing that can be admitted."""
    folder.mkdir()
    (folder / f"{PLACE}_page.nii.gz").write_text(f"<html>{WORD} {DATE}</html>")
    (folder / f"{PLACE}.nrrd").write_text(f"NRRD0004\ntype: {WORD}\n{WORD}: {DATE}\n\n")
    cut = write_series(folder / f"{PLACE}_cut", 60)
    cut[2].write_bytes(cut[2].read_bytes()[:-30])
