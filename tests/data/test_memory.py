"""Whether images are held in memory, and how much of it is free."""

import pytest

from rlfat_tf.data import memory

GIB = 2**30
VERSION_1 = ("limit_in_bytes", "usage_in_bytes", "stat")
VERSION_2 = ("max", "current", "stat")


def test_what_is_held_in_memory(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 4000)
    assert memory.holds("auto", 10, (10, 10, 1)) and not memory.holds("auto", 11, (10, 10, 1))
    assert memory.holds("always", 11, (10, 10, 1)) and not memory.holds("never", 1, (1, 1, 1))
    with pytest.raises(ValueError, match="Unknown value of memory: 'alway'. Did you mean 'always'"):
        memory.holds("alway", 1, (1, 1, 1))
    monkeypatch.undo()
    assert 2**20 < memory.available() < 2**50


def test_a_machine_with_much_memory(monkeypatch, tmp_path):
    """It holds more than 16 GiB if it is told to."""
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemAvailable: {64 * 2**20} kB\n")
    assert memory.available() == 64 * GIB
    image = (1024, 1024, 1)
    assert memory.holds("auto", 16 * 1024, image) and not memory.holds("auto", 17 * 1024, image)
    assert memory.holds("always", 60 * 1024, image)
    with pytest.raises(ValueError, match="take 65.0 GiB .* more than the 64 GiB that there are"):
        memory.holds("always", 65 * 1024, image)


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system with 20 GiB of free memory, and control groups as a test writes them."""
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemFree: 1 kB\nMemAvailable: {20 * 2**20} kB\n")
    return tmp_path


def group(system, folder, names, limit, used, files=0):
    """Writes the files of a group; its sizes are in GiB."""
    home = system / "sys/fs/cgroup" / folder
    home.mkdir(parents=True, exist_ok=True)
    stat = f"anon 7\ninactive_file {files * GIB}\ntotal_inactive_file {2 * files * GIB}\n"
    sizes = ("max" if limit is None else f"{limit * GIB}\n", f"{used * GIB}\n", stat)
    for name, content in zip(names, sizes):
        (home / f"memory.{name}").write_text(content)


def test_without_groups(system):
    assert memory.available() == 20 * GIB
    (system / "proc/self/cgroup").write_text("0::/a\n")
    assert memory.available() == 20 * GIB
    group(system, "a", VERSION_2, None, 3)
    assert memory.available() == 20 * GIB


@pytest.mark.parametrize("path", ["/", "/outside/of/it"])
def test_a_container_that_sees_its_own_group(system, path):
    (system / "proc/self/cgroup").write_text(f"0::{path}\n")
    group(system, "", VERSION_2, 6, 5, files=4)
    assert memory.available() == 5 * GIB, "copies of files are given up"


def test_the_least_of_a_group_and_those_above(system):
    (system / "proc/self/cgroup").write_text("0::/a/b\n")
    group(system, "a", VERSION_2, 9, 2)
    group(system, "a/b", VERSION_2, None, 2)
    assert memory.available() == 7 * GIB
    group(system, "a/b", VERSION_2, 4, 2)
    assert memory.available() == 2 * GIB


def test_groups_of_version_1(system):
    (system / "proc/self/cgroup").write_text("5:cpu:/a\n4:memory,hugetlb:/a\n0::/\n")
    group(system, "memory/a", VERSION_1, 8, 4, files=1)
    assert memory.available() == 6 * GIB
