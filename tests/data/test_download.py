"""The way in for MVTec 3D-AD, against a small archive on loopback whose server misbehaves in known ways."""

import hashlib
import io
import random
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from threedzal.cli import main
from threedzal.data import download as download_module
from threedzal.data import mvtec_download
from threedzal.data.archive import unpack
from threedzal.data.download import download
from threedzal.data.index import list_classes
from threedzal.errors import UserError


def tar_of(*members: tuple[str, bytes], links: tuple[tuple[str, str], ...] = ()) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, goal in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, goal
            tar.addfile(info)
    return data.getvalue()


PIXELS = random.Random(0).randbytes(4000)
ARCHIVE = tar_of(("bagel/train/good/xyz/000.tiff", PIXELS), ("bagel/train/good/rgb/000.png", b"\x89PNG"))


class Server(ThreadingHTTPServer):
    """Serves `content`; cuts the first connections after `cuts` bytes each."""

    def __init__(self, content: bytes, *, cuts=(), ranges=True, etag='"1"', status=200) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cuts, self.ranges, self.etag, self.status = content, list(cuts), ranges, etag, status
        self.asked: list[str | None] = []  # the Range of each request
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.tar.xz"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range", server.etag) == server.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.content) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        self.wfile.write(server.content[start : start + server.cuts.pop(0)] if server.cuts else server.content[start:])

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def serve():
    servers = []

    def start(content: bytes = ARCHIVE, **options) -> Server:
        servers.append(Server(content, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(download_module.time, "sleep", lambda seconds: None)


def get(server: Server, target: Path, **options) -> Path:
    return download(server.url, target, pause=lambda seconds: None, **options)


def test_cut_connections_go_on_where_they_stopped(serve, tmp_path):
    server = serve(cuts=[300, 500])
    told = []
    path = get(server, tmp_path / "a.xz", progress=lambda done, total: told.append((done, total)))
    assert path.read_bytes() == ARCHIVE
    assert server.asked == [None, "bytes=300-", "bytes=800-"]
    assert told[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert [p.name for p in tmp_path.iterdir()] == ["a.xz"]


def test_a_later_call_goes_on_with_the_part_of_an_earlier_one(serve, tmp_path):
    server = serve(cuts=[400] + [0] * 5)
    with pytest.raises(UserError, match="5 times without a new byte; .* are kept, and the same command goes on"):
        get(server, tmp_path / "a.xz")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.xz.part", "a.xz.part.json"]
    server.cuts.clear()
    assert get(server, tmp_path / "a.xz").read_bytes() == ARCHIVE
    assert server.asked[-1] == "bytes=400-"


def test_a_file_that_has_changed_meanwhile_is_fetched_anew(serve, tmp_path):
    server = serve(cuts=[400] + [0] * 5)
    with pytest.raises(UserError):
        get(server, tmp_path / "a.xz")
    server.cuts, server.etag, server.content = [], '"2"', ARCHIVE[::-1]
    assert get(server, tmp_path / "a.xz").read_bytes() == ARCHIVE[::-1]


@pytest.mark.parametrize("options", [{"ranges": False}, {"etag": None}])
def test_a_server_without_ranges_or_tags_is_enough(options, serve, tmp_path):
    assert get(serve(cuts=[300], **options), tmp_path / "a.xz").read_bytes() == ARCHIVE


def test_an_address_that_is_gone_is_one_sentence(serve, tmp_path):
    with pytest.raises(UserError, match="answers 404 .*--url"):
        get(serve(status=404), tmp_path / "a.xz")
    with pytest.raises(UserError, match="refused.*without a new byte"):
        download("http://127.0.0.1:9/a", tmp_path / "a.xz", pause=lambda seconds: None)
    with pytest.raises(UserError, match="no address that can be downloaded"):
        download("file:///etc/passwd", tmp_path / "a.xz")


def test_a_disk_that_is_too_small_is_said_before_a_byte_is_written(serve, tmp_path):
    with pytest.raises(UserError, match="GiB are needed"):
        get(serve(), tmp_path / "a.xz", copies=1e15)
    assert not (tmp_path / "a.xz.part").exists()


def test_the_command_downloads_checks_and_unpacks(serve, tmp_path, capsys):
    args = ["data", "download", "mvtec3d", "--out", str(tmp_path / "set"), "--url", serve(cuts=[500]).url]
    assert main(args) == 2
    assert "CC BY-NC-SA" in capsys.readouterr().err and not list(tmp_path.iterdir())
    digest = hashlib.sha256(ARCHIVE).hexdigest()
    assert main([*args, "--accept-license", "--sha256", digest.upper()]) == 0
    assert (tmp_path / "set/bagel/train/good/xyz/000.tiff").read_bytes() == PIXELS
    assert [path.name for path in tmp_path.iterdir()] == ["set"]  # no archive, no part
    assert main([*args, "--accept-license"]) == 2
    assert "not empty" in capsys.readouterr().err


def test_the_data_set_lands_where_the_configs_look_for_it(serve, tmp_path, monkeypatch):
    config = yaml.safe_load((Path(__file__).parents[2] / "configs" / "3dzal.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert main(["data", "download", "mvtec3d", "--accept-license", "--url", serve().url]) == 0
    assert list_classes(config["data"]["root"])


def test_a_wrong_checksum_unpacks_nothing(serve, tmp_path, capsys):
    args = ["data", "download", "mvtec3d", "--out", str(tmp_path / "set"), "--accept-license", "--url", serve().url]
    assert main([*args, "--sha256", "0" * 64]) == 2
    error = capsys.readouterr().err
    assert hashlib.sha256(ARCHIVE).hexdigest() in error and "0" * 64 in error
    assert not list(tmp_path.iterdir())


def test_without_a_digest_the_one_that_came_is_printed_and_no_other_is_claimed(serve, tmp_path, capsys):
    args = ["data", "download", "mvtec3d", "--out", str(tmp_path / "set"), "--accept-license", "--url", serve().url]
    assert main(args) == 0
    said = capsys.readouterr().out
    assert hashlib.sha256(ARCHIVE).hexdigest() in said and "none to compare it with" in said


def test_the_makers_address_is_checked_against_the_known_digest(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(mvtec_download, "URL", serve().url)
    with pytest.raises(UserError, match=f"has md5 {hashlib.md5(ARCHIVE).hexdigest()}, but d8bb2800"):
        mvtec_download.fetch_mvtec3d(tmp_path / "set", accept_license=True)
    monkeypatch.setattr(mvtec_download, "MD5", hashlib.md5(ARCHIVE).hexdigest())
    assert mvtec_download.fetch_mvtec3d(tmp_path / "set", accept_license=True, keep_archive=True).is_dir()
    assert (tmp_path / ".set.set.tar.xz").read_bytes() == ARCHIVE


@pytest.mark.parametrize(
    "content",
    [
        tar_of(("good.txt", b"1"), ("../outside.txt", b"2")),
        tar_of(("good.txt", b"1"), links=(("link", "/etc"),)),
        tar_of(("good.txt", b"1"), links=(("link", "../.."),)),
    ],
)
def test_a_member_outside_the_folder_is_refused_and_nothing_stays(content, tmp_path):
    (tmp_path / "a.tar.xz").write_bytes(content)
    (tmp_path / "deep").mkdir()
    with pytest.raises(UserError, match="not safe"):
        unpack(tmp_path / "a.tar.xz", tmp_path / "deep" / "set")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.xz", "deep"]


@pytest.mark.parametrize("content", [ARCHIVE[: len(ARCHIVE) // 2], b"no archive", b""])
def test_a_damaged_archive_leaves_nothing(content, tmp_path):
    (tmp_path / "a.tar.xz").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        unpack(tmp_path / "a.tar.xz", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.xz"]


def test_a_folder_around_all_classes_is_left_out(tmp_path):
    (tmp_path / "a.tar.xz").write_bytes(tar_of(("set/bagel/a", b"1"), ("set/tire/b", b"2")))
    unpack(tmp_path / "a.tar.xz", tmp_path / "out", unwrap=lambda folder: folder.name == "set")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["bagel", "tire"]
