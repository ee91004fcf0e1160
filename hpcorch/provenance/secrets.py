"""Recognising secrets by name or content: they are left out of snapshots, diffs and records."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase

from hpcorch import tunables

# Shell patterns of file names, compared in lower case.
SECRET_NAMES = (
    *(".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keytab", "*.kdbx", "*.gpg"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "credentials*", "client_secret*.json", "service-account*.json"),
    *(".netrc", "_netrc", ".pgpass", ".my.cnf", ".pypirc", ".npmrc", ".git-credentials", ".htpasswd"),
    *(".dockercfg", ".dockerconfigjson", "kubeconfig", ".s3cfg", ".boto"),
    *("secrets.y*ml", "secrets.json", "secrets.toml"),
)
_HARMLESS_ENDINGS = (".example", ".sample", ".template", ".dist")
# A module named credentials.py reads secrets, it is none; its content is looked at all the same.
_CODE = frozenset({".py", ".pyi", ".pyx", ".pxd", ".so"})

# A header within a string or a comment of code does not begin a line.
_KEY = rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*$"
_PRIVATE_KEY = re.compile(rb"^" + _KEY + rb"|\APuTTY-User-Key-File-", re.MULTILINE)
PRIVATE_KEY_IN_DIFF = re.compile(rb"^[ +-]" + _KEY, re.MULTILINE)

_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "CREDENTIAL", "AUTH", "JWT", "PASSPHRASE")
_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]*@")
# Of sbatch's --export, where a value in quotes may have commas (sbatch(1)).
_EXPORTED = re.compile(r"""([^,=]+)=('[^']*'|"[^"]*"|[^,]*)""")
_EXPORTS = ("SBATCH_EXPORT", "SLURM_EXPORT_ENV")
_MASK = "***"


def secret_by_name(path: str) -> bool:
    """Whether a file's name is one that secrets have."""
    name = path.rpartition("/")[2].lower()
    if name.endswith(_HARMLESS_ENDINGS) or os.path.splitext(name)[1] in _CODE:  # noqa: PTH122 - of every file
        return False
    return any(fnmatchcase(name, pattern) for pattern in SECRET_NAMES)


def secret_by_content(content: bytes) -> bool:
    """Whether a file's content is, or contains, a private key."""
    return (
        b"-----BEGIN " in content[: tunables.SECRET_SEARCH_BYTES]
        and _PRIVATE_KEY.search(content[: tunables.SECRET_SEARCH_BYTES]) is not None
    ) or (content.startswith(b"PuTTY-User-Key-File-"))


def secret_variable(name: str, value: str) -> bool:
    """Whether an environment variable looks like a secret: by its name, a password in a URL, or what it exports."""
    if name in _EXPORTS and exports_without_secrets(value) != value:
        return True
    return any(word in name.upper() for word in _SECRET_WORDS) or _PASSWORD_IN_URL.search(value) is not None


def exports_without_secrets(exports: str) -> str:
    """What ``--export`` of sbatch lists, with ``***`` for the values of variables that look like secrets."""

    def told(found: re.Match[str]) -> str:
        return f"{found[1]}={_MASK}" if secret_variable(found[1], found[2]) else found[0]

    return _EXPORTED.sub(told, exports)
