#!/usr/bin/env python3
"""A full backup by Certadm.dll's functions, with nothing but Python's ctypes.

    backup.py LIBRARY SERVER DIR

LIBRARY is libcertadm.so (or certadm.dll on Windows), SERVER what docs/c-library.md
says of names, and DIR a new folder. The logs are kept: this calls everything of the
sixteen steps but CertSrvBackupTruncateLogs.
"""

import ctypes
import os
import sys

FULL = 1
BUFFER = 512 * 1024

DWORD = ctypes.c_uint32
HCSBC = ctypes.c_void_p


class Certadm:
    """The functions, with a failure as an exception."""

    def __init__(self, path):
        # On Windows the functions have WINAPI's calling convention.
        loader = ctypes.WinDLL if os.name == "nt" else ctypes.CDLL
        self.library = loader(path)
        name, size = ctypes.c_void_p, ctypes.POINTER(DWORD)
        lists = [HCSBC, ctypes.POINTER(ctypes.c_void_p), size]
        for function, arguments in {
            "CertSrvIsServerOnlineW": [name, ctypes.POINTER(ctypes.c_int)],
            "CertSrvBackupPrepareW": [name, DWORD, DWORD, ctypes.POINTER(HCSBC)],
            "CertSrvRestoreGetDatabaseLocationsW": lists,
            "CertSrvBackupGetDatabaseNamesW": lists,
            "CertSrvBackupOpenFileW": [HCSBC, name, DWORD, ctypes.POINTER(ctypes.c_int64)],
            "CertSrvBackupRead": [HCSBC, ctypes.c_void_p, DWORD, size],
            "CertSrvBackupClose": [HCSBC],
            "CertSrvBackupGetBackupLogsW": lists,
            "CertSrvBackupGetDynamicFileListW": lists,
            "CertSrvBackupEnd": [HCSBC],
        }.items():
            f = getattr(self.library, function)
            f.argtypes, f.restype = arguments, ctypes.c_int32
        self.library.CertSrvBackupFree.argtypes = [ctypes.c_void_p]
        self.library.CertSrvBackupFree.restype = None

    def call(self, function, *arguments):
        hr = getattr(self.library, function)(*arguments)
        if hr < 0:
            raise OSError(f"{function}: 0x{hr & 0xFFFFFFFF:08X}")

    def list(self, function, hbc):
        """A list's bytes, which are copied, and freed in the library."""
        p, size = ctypes.c_void_p(), DWORD()
        self.call(function, hbc, ctypes.byref(p), ctypes.byref(size))
        try:
            return ctypes.string_at(p, size.value)
        finally:
            self.library.CertSrvBackupFree(p)


def wide(text):
    """A WCHAR string: 16 bits a character on every system, unlike c_wchar_p's."""
    return ctypes.create_string_buffer(text.encode("utf-16-le") + b"\0\0")


def names(data):
    """The strings of a list."""
    return [s for s in data.decode("utf-16-le").split("\0") if s]


def copy(certadm, hbc, name, directory):
    size = ctypes.c_int64()
    certadm.call("CertSrvBackupOpenFileW", hbc, wide(name), BUFFER, ctypes.byref(size))
    buffer, read, total = ctypes.create_string_buffer(BUFFER), DWORD(), 0
    with open(os.path.join(directory, name.rpartition("\\")[2]), "xb") as f:
        while True:
            certadm.call("CertSrvBackupRead", hbc, buffer, BUFFER, ctypes.byref(read))
            f.write(memoryview(buffer)[: read.value])
            total += read.value
            if read.value < BUFFER:  # the end of the file
                break
        f.flush()
        os.fsync(f.fileno())
    certadm.call("CertSrvBackupClose", hbc)
    if total != size.value:
        raise OSError(f"{name}: {size.value} bytes were announced, {total} came")


def back_up(certadm, server, directory):
    online = ctypes.c_int()
    certadm.call("CertSrvIsServerOnlineW", wide(server), ctypes.byref(online))
    if not online.value:
        raise OSError(f"{server} is suspended")
    hbc = HCSBC()
    certadm.call("CertSrvBackupPrepareW", wide(server), 0, FULL, ctypes.byref(hbc))
    try:
        with open(os.path.join(directory, "certbkxp.dat"), "xb") as f:
            f.write(certadm.list("CertSrvRestoreGetDatabaseLocationsW", hbc))
        # The databases first, and the logs when they are copied. A tag of one
        # character stands before each name.
        files = 0
        for function in "CertSrvBackupGetDatabaseNamesW", "CertSrvBackupGetBackupLogsW":
            for tagged in names(certadm.list(function, hbc)):
                copy(certadm, hbc, tagged[1:], directory)
                files += 1
        dynamic = names(certadm.list("CertSrvBackupGetDynamicFileListW", hbc))
    except BaseException:
        certadm.library.CertSrvBackupEnd(hbc)
        raise
    certadm.call("CertSrvBackupEnd", hbc)  # its result counts: only now it is a backup
    return files, dynamic


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    certadm = Certadm(os.path.abspath(sys.argv[1]))
    directory = os.path.join(sys.argv[3], "DataBase")
    os.makedirs(directory, mode=0o700)
    try:
        files, dynamic = back_up(certadm, sys.argv[2], directory)
    except OSError as e:
        sys.exit(f"NOT a backup: {e}")
    for name in dynamic:
        print("to be copied by other means:", name)
    print(f"complete: {files} files")


if __name__ == "__main__":
    main()
