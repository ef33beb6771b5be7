"""Which earlier patients look like this one: nearest neighbours in feature space. Research only.

    python similar_patients.py --weights W --earlier SCANS --collection C --input STUDY --out like

The earlier scans are indexed and embedded into the folder C; later calls leave ``--earlier`` out. A
study is compared with scans of other patients of its modality, by the cosine between vectors less
the mean of the collection, and the most alike scan of each patient is shown.
"""

import argparse
import base64
import hashlib
import io
import sys
from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np

import medssl

LEAD = """<!doctype html><html lang=en><meta charset=utf-8><title>Similar patients</title><style>
:root{color-scheme:light dark;font:16px/1.45 system-ui,sans-serif}h1,h2{font-size:1.3rem}
body{max-width:56rem;margin:2rem auto}article{border:1px solid #8885;padding:1rem;margin:.8rem 0}
h2+article{border:2px solid #17b}h3,p{margin:.2rem 0}img{height:14rem;margin:.4rem}</style>
<h1>Similar patients</h1><p>Other patients by likeness of features: 1 is the same, 0 unrelated. What
is alike may be the scanner, not the disease. For research only; not a medical device.</p>"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weights", required=True, help="an export, a zoo id, or a checkpoint")
    parser.add_argument("--earlier", type=Path, nargs="+", help="scans to compare with")
    parser.add_argument("--collection", type=Path, required=True, help="where their vectors are")
    parser.add_argument("--input", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", action="store_true", help="faces can be recognised in them")
    options = parser.parse_args()
    if options.earlier:
        earlier = medssl.index(options.earlier, out=options.collection / "cohort")
        vectors, made_by = embed(earlier, options.weights)
        np.savez(options.collection / "vectors.npz", vectors=vectors, made_by=made_by)
    earlier = medssl.Cohort.open(options.collection / "cohort")
    known = np.load(options.collection / "vectors.npz")
    cohort = medssl.index(options.input, out=options.out / "cohort")
    vectors, made_by = embed(cohort, options.weights)
    if str(known["made_by"]) != made_by:
        raise medssl.MedsslError("the collection was made with other weights; collect again")
    rows, page = ["id,rank,neighbour,cosine,weights"], [LEAD]
    for name, vector in zip(cohort.ids, vectors, strict=True):
        page += [f"<h2>Scan {name}</h2>", card(cohort, name, "Study", pictures=options.pictures)]
        found = nearest(cohort.row(name), vector, earlier, known["vectors"])[:5]
        for rank, (other, value) in enumerate(found, start=1):
            rows.append(f"{name},{rank},{other},{value:.4f},{made_by}")
            title = f"{rank}. <meter value={max(value, 0):.3f}></meter> cosine {value:.2f}"
            page.append(card(earlier, other, title, pictures=options.pictures))
        page += [] if found else ["<p>The collection has no other patient of this modality.</p>"]
    (options.out / "similar.html").write_text("\n".join(page), encoding="utf-8")
    (options.out / "similar.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{len(cohort.ids)} scans compared with {len(earlier)}; open similar.html")
    return 0 if cohort.ids else 3


def embed(cohort: medssl.Cohort, weights: str) -> tuple[np.ndarray, str]:
    """Return one vector a scan, and a hash of the weights and of what is done to their input."""
    encoder, preprocess = medssl.load_encoder(weights)
    digest = hashlib.sha256(preprocess.contract.recipe_hash.encode())
    for tensor in encoder.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    vectors = []
    for name in cohort.ids:
        images = preprocess(cohort.read(name))  # slices of a planar encoder come as a batch
        parts = [encoder.embed(part).numpy() for part in images.split(16)]
        vectors.append(np.concatenate(parts).mean(axis=0))
    return np.array(vectors), digest.hexdigest()[:16]


def nearest(row: dict, vector: np.ndarray, earlier: medssl.Cohort, known: np.ndarray) -> list:
    """Return the most alike scan of each other patient and its cosine, best first."""
    centred = np.vstack([vector, known]) - known.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    likeness, best = centred[1:] @ centred[0], {}
    for place in np.argsort(-likeness):
        other = earlier.row(earlier.ids[place])
        if other["patient"] != row["patient"] and other["modality"] == row["modality"]:
            best.setdefault(other["patient"], (other["id"], float(likeness[place])))
    return list(best.values())


def card(cohort: medssl.Cohort, name: str, title: str, *, pictures: bool) -> str:
    row = cohort.row(name)
    spacing, shape = (" x ".join(f"{n:.4g}" for n in row[key]) for key in ("spacing_mm", "shape"))
    facts = f"<p>{row['modality'].upper()}, {shape} voxels of {spacing} mm; {name}</p>"
    facts += slices(cohort.read(name)) if pictures else ""
    return f"<article><h3>{title}</h3>{facts}</article>"


def slices(volume: medssl.Volume) -> str:
    """Return the middle slices: the patient's right on the viewer's left, the front up."""
    data = np.atleast_3d(volume.data).astype(np.float32)
    image = nib.as_closest_canonical(nib.Nifti1Image(data, volume.affine))
    values, tags = np.asarray(image.dataobj), []
    low, high = (-160, 240) if volume.modality == "ct" else np.percentile(values, (1, 99.5))
    for axis in (2, 1, 0) if volume.data.ndim == 3 else (2,):
        width, height = np.delete(np.array(values.shape) * image.header.get_zooms(), axis)
        plane = values.take(values.shape[axis] // 2, axis)[::-1, ::-1].T
        buffer = io.BytesIO()
        matplotlib.image.imsave(buffer, plane, cmap="gray", vmin=low, vmax=high, format="png")
        source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        tags.append(f'<img alt="" style="aspect-ratio:{width / height:.3f}" src="{source}">')
    return "".join(tags)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except medssl.MedsslError as error:
        sys.exit(f"error: {error}")
