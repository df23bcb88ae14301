"""Install, upgrade, remove, purge: each leaves what it should and nothing else."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.nodes import Node

BootNode = Callable[..., Node]

JOB = "/etc/outcomed/jobs.d/job.yaml"

# What any package changes, and what time changes.
NOT_OURS = (
    *("/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache", "/var/log", "/var/tmp"),
    *("/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd/catalog", "/var/lib/systemd/timers"),
)

# These are there after a purge and were not before: a user's id must not be given out again.
LEFT_BY_THE_USER = {
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/.pwd.lock",
}


def files(node: Node) -> set[str]:
    pruned = " -o ".join(f"-path {path}" for path in NOT_OURS)
    return set(node.run(rf"find / \( {pruned} \) -prune -o -print").stdout.splitlines())


def our_units(node: Node) -> list[str]:
    """Every unit of ours that systemd knows of, in whatever state.

    Until the purge Debian keeps the links of enabled units; what they name is then "not-found".
    """
    listed = node.systemctl("list-units", "--all", "--plain", "--no-legend", "outcome*").stdout
    return [name for name, load, *_ in map(str.split, listed.splitlines()) if load != "not-found"]


def open_incident(node: Node, job: str) -> None:
    node.write(f"/run/outcomed/bad/{job}", "")
    node.systemctl("start", f"outcome@{job}.service", check=False)
    assert node.show(f"outcome@{job}.service", "ActiveState")["ActiveState"] == "failed"


def newer(node: Node, deb: Path, version: str) -> str:
    """The same package under a later version; its path on the node."""
    node.run(
        "rm -rf /var/tmp/again && dpkg-deb -R /debs/outcomed_*.deb /var/tmp/again"
        f" && sed -i 's/^Version: .*/Version: {version}/' /var/tmp/again/DEBIAN/control"
        f" && dpkg-deb --root-owner-group -b /var/tmp/again /var/tmp/outcomed_{version}_all.deb"
    )
    return f"/var/tmp/outcomed_{version}_all.deb"


def test_it_runs_once_it_is_installed(boot: BootNode, deb: Path) -> None:
    node = boot()
    node.install(deb)
    for unit in ("outcomed.service", "outcomed-deliver.socket"):
        assert node.systemctl("is-active", unit, check=False).stdout == "active\n"
        assert node.systemctl("is-enabled", unit, check=False).stdout == "enabled\n"
    assert node.systemctl("--failed", "--no-legend").stdout == ""
    assert node.run(["outcomectl", "check-config"]).returncode == 0


def test_directories_have_the_owners_and_modes_that_the_processes_count_on(node: Node) -> None:
    listed = node.run(
        "stat -c '%n %U:%G %a' /run/outcomed /run/outcomed/bad /var/lib/outcomed"
        " /var/lib/outcomed/*/ /var/lib/outcomed/spool/*/"
    ).stdout
    assert dict(line.replace("/ ", " ").split(" ", 1) for line in listed.splitlines()) == {
        "/run/outcomed": "root:adm 755",
        "/run/outcomed/bad": "root:root 755",
        "/var/lib/outcomed": "root:adm 755",
        "/var/lib/outcomed/checks": "root:root 700",
        "/var/lib/outcomed/spool": "root:root 755",
        "/var/lib/outcomed/spool/done": "root:outcomed 2770",
        "/var/lib/outcomed/spool/failed": "root:outcomed 2770",
        "/var/lib/outcomed/spool/in": "root:root 700",
        "/var/lib/outcomed/spool/out": "root:outcomed 2770",
        "/var/lib/outcomed/spool/sinks": "root:outcomed 2750",
        "/var/lib/outcomed/state": "root:root 755",
    }
    ledger = "/var/lib/outcomed/ledger.db"
    assert node.run(["stat", "-c", "%U:%G %a", ledger]).stdout == "root:adm 640\n"


def test_an_emptied_state_directory_is_made_again_at_the_next_start(node: Node) -> None:
    node.systemctl("stop", "outcomed.service")
    node.run("rm -rf /var/lib/outcomed")
    node.systemctl("start", "outcomed.service")
    spool = node.run(["stat", "-c", "%U:%G %a", "/var/lib/outcomed/spool/out"]).stdout
    assert spool == "root:outcomed 2770\n"


def test_upgrade_restarts_the_daemon_and_leaves_the_rest_in_peace(
    boot: BootNode, deb: Path
) -> None:
    node = boot(deb=deb, binds={deb.parent: "/debs"})
    node.write(
        "/etc/systemd/system/outcomed-check@.service.d/x.conf",
        "[Service]\nExecStart=\nExecStart=/bin/sleep infinity\n",
    )
    node.write("/etc/outcomed/outcomed.yaml", "sinks: {}\n")
    node.systemctl("daemon-reload")
    node.systemctl("start", "--no-block", "outcomed-check@job.service")
    node.systemctl("stop", "outcomed-deliver.service")

    def pids() -> dict[str, str]:
        units = ("outcomed.service", "outcomed-check@job.service", "outcomed-deliver.service")
        return {unit: node.show(unit, "MainPID")["MainPID"] for unit in units}

    node.wait_for(lambda: pids()["outcomed-check@job.service"] != "0")
    before = pids()
    socket = node.show("outcomed-deliver.socket", "InvocationID")
    node.run(f"apt-get -qq -y install {newer(node, deb, '0.1.0+later')}", timeout=120)
    after = pids()
    assert after["outcomed.service"] not in ("0", before["outcomed.service"])
    assert after["outcomed-check@job.service"] == before["outcomed-check@job.service"]
    assert after["outcomed-deliver.service"] == "0", "what did not run was started"
    assert node.show("outcomed-deliver.socket", "InvocationID") == socket
    assert node.read("/etc/outcomed/outcomed.yaml") == "sinks: {}\n"


def test_upgrade_gives_new_code_to_a_delivery_process_that_runs(boot: BootNode, deb: Path) -> None:
    node = boot(deb=deb, binds={deb.parent: "/debs"})
    node.systemctl("start", "outcomed-deliver.service")
    before = node.show("outcomed-deliver.service", "MainPID")["MainPID"]
    node.run(f"apt-get -qq -y install {newer(node, deb, '0.1.0+later')}", timeout=120)
    shown = node.show("outcomed-deliver.service", "MainPID", "ActiveState")
    assert shown["ActiveState"] == "active"
    assert shown["MainPID"] != before


def test_removal_stops_everything_and_leaves_no_failed_unit(boot: BootNode, deb: Path) -> None:
    node = boot(deb=deb)
    open_incident(node, "job")
    node.run("apt-get -qq -y remove outcomed", timeout=120)
    assert our_units(node) == []
    assert node.systemctl("--failed", "--no-legend").stdout == ""
    assert not node.exists("/run/outcomed")


def test_removal_keeps_what_another_installation_wants_to_find(boot: BootNode, deb: Path) -> None:
    node = boot(deb=deb)
    node.write("/var/lib/outcomed/spool/out/mark.json", "{}")
    node.run("apt-get -qq -y remove outcomed", timeout=120)
    assert node.exists("/var/lib/outcomed/ledger.db")
    assert node.exists("/var/lib/outcomed/spool/out/mark.json")
    node.run("rm /var/lib/outcomed/spool/out/mark.json")
    node.install(deb)
    assert node.systemctl("is-active", "outcomed.service", check=False).stdout == "active\n"


def test_a_purge_leaves_nothing(boot: BootNode, deb: Path) -> None:
    node = boot()
    before = files(node)
    node.install(deb)
    open_incident(node, "job")
    node.run("apt-get -qq -y purge outcomed", timeout=120)
    assert files(node) - before - LEFT_BY_THE_USER == set()
    assert before - files(node) == set()
    assert our_units(node) == []
    assert node.run(["getent", "passwd", "outcomed"]).returncode == 0


def test_a_purge_leaves_the_files_that_an_administrator_made(boot: BootNode, deb: Path) -> None:
    node = boot(deb=deb)
    made = [JOB, "/etc/outcomed/outcomed.yaml", "/etc/credstore/outcomed.ops-url"]
    for path in made:
        node.write(path, "made by hand", 0o600)
    node.run("apt-get -qq -y purge outcomed", timeout=120)
    assert [path for path in made if not node.exists(path)] == []


def test_in_etc_there_is_nothing_but_what_an_administrator_puts_there(deb: Path) -> None:
    """Each file there would be a question at an upgrade, and an obsolete one at the next."""
    listed = subprocess.run(
        ["dpkg-deb", "--contents", deb], capture_output=True, text=True, check=True
    ).stdout
    paths = [line.split()[5] for line in listed.splitlines()]
    assert [path for path in paths if path.startswith("./etc/") and path[-1] != "/"] == []


def test_a_unit_that_still_names_the_removed_handler_runs_as_before(
    boot: BootNode, deb: Path
) -> None:
    node = boot(deb=deb)
    node.units(
        {
            "job.service": "[Unit]\nOnFailure=outcomed-alert@%n.service\n"
            "[Service]\nType=oneshot\nExecStart=/bin/true\n",
            "bad.service": "[Unit]\nOnFailure=outcomed-alert@%n.service\n"
            "[Service]\nType=oneshot\nExecStart=/bin/false\n",
        }
    )
    node.run("apt-get -qq -y purge outcomed", timeout=120)
    assert node.systemctl("start", "job.service", check=False).returncode == 0
    assert node.systemctl("start", "bad.service", check=False).returncode == 1
    failed = node.systemctl("--failed", "--plain", "--no-legend").stdout
    assert [line.split()[0] for line in failed.splitlines()] == ["bad.service"]
