"""A real OpenSSH server on loopback with keys of its own, and a way to it that can be cut."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
KEYGEN = shutil.which("ssh-keygen")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """sshd without a daemon's rights; `config` is for ssh -F, with the alias "board"."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        for name in ("host", "user", "stranger"):
            subprocess.run(
                [str(KEYGEN), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
            )
        shutil.copy(folder / "user.pub", folder / "authorized")
        settings = {
            "Port": self.port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "authorized", "PidFile": folder / "pid",
            "StrictModes": "no", "UsePAM": "no", "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no", "MaxStartups": "100", "LogLevel": "VERBOSE",
        }  # fmt: skip
        (folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))
        if os.geteuid() == 0:  # only root's sshd separates privileges, and wants this folder
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        for _ in range(200):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                return
            time.sleep(0.05)
        raise RuntimeError((folder / "log").read_text())

    def config(self, *, port: int | None = None, key: str = "user", known: bool = True) -> Path:
        """An ssh_config that leads here; with a key that is refused, or a host that is unknown."""
        port = port or self.port
        hosts = self.folder / f"known-{port}-{known}"
        public = (self.folder / "host.pub").read_text().split()
        hosts.write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n" if known else "")
        path = self.folder / f"config-{port}-{key}-{known}"
        path.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.folder / key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {hosts}\n  GlobalKnownHostsFile /dev/null\n"
            "  StrictHostKeyChecking yes\n"
        )
        return path

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self._log.close()


class Cutter:
    """Passes connections on to a port and resets some of them at random moments, `cuts` in all."""

    def __init__(self, port: int, *, cuts: int, seed: int, longest_s: float = 0.9) -> None:
        self._to, self._left, self._longest_s = port, cuts, longest_s
        self.done = 0
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", self._to))
        ends = [
            threading.Thread(target=self._copy, args=pair, daemon=True)
            for pair in ((near, far), (far, near))
        ]
        with self._lock:
            doomed = self._left > 0 and self._random.random() < 0.8
            self._left -= doomed
            after_s = self._random.uniform(0.0, self._longest_s)
        for end in ends:
            end.start()
        if doomed:
            ends[1].join(after_s)
            with self._lock:
                if ends[1].is_alive():
                    self.done += 1
                    for side in (near, far):
                        side.setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                        )
                        with contextlib.suppress(OSError):
                            side.shutdown(socket.SHUT_RDWR)
                else:
                    self._left += 1  # it was over before; another one will do
        for end in ends:
            end.join()
        near.close()
        far.close()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()
