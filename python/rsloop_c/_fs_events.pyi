# SPDX-License-Identifier: Apache-2.0
import enum

class FileSystemEvent(enum.IntEnum):
    RENAME = 1
    CHANGE = 2
    RENAME_CHANGE = 3

class FileSystemWatch:
    def cancel(self) -> None: ...
    def cancelled(self) -> bool: ...
