"""A Ray head of one's own on this machine, which leaves nothing behind.

    with LocalCluster() as cluster:
        code = submit(cluster, ["python", "driver.py"], working_dir=Path("."))

A supervisor process (this file with `--supervise`) is a Linux "child subreaper": every process that Ray starts, also
one that was orphaned or left its process group, stays its descendant. It ends exactly its descendants when it gets
SIGTERM, when the head ends, or when the pipe from its parent closes, so also after a kill -9 of the parent.
"""

import contextlib
import ctypes
import json
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_LEFT_BEHIND = 70
_START_SECONDS = 90.0
_NO_AGENT = "No available agent to submit job"
_OBJECT_STORE_BYTES = 512 * 2**20
# What the `ray job submit` command says about itself, next to the log of the job.
_CLI = r"^\d{4}-\d\d-\d\d [\d:,]+\s+"
_CHATTER = re.compile(
    _CLI + r"(INFO|SUCC|WARNING) (cli|sdk|dashboard_sdk|job_manager|working_dir|packaging)\.py|Running entrypoint for"
)
# From here on it repeats the end of the log.
_FAILED = re.compile(_CLI + r"ERR cli\.py")


class LocalCluster:
    """A context: inside it a Ray head with its dashboard runs on free ports of 127.0.0.1, guarded by a token."""

    def __init__(self, cpus: int | None = None, environment: dict[str, str] | None = None):
        """`cpus` that Ray may hand out (default: those of the machine, at least 2); `environment` for the head."""
        self.cpus = cpus or max(2, os.cpu_count() or 1)
        self.environment: dict[str, str] = {}
        self.address = ""
        self.dashboard = ""
        self._given_environment = environment or {}
        self._token = ""
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "LocalCluster":
        self._take_signals()
        try:
            for attempt in range(3):  # another program may take a port between the choice and its use
                try:
                    self._start()
                    return self
                except RuntimeError:
                    self._stop()
                    if attempt == 2:
                        raise
            raise AssertionError
        except BaseException:
            self._stop()
            self._give_back_signals()
            raise

    def __exit__(self, *_: object) -> None:
        for number in self._handlers:  # a second Ctrl-C must not break the stop, which has its own time limit
            signal.signal(number, signal.SIG_IGN)
        try:
            self._stop()
        finally:
            self._give_back_signals()

    def request(self, path: str, method: str = "GET") -> Any:
        """The JSON answer of the dashboard."""
        headers = {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(self.dashboard + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=5) as reply:
            return json.loads(reply.read())

    def _take_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # the pipe to the supervisor still ends the head with this process

        def leave(number: int, _frame: object) -> None:
            raise SystemExit(128 + number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, leave)

    def _give_back_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _start(self) -> None:
        # A short path: Ray's unix sockets live below it and may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="cfray-", dir="/tmp"))
        port, dashboard_port, agent_port, client_port = free_ports(4)
        self._token = secrets.token_hex(32)
        token = self._folder / "token"
        token.touch(mode=0o600)
        token.write_text(self._token)
        self.environment = _environment(self._folder, token) | self._given_environment
        self.address, self.dashboard = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}"
        head = f"""start --head --block --disable-usage-stats --log-style=record --log-color=false
            --node-ip-address=127.0.0.1 --port={port} --ray-client-server-port={client_port}
            --include-dashboard=true --dashboard-host=127.0.0.1 --dashboard-port={dashboard_port}
            --dashboard-agent-listen-port={agent_port} --num-cpus={self.cpus}
            --object-store-memory={_OBJECT_STORE_BYTES} --temp-dir={self._folder}""".split()
        with (self._folder / "head.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), "--supervise", *_RAY, *head],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"the Ray head ended at once:\n{self._log_tail()}")
            with contextlib.suppress(OSError, ValueError):
                self.request("/api/version")
                self.request("/api/jobs/")  # answers only when jobs can be submitted
                return
            time.sleep(0.1)
        raise RuntimeError(f"the Ray dashboard did not answer in {_START_SECONDS:.0f} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return (self._folder / "head.log").read_text(errors="replace")[-3000:] if self._folder else ""

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()  # the supervisor takes this as "stop"
            try:
                if process.wait(timeout=30) == _LEFT_BEHIND:
                    print("warning: some Ray processes could not be stopped", file=sys.stderr)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None


def submit(
    cluster: LocalCluster,
    entrypoint: Sequence[str],
    *,
    working_dir: Path,
    env_vars: dict[str, str] | None = None,
    excludes: Sequence[str] = (),
    stop_grace: float = 10.0,
) -> int:
    """`ray job submit`: streams the job's log to stdout and returns the exit code of its driver.

    On Ctrl-C or SIGTERM the job is asked to stop and gets `stop_grace` seconds to end by itself.
    """
    job = f"cryofound-{secrets.token_hex(6)}"
    # Ray Train asks for the state of actors without an address, and would fail where another Ray runs beside this one
    known = {"RAY_API_SERVER_ADDRESS": cluster.dashboard}
    runtime = {"env_vars": known | (env_vars or {}), "excludes": list(excludes)}
    command = [*_RAY, "job", "submit", f"--address={cluster.dashboard}", f"--submission-id={job}"]
    command += [f"--working-dir={working_dir}", f"--runtime-env-json={json.dumps(runtime)}"]
    command += ["--log-style=record", "--log-color=false", "--", *entrypoint]
    end = time.monotonic() + _START_SECONDS
    code = _stream(cluster, command, job, stop_grace)
    while code is None and time.monotonic() < end:
        time.sleep(1.0)
        code = _stream(cluster, command, job, stop_grace)
    details: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        details = cluster.request(f"/api/jobs/{job}")
    if details.get("status") == "SUCCEEDED":
        return 0
    driver = details.get("driver_exit_code")
    if driver is None or driver == 0:
        return code or 1
    return driver if driver > 0 else 128 - driver


def _stream(cluster: LocalCluster, command: Sequence[str], job: str, stop_grace: float) -> int | None:
    """Run the command and print what the job says; its exit code, or None if no agent of Ray's took the job yet.

    On a busy machine the dashboard answers before the agent is there.
    """
    held: list[str] = []  # a traceback before any word of the job
    spoken = failed = False
    with subprocess.Popen(
        command,
        env=cluster.environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as cli:
        assert cli.stdout is not None
        try:
            for line in cli.stdout:
                failed = failed or bool(_FAILED.match(line))
                if failed or _CHATTER.match(line):
                    continue
                if not spoken and (held or line.startswith("Traceback")):
                    held.append(line)
                else:
                    spoken = True
                    print(line, end="", flush=True)
            code = cli.wait()
        except BaseException:
            with contextlib.suppress(OSError, ValueError):
                cluster.request(f"/api/jobs/{job}/stop", "POST")
                end = time.monotonic() + stop_grace
                while time.monotonic() < end and cluster.request(f"/api/jobs/{job}")["status"] in (
                    "PENDING",
                    "RUNNING",
                ):
                    time.sleep(0.2)
            cli.terminate()
            raise
    if code and any(_NO_AGENT in line for line in held):
        return None
    print("".join(held), end="", flush=True)
    return code


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now; all are held until all are found, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]


_RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def _environment(folder: Path, token: Path) -> dict[str, str]:
    """What the head and its jobs see: nothing of another cluster that the shell may point to."""
    foreign = ("RAY_ADDRESS", "RAY_AUTH", "RAY_API_SERVER", "RAY_JOB_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return inherited | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(folder),  # or `ray_current_cluster` is written to /tmp/ray
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_COLOR_PREFIX": "0",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # they are redrawn lines, which a streamed log cannot show
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _supervise(command: list[str], grace: float = 3.0) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    stop = threading.Event()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    head = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while not stop.is_set() and head.poll() is None:
        ready, _, _ = select.select([0, wake_read], [], [], 0.5)
        if 0 in ready and not os.read(0, 1):  # the parent closed the pipe, or is gone
            break
    code = head.poll()
    return _LEFT_BEHIND if _end_descendants(grace) else (code or 0)


def _end_descendants(grace: float) -> int:
    """SIGTERM, after `grace` seconds SIGKILL, to all descendants until there is none; how many were left."""
    me = psutil.Process()
    deadline = time.monotonic() + grace
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.terminate()
    while time.monotonic() < deadline + 10:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # the subreaper has to reap the orphans
                pass
        alive = me.children(recursive=True)
        if not alive:
            return 0
        if time.monotonic() > deadline:
            for process in alive:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        time.sleep(0.05)
    return len(me.children(recursive=True))


if __name__ == "__main__":
    assert sys.argv[1] == "--supervise"
    raise SystemExit(_supervise(sys.argv[2:]))
