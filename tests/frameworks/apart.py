# SPDX-License-Identifier: Apache-2.0
"""Run a command in a network and with an /etc/hosts of its own, as root.

    unshare --mount --net PYTHON apart.py HOSTS COMMAND...

Tests that listen on a port of their choice then meet neither other programs nor
each other.
"""

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys

SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x41
# Below the ports 51080 and 58080 of websockets' proxies.
PORTS = "/proc/sys/net/ipv4/ip_local_port_range"


def main():
    hosts, *command = sys.argv[1:]
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    with socket.socket() as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS,
                    struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))
    # A container's may be read-only; the ports are then free most of the time.
    with contextlib.suppress(OSError), open(PORTS, "w") as file:
        file.write("32768 50999")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
