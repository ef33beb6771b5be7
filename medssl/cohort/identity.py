"""Who a volume belongs to, without saying who: names become salted hashes.

The salt lies in the user's own folder, never in a cohort, so that a cohort that is passed on can't
be searched for a name. How a path tells a patient is in :mod:`medssl.cohort.naming`.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path, PurePosixPath

from medssl.cohort.naming import folder_name, is_patient_name, patient_name, session_name
from medssl.errors import OutputError
from medssl.io.atomic import write_text

__all__ = [
    "dicom_patient",
    "home",
    "is_patient_name",
    "patient_name",
    "pseudonym",
    "read_salt",
    "real_patient_id",
    "session_name",
]

_SALT_FILE = "salt"
_PLACEHOLDER = re.compile(
    r"(?:the)?(?:anon(?:ym(?:ous|i[sz]ed|i[sz]e|e)?)?|unknown|unnamed|none|na|null|nil|nan|empty"
    r"|deidentified|deident|removed|redacted|masked|hidden|confidential|private|default|undefined"
    r"|notavailable|notapplicable|noid|nopatientid|id|pid|x+|0*)(?:patient|subject|person|pat)?(?:id)?"
    r"|(?:patient|subject|pat)(?:id|name)?|test(?:patient)?|dummy|(?:no|without)name|0+"
)


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
        own = file.with_name(f".{_SALT_FILE}.{secrets.token_hex(4)}")
        write_text(own, secrets.token_hex(32) + "\n", mode=0o600)
        try:
            os.link(own, file)  # of several processes at once the first one's salt is that of all
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            own.replace(file)
        own.unlink(missing_ok=True)
    return bytes.fromhex(file.read_text(encoding="ascii").strip())


def pseudonym(salt: bytes, name: str) -> str:
    """Return 16 letters that stand for a name; empty for an empty name."""
    if not name:
        return ""
    return hmac.digest(salt, os.fsencode(name), "sha256").hex()[:16]


def real_patient_id(patient_id: str) -> str:
    """Return a PatientID, or nothing where it stands for no one: empty, ``ANON``, ``0``, ``N/A``.

    Anonymised exports give the same word to every patient; taken for an ID it would make all of
    them one.

    Example:
        >>> [real_patient_id(name) for name in (" 4711 ", "Anonymous", "000", "ANON-17")]
        ['4711', '', '', 'ANON-17']
    """
    word = re.sub(r"[\W_]+", "", patient_id).lower()
    return "" if _PLACEHOLDER.fullmatch(word) else patient_id.strip()


def dicom_patient(patient_id: str, path: PurePosixPath, study: str) -> str:
    """Say whose a DICOM series is: its PatientID, else its folder, else its study.

    File names do not count, as they number slices. A study belongs to one patient, but a patient
    may have several: a folder that names one comes first.

    Args:
        patient_id: The PatientID, or what stands for it, with placeholders already made empty by
            :func:`real_patient_id`.
        path: The folder of the series.
        study: The StudyInstanceUID, or what stands for it.
    """
    return patient_id or folder_name(path) or study or patient_name(path)
