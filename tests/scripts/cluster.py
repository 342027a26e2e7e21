"""A SLURM of one node in a folder of its own, started as the current user."""

import contextlib
import getpass
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping

# Debian puts the daemons where only root's PATH looks.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue")
# cred_expire: seconds that a requeued job waits before it starts again. Containers may have no cgroups.
_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


class Cluster:
    """Its commands; `environment` is what they and the daemons run in."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.environment = dict(os.environ, PATH=_PATH, SLURM_CONF=str(folder / "slurm.conf"))

    def __call__(self, *command: str, extra: Mapping[str, str] = {}) -> str:
        """What a command says; CalledProcessError where it fails."""
        environment = self.environment | extra
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """The fields of a job, as scontrol has them."""
        fields = self("scontrol", "--oneliner", "show", "job", number).split()
        return dict(field.split("=", 1) for field in fields if "=" in field)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def started(folder: pathlib.Path) -> Iterator[Cluster]:
    """A cluster whose node is idle; its daemons end with the block."""
    cluster = Cluster(folder)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    controller_port, node_port = _free_ports(2)
    host = socket.gethostname().split(".")[0]
    # Two tasks, however few processors there are.
    facts = {"host": host, "user": getpass.getuser(), "folder": folder, "cpus": max(2, os.cpu_count() or 2)}
    configuration = _CONFIGURATION.format(controller_port=controller_port, node_port=node_port, **facts)
    (folder / "slurm.conf").write_text(configuration)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    munge = ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket"]
    munge += [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
    with contextlib.ExitStack() as stack:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            log = stack.enter_context((folder / f"{command[0]}.out").open("w"))
            daemon = subprocess.Popen(command, env=cluster.environment, stdout=log, stderr=log)
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
            time.sleep(0.5)
        deadline = time.monotonic() + 60
        while "idle" not in cluster("sinfo", "--noheader", "--format=%t"):
            assert time.monotonic() < deadline, f"the node did not come up; see {folder}"
            time.sleep(0.5)
        yield cluster
