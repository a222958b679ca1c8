"""Errors that a person can act on.

    EarwitnessError
    ├── BadInput          foreign bytes are not what they claim to be (file, position, expected)
    ├── BadStudy          study.yaml is wrong (yaml path, reason, nearest valid value)
    ├── MissingTool       a program is not installed (name, the command that installs it)
    ├── StudyLocked       another process is working on this study
    └── TamperedEvidence  stored bytes no longer match their hash

Each renders as one line that ends in the mend. `exit_code` is what the command line returns.
"""


class EarwitnessError(Exception):
    """Anything that a user can mend; printed as one line, never as a traceback."""

    exit_code = 2


class BadInput(EarwitnessError):
    """A file is not what it claims to be.

    `file` is its name, `position` where (for example ``byte 24`` or ``line 3``), `expected` what should be there.
    """

    def __init__(self, file: str, position: str, expected: str) -> None:
        self.file, self.position, self.expected = file, position, expected
        super().__init__(f"{file}: {position}: expected {expected}")


class BadStudy(EarwitnessError):
    """study.yaml cannot be run; `path` is the yaml path, `nearest` the closest valid value if any."""

    def __init__(self, path: str, reason: str, nearest: str | None = None) -> None:
        self.path, self.reason, self.nearest = path, reason, nearest
        hint = f" (did you mean {nearest!r}?)" if nearest else ""
        super().__init__(f"study.yaml: {path}: {reason}{hint}")


class MissingTool(EarwitnessError):
    """A program that is needed is not installed; `install` is the command that mends it."""

    exit_code = 3

    def __init__(self, name: str, install: str) -> None:
        self.name, self.install = name, install
        super().__init__(f"{name} is not installed; run: {install}")


class StudyLocked(EarwitnessError):
    """Another process holds the study's lock."""

    def __init__(self, directory: str) -> None:
        super().__init__(f"{directory}: another earwitness process is working on it; wait for it to end")


class TamperedEvidence(EarwitnessError):
    """Stored bytes differ from what the ledger recorded."""

    exit_code = 1

    def __init__(self, what: str, detail: str) -> None:
        self.what, self.detail = what, detail
        super().__init__(f"{what}: {detail}; restore it from a backup: its rows can no longer be trusted")
