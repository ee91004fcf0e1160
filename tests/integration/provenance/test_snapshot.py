"""Code states as archives and on a node's disk: whatever is touched is found, whoever dies does no harm."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcorch.errors import DriftError, RecordError, UnavailableError
from hpcorch.journal.archives import ArchiveReader, ArchiveWriter, is_sound, open_archive, problem, store
from hpcorch.journal.layout import STATE_DIR
from hpcorch.journal.snapshots import (
    Entry,
    Kind,
    decode_listing,
    encode_listing,
    file_entry,
    link_entry,
    listing_digest,
    stays_inside,
    to_bytes,
    to_text,
)
from hpcorch.provenance.code.extraction import verify
from hpcorch.provenance.code.freeze import FrozenCode, freeze
from hpcorch.provenance.code.import_paths import (
    Move,
    editable_installs,
    imported_from,
    module_files,
)
from hpcorch.provenance.code.signature import files
from hpcorch.provenance.code.sources import Project, collect
from hpcorch.provenance.code.unpacking import UnpackedCode, folder_beside, remove_unused, unpack
from tests.support import processes

HOSTILE = [
    b"a b",
    b"new\nline",
    b"tab\t",
    b"\xff\xfe",
    b"-rf",
    b"quote'\"",
    "\u00e9\u4e2d".encode(),
    b"x" * 200,
    b" ",
    b"~",
]


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "project"
    (folder / "pkg").mkdir(parents=True)
    (folder / "train.py").write_text("import pkg\n")
    (folder / "pkg/__init__.py").write_text("value = 1\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "same.py").symlink_to("train.py")
    return folder


def frozen(root: Path) -> FrozenCode:
    return freeze(collect(Project(root=root), modules={}), state=root / STATE_DIR)


def unpacked(code: FrozenCode, base: Path) -> UnpackedCode:
    found = unpack(code.archive, code.digest, base)
    found.release()
    return found


def touch(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


# --- archives ---


def test_the_digest_depends_on_contents_alone(root, tmp_path):
    first = frozen(root)
    os.utime(root / "train.py", (1, 1))
    (root / "train.py").chmod(0o640)
    other = tmp_path / "elsewhere"
    subprocess.run(["cp", "-a", root, other], check=True)
    assert frozen(root).digest == frozen(other).digest == first.digest
    (root / "train.py").chmod(0o755)
    assert frozen(root).digest != first.digest


def test_an_archive_is_written_once_and_only_for_the_owner(root):
    first, second = frozen(root), frozen(root)
    assert (first.written, second.written) == (True, False)
    assert first.archive.stat().st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in first.archive.parents[:2]} == {0o700}
    assert [path.name for path in first.archive.parent.iterdir()] == [first.digest]
    assert (first.files, first.size) == (4, len("import pkg\n" + "value = 1\n" + "#!/bin/sh\n"))


def test_what_did_not_change_is_not_read_again(root, monkeypatch, tune):
    tune(FILE_CLOCK_NS=-60 * 10**9)
    first = frozen(root)
    monkeypatch.setattr("hpcorch.provenance.code.freeze._read", None)
    assert frozen(root).digest == first.digest


def test_going_back_to_an_earlier_state_writes_no_archive(root):
    for number in range(40):
        (root / f"m{number}.py").write_text(str(number))
    before = frozen(root)
    (root / "m7.py").write_text("edited")
    edited = frozen(root)
    (root / "m7.py").write_text("7")
    again = frozen(root)
    assert edited.digest != before.digest == again.digest
    assert (before.written, edited.written, again.written) == (True, True, False)
    assert before.files == again.files == 44


def test_a_damaged_archive_is_written_again(root, tune):
    tune(FILE_CLOCK_NS=-60 * 10**9)
    first = frozen(root)
    first.archive.write_bytes(first.archive.read_bytes()[:-1])
    assert not is_sound(first.archive, first.digest)
    frozen(root)
    assert is_sound(first.archive, first.digest)


def test_common_tools_read_an_archive(root, tmp_path):
    code = frozen(root)
    subprocess.run(["gzip", "-t"], input=code.archive.read_bytes(), check=True)
    listing = subprocess.run(
        ["tar", "-xOzf", code.archive, ".hpcorch-snapshot"], check=True, capture_output=True
    ).stdout
    assert hashlib.sha256(listing).hexdigest() == code.digest
    target = tmp_path / "by-tar"
    target.mkdir()
    done = subprocess.run(["tar", "-xf", code.archive, "-C", target], check=True, capture_output=True)
    assert done.stderr == b""
    assert (target / "pkg/__init__.py").read_text() == "value = 1\n"
    assert os.access(target / "run.sh", os.X_OK)
    assert (target / "same.py").readlink() == Path("train.py")


def test_file_names_of_all_kinds_survive(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    for name in HOSTILE:
        (root / os.fsdecode(name)).write_bytes(name)
    code = frozen(root)
    assert code.files == len(HOSTILE)
    tree = unpacked(code, tmp_path / "base").tree
    assert files(tree).keys() == set(HOSTILE)
    assert verify(tmp_path / "base", code.digest) == []
    names = subprocess.run(
        ["tar", "-tzf", code.archive, "--null", "--quoting-style=literal"], capture_output=True
    ).stdout
    assert all(name in names for name in HOSTILE)


def test_any_byte_of_an_archive_that_changes_is_found(root, tmp_path):
    code = frozen(root)
    whole = code.archive.read_bytes()
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 1 << (position % 8)
        with pytest.raises(DriftError):
            list(ArchiveReader(bytes(broken), code.digest).contents())
    for length in (0, 1, 48, len(whole) // 2, len(whole) - 1):
        with pytest.raises(DriftError):
            list(ArchiveReader(whole[:length], code.digest).contents())
    with pytest.raises(DriftError):
        list(ArchiveReader(whole + b"\0", code.digest).contents())


def test_a_forger_who_keeps_the_listing_and_mends_the_checksum_is_found(root):
    code = frozen(root)
    whole = code.archive.read_bytes()
    assert problem(code.archive, code.digest) is None
    plain = gzip.decompress(whole)
    forged = plain.replace(b"value = 1", b"value = 2")
    assert forged != plain
    body = gzip.compress(forged)[10:]
    code.archive.write_bytes(whole[:16] + hashlib.sha256(body).digest() + body)
    assert is_sound(code.archive, code.digest)
    assert "pkg/__init__.py was" in (problem(code.archive, code.digest) or "")
    code.archive.unlink()
    assert "is missing" in (problem(code.archive, code.digest) or "")


def test_an_archive_that_was_made_for_other_contents_is_refused(root, tmp_path):
    writer = ArchiveWriter()
    writer.add(file_entry("train.py", b"forged", executable=False), b"forged")
    digest, content = writer.finish()
    code = frozen(root)
    code.archive.write_bytes(content)
    with pytest.raises(DriftError, match=digest):
        unpack(code.archive, code.digest, tmp_path / "base")
    code.archive.unlink()
    with pytest.raises(RecordError, match="is missing"):
        unpack(code.archive, code.digest, tmp_path / "base")


def _forged(*entries: Entry) -> bytes:
    return encode_listing(entries)


def _file(path: str) -> Entry:
    return Entry(path=path, kind=Kind.FILE, size=0, digest=hashlib.sha256().hexdigest())


@pytest.mark.parametrize(
    "listing",
    [
        _forged(_file("../a")),
        _forged(_file("/etc/passwd")),
        _forged(_file("a/../../b")),
        _forged(_file("a//b")),
        _forged(_file("")),
        _forged(_file("a"), _file("a")),
        _forged(_file("a"), _file("a/b")),
        _forged(link_entry("a", "/tmp"), _file("a/b")),
        _forged(link_entry("a", "../x")),
        _forged(link_entry("a", "")),
        _forged(_file("a"))[:-3] + b"\0",
        b"something else",
    ],
)
def test_a_listing_that_leads_outside_is_refused(listing):
    with pytest.raises(RecordError):
        decode_listing(listing)


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        ("a/b", "../c", True),
        ("a/b", "../../c", False),
        ("a", ".", True),
        ("a/b/c", "../../d/../e", True),
        ("a", "/x", False),
    ],
)
def test_links_stay_inside_by_their_names(path, target, inside):
    assert stays_inside(path, target) is inside


_NAMES = st.lists(
    st.binary(min_size=1, max_size=9).filter(lambda name: not {0, 47} & set(name)), max_size=8, unique=True
)


@given(names=_NAMES, content=st.binary(max_size=600))
@settings(max_examples=60)
def test_what_is_packed_comes_out(names, content):
    names = sorted(name for name in names if name not in (b".", b".."))
    writer = ArchiveWriter()
    for number, name in enumerate(names):
        data = content * number
        writer.add(file_entry(to_text(name), data, executable=number % 2 == 0), data)
    digest, packed = writer.finish()
    reader = ArchiveReader(packed, digest)
    assert listing_digest(reader.listing) == digest
    found = [(to_bytes(entry.path), entry.kind, data) for entry, data in reader.contents()]
    kinds = (Kind.EXECUTABLE, Kind.FILE)
    assert found == [(name, kinds[number % 2], content * number) for number, name in enumerate(names)]


def test_two_who_store_the_same_code_do_no_harm(root, tmp_path):
    code = frozen(root)
    content = code.archive.read_bytes()
    program = (
        "import sys; from pathlib import Path; from hpcorch.journal.archives import store;"
        "content = Path(sys.argv[1]).read_bytes();"
        "[store(Path(sys.argv[2]) / str(n), sys.argv[3], content) for n in range(20)]"
    )
    argv = [sys.executable, "-c", program, code.archive, tmp_path / "s", code.digest]
    both = [processes.start(argv) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    for number in range(20):
        folder = tmp_path / "s" / str(number)
        assert [path.name for path in folder.iterdir()] == [code.digest]
        assert is_sound(folder / code.digest, code.digest)
    assert store(tmp_path / "s/0", code.digest, content).read_bytes() == content


# --- on a node ---


def test_the_unpacked_code_is_read_only_and_used_again(root, tmp_path):
    code = frozen(root)
    base = tmp_path / "base"
    first = unpacked(code, base)
    code.archive.unlink()
    again = unpacked(code, base)
    assert again.tree == first.tree
    assert (first.tree / "train.py").read_text() == "import pkg\n"
    assert (first.tree / "train.py").stat().st_mode & 0o777 == 0o400
    assert (first.tree / "run.sh").stat().st_mode & 0o777 == 0o500
    assert {path.stat().st_mode & 0o777 for path in (first.tree, first.tree / "pkg")} == {0o500}
    assert base.stat().st_mode & 0o777 == 0o700


def test_any_byte_of_an_unpacked_file_that_changes_is_found_and_mended(root, tmp_path):
    code = frozen(root)
    base = tmp_path / "base"
    tree = unpacked(code, base).tree
    for path in (tree / "train.py", tree / "pkg/__init__.py", tree / "run.sh"):
        good = path.read_bytes()
        for position in range(len(good)):
            broken = bytearray(good)
            broken[position] ^= 1 << (position % 8)
            touch(path, bytes(broken))
            os.utime(path, ns=(1, 1))
            assert any(path.name in sentence for sentence in verify(base, code.digest))
        assert any(path.name in sentence for sentence in unpacked(code, base).repaired)
        assert path.read_bytes() == good
        assert verify(base, code.digest) == []


@pytest.mark.parametrize("harm", ["remove", "add", "link", "mode", "retarget", "listing", "signature"])
def test_any_other_change_of_the_unpacked_code_is_found_and_mended(root, tmp_path, harm):
    code = frozen(root)
    base = tmp_path / "base"
    tree = unpacked(code, base).tree
    tree.chmod(0o700)
    match harm:
        case "remove":
            (tree / "train.py").unlink()
        case "add":
            (tree / "json.py").write_text("")
        case "link":
            (tree / "train.py").unlink()
            (tree / "train.py").symlink_to(root / "train.py")
        case "mode":
            (tree / "train.py").chmod(0o700)
        case "retarget":
            (tree / "same.py").unlink()
            (tree / "same.py").symlink_to("/etc/hostname")
        case "listing":
            touch(tree.parent / "listing", b"x")
            (tree / "train.py").chmod(0o600)
        case "signature":
            touch(tree.parent / "signature", b"{}")
    found = unpacked(code, base)
    assert (len(found.repaired) > 0) is (harm != "signature")
    assert verify(base, code.digest) == []
    assert unpacked(code, base).repaired == ()


def test_bytecode_that_an_interpreter_leaves_is_no_change(root, tmp_path):
    code = frozen(root)
    tree = unpacked(code, tmp_path / "base").tree
    tree.chmod(0o700)
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__/train.cpython-311.pyc").write_bytes(b"")
    assert unpacked(code, tmp_path / "base").repaired == ()


UNPACK = """
import sys
from pathlib import Path
from hpcorch.provenance.code.unpacking import unpack
archive, digest, base = sys.argv[1:]
print(unpack(Path(archive), digest, Path(base)).tree, flush=True)
sys.stdin.read()
"""


def start(code: FrozenCode, base: Path) -> processes.Program:
    argv = [sys.executable, "-c", UNPACK, str(code.archive), code.digest, str(base)]
    return processes.start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_many_tasks_at_once_unpack_once(root, tmp_path):
    code = frozen(root)
    base = tmp_path / "base"
    tasks = [start(code, base) for _ in range(4)]
    trees = {task.communicate(timeout=120)[0].strip() for task in tasks}
    assert trees == {str(base / code.digest / "tree")}
    assert verify(base, code.digest) == []
    assert not list(base.glob(".*"))


STOPPED = """
import sys, time
from pathlib import Path
from hpcorch.provenance.code import extraction, unpacking
name, count, archive, digest, base = sys.argv[1:]
real, left = getattr(extraction, name), int(count)
def stop(*arguments):
    global left
    left -= 1
    if left < 0:
        print("stopped", flush=True)
        time.sleep(300)
    return real(*arguments)
setattr(extraction, name, stop)
unpacking.unpack(Path(archive), digest, Path(base))
"""


@pytest.mark.parametrize(
    ("function", "count"),
    [("open_archive", 0), ("write_entry", 0), ("write_entry", 3), ("close_folders", 0), ("_sign", 0), ("_put", 0)],
)
def test_a_task_that_is_killed_while_it_unpacks_leaves_nothing_that_others_trust(root, tmp_path, function, count):
    code = frozen(root)
    base = tmp_path / "base"
    argv = [sys.executable, "-c", STOPPED, function, str(count), str(code.archive), code.digest, str(base)]
    task = processes.start(argv, stdout=subprocess.PIPE, text=True)
    assert task.stdout is not None
    assert task.stdout.readline() == "stopped\n"
    task.send_signal(signal.SIGKILL)
    task.communicate()
    assert not (base / code.digest).exists()
    assert unpacked(code, base).repaired == ()
    assert verify(base, code.digest) == []
    assert not list(base.glob(".*"))


def test_tasks_that_are_killed_at_any_time_leave_a_sound_code_state(root, tmp_path):
    for number in range(100):
        (root / f"m{number}.py").write_text(f"x = {number}\n" * 100)
    code = frozen(root)
    base = tmp_path / "base"
    for delay in (0.0, 0.01, 0.03):
        task = start(code, base)
        deadline = time.monotonic() + 60
        while not base.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
        task.send_signal(signal.SIGKILL)
        task.communicate()
        assert unpacked(code, base).repaired == ()
        assert verify(base, code.digest) == []
        assert remove_unused(base, days=-1) == [code.digest]
        assert list(base.iterdir()) == []
        base.rmdir()


def test_unused_code_is_removed_and_used_code_is_not(root, tmp_path):
    code = frozen(root)
    base = tmp_path / "base"
    using = unpack(code.archive, code.digest, base)
    assert remove_unused(base, days=1) == []
    os.utime(base / f"{code.digest}.use", (1, 1))
    assert remove_unused(base, days=1) == []
    using.release()
    assert remove_unused(base, days=1) == [code.digest]
    assert list(base.iterdir()) == []
    assert remove_unused(tmp_path / "nowhere", days=1) == []


def test_where_somebody_else_has_taken_the_name_of_the_folder_one_beside_it_is_made_once(tmp_path):
    (tmp_path / "own").mkdir(mode=0o700)
    assert folder_beside(tmp_path / "own") is None
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for name in ("file", "link", "open"):
        (tmp_path / f"{name}.theirs").symlink_to(tmp_path / "own")
        made = folder_beside(tmp_path / name)
        assert made.is_relative_to(tmp_path), "a link is not followed"
        assert (made.lstat().st_mode & 0o777, made.is_symlink()) == (0o700, False)
        assert folder_beside(tmp_path / name) == made
    assert folder_beside(tmp_path / "nowhere" / "x") is None


def test_a_folder_that_others_could_change_is_not_used(root, tmp_path):
    code = frozen(root)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for base in (tmp_path / "open", tmp_path / "link"):
        with pytest.raises(UnavailableError, match="others could change it"):
            unpack(code.archive, code.digest, base)
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError):
        unpack(code.archive, code.digest, tmp_path / "file/base")
    with pytest.raises(RecordError):
        unpack(code.archive, "../x", tmp_path / "base")


def test_a_file_that_is_written_to_all_the_time_is_archived_as_it_was_read(root, tmp_path):
    program = "import sys\nwhile True:\n    open(sys.argv[1], 'a').write('x')"
    writing = processes.start([sys.executable, "-c", program, root / "busy.txt"])
    try:
        while not (root / "busy.txt").exists():
            time.sleep(0.01)
        codes = [frozen(root) for _ in range(5)]
    finally:
        writing.kill()
        writing.wait()
    for code in codes:
        entries = {
            entry.path: (entry, content) for entry, content in open_archive(code.archive, code.digest).contents()
        }
        entry, content = entries["busy.txt"]
        assert hashlib.sha256(content).hexdigest() == entry.digest


# --- imports ---


def test_imports_come_from_the_snapshot_and_the_rest_stays(root, tmp_path):
    tree = tmp_path / "tree"
    move = Move(root=root, tree=tree, kept=(root / ".venv",))
    (tmp_path / "alias").symlink_to(root)
    entries = [
        *(str(root), str(root / "src"), str(tmp_path / "alias/src"), "", "src", f"{root}2"),
        *(str(root / ".venv/lib/python3.11/site-packages"), str(root / "env/site-packages"), "/usr/lib/python3"),
    ]
    assert [move(entry, cwd=root) for entry in entries] == [
        *(str(tree), str(tree / "src"), str(tree / "src"), str(tree), str(tree / "src")),
        *entries[5:],
    ]
    assert move("", cwd=tmp_path) == ""


def test_an_environment_within_the_project_is_not_looked_for_in_the_snapshot(tmp_path):
    prefix = Path(sys.prefix).resolve()
    move = Move.of(prefix.parent, tmp_path)
    assert prefix in move.kept
    assert move(f"{prefix}/lib/python", cwd=tmp_path) == f"{prefix}/lib/python"


def test_an_import_that_falls_through_to_the_live_tree_is_seen(root):
    program = "import sys, json; from hpcorch.provenance.code.import_paths import imported_from, module_files"
    program += "; import pkg; from pathlib import Path"
    program += "; print(json.dumps(imported_from(Path(sys.argv[1]), module_files(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", program, root], cwd=root, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"pkg": str(root / "pkg/__init__.py")}
    assert imported_from(root, module_files(sys.modules)) == {}


def test_finders_of_editable_installs_are_noted(root):
    module = type(sys)("__editable___pkg_1_0_finder")
    module.MAPPING = {"pkg": str(root / "pkg"), "other": "/srv/other"}
    finder = type("_EditableFinder", (), {"__module__": module.__name__})
    (found,) = editable_installs([finder, finder], {module.__name__: module})
    assert (found.finder, found.packages) == (module.__name__, module.MAPPING)
