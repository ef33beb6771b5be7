"""Who a volume belongs to, without saying who: names become salted hashes.

The salt lies in the user's own folder, never in a cohort, so that a cohort that is passed on can't
be searched for a name.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path, PurePosixPath

from medssl.errors import OutputError
from medssl.io.atomic import write_text

__all__ = ["home", "patient_name", "pseudonym", "read_salt", "session_name"]

_SALT_FILE = "salt"
_NAMED = re.compile(r"(?:patient|pat|subject|subj|sub|case)[-_ ]?[a-z]{0,4}\d+", re.IGNORECASE)
_BIDS_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
_BIDS_SESSION = re.compile(r"ses-[A-Za-z0-9]+")
_CHANNEL = re.compile(r"_\d{4}$")
_WORDS_OF_KIND = {
    *("t1w", "t2w", "t1", "t2", "t1c", "t1ce", "t1gd", "flair", "pd", "pdw", "dwi", "adc", "bold"),
    *("swi", "ct", "cta", "mr", "mri", "pet", "pt", "suv", "image", "img", "scan", "volume", "vol"),
    *("anat", "data", "seg", "mask", "label", "labels", "gt", "raw", "cect", "t2s", "t2star"),
}


def home() -> Path:
    """Return the user's own folder: ``MEDSSL_HOME``, or ``medssl`` in the configuration folder."""
    default = Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")) / "medssl"
    return Path(os.environ.get("MEDSSL_HOME", default)).expanduser()


def read_salt() -> bytes:
    """Return this user's salt, made on first use and readable by nobody else.

    Raises:
        OutputError: If the user's folder can't be written.
    """
    file = home() / _SALT_FILE
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (
                "can't make the folder for the salt; set MEDSSL_HOME to one that can be written"
            )
            raise OutputError(reason) from error
        write_text(file, secrets.token_hex(32) + "\n", mode=0o600)
    return bytes.fromhex(file.read_text(encoding="ascii").strip())


def pseudonym(salt: bytes, name: str) -> str:
    """Return 16 letters that stand for a name; empty for an empty name."""
    if not name:
        return ""
    return hmac.new(salt, os.fsencode(name), hashlib.sha256).hexdigest()[:16]


def patient_name(path: PurePosixPath) -> str:
    """Guess from a relative path whose image it is, rather one patient too few than one too many.

    A BIDS subject, else a folder or file that says patient, subject or case and a number, else the
    file's name without the words that name its contrast, else its folder.

    Example:
        >>> patient_name(PurePosixPath("raw/patient01/study1_FLAIR.nii.gz"))
        'patient01'
        >>> patient_name(PurePosixPath("imagesTr/liver_003_0000.nii.gz"))
        'liver_003'
        >>> patient_name(PurePosixPath("Doe/t1w.nii.gz"))
        'Doe'
    """
    for pattern in (_BIDS_SUBJECT, _NAMED):
        for part in path.parts:
            found = pattern.match(part)
            if found:
                return found.group().lower()
    stem = _CHANNEL.sub("", path.name.split(".", 1)[0])
    words = [word for word in re.split(r"[_\-. ]+", stem) if word.lower() not in _WORDS_OF_KIND]
    if any(words):
        return "_".join(word for word in words if word)
    return str(path.parent) if path.parent.name else stem


def session_name(path: PurePosixPath) -> str:
    """Return the BIDS session of a path, with its subject; empty where there is none."""
    found = [match.group() for part in path.parts if (match := _BIDS_SESSION.match(part))]
    return f"{patient_name(path)}/{found[0]}" if found else ""
