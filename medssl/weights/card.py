"""The model card: the manifest told to a person."""

from __future__ import annotations

from medssl.weights.manifest import Manifest

__all__ = ["model_card"]


def model_card(manifest: Manifest) -> str:
    """Return the ``README.md`` of an export, filled from its manifest."""
    training, contract = manifest.training, manifest.input
    what = "An encoder" if manifest.task is None else f"A {manifest.task.name} network"
    recipe = "\n".join(f"| {key} | {value} |" for key, value in contract.recipe.items())
    return f"""# {manifest.title}

{what} of medssl {manifest.medssl_version}: `{manifest.encoder.name}`,
{manifest.file.tensors} tensors, {manifest.file.bytes / 1e6:.1f} MB.

## Use

```python
{_usage(manifest)}
```

## Input

Modality `{contract.modality}`, crops of {" x ".join(map(str, contract.patch))} voxels. The
function that comes with the weights does all of this:

| step | value |
|---|---|
{recipe}

## Training

Method `{training.method}`, {training.steps} steps, seed {training.seed}, {training.volumes}
volumes of {training.patients} patients ({training.data}); initial weights:
{training.initial_weights}.

{_evidence(manifest)}## Licence and limits

Weights: {manifest.licence.weights}. Commercial use: {manifest.licence.commercial_use}. Code:
{manifest.licence.code}. Intended use: {manifest.intended_use} A network can remember its training
data; ask the owner of the data before publishing this file.{_limits(manifest)}
"""


def _evidence(manifest: Manifest) -> str:
    """Return what was measured, if anything was."""
    if not manifest.evidence:
        return ""
    lines = "\n".join(f"- {line}" for line in manifest.evidence)
    return f"## Measured\n\n{lines}\n\n"


def _limits(manifest: Manifest) -> str:
    return f"\n\n{manifest.limits}" if manifest.limits else ""


def _usage(manifest: Manifest) -> str:
    if manifest.task is None:
        return (
            "import medssl\n\n"
            'encoder, preprocess = medssl.load_encoder("path/to/this/folder")\n'
            'features = encoder(preprocess("scan.nii.gz"))  # list of maps, finest first'
        )
    return (
        "import medssl\n\n"
        'model = medssl.load_model("path/to/this/folder")\n'
        'answer = model.predict("scan.nii.gz")'
    )
