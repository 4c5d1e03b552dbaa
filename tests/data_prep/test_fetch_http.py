"""Files over HTTP, from a server that breaks in every way."""

import email.utils
import hashlib
import os
import time

import http_folder
import numpy as np
import pytest

from data_prep.fetch import hosts as hosts_lib
from data_prep.fetch.cache import Cache
from data_prep.fetch.hosts import Hosts, public
from data_prep.fetch.http import Checksum, Client, Unavailable
from data_prep.fetch.remote_file import BLOCK_BYTES, RemoteFile
from mmgr_jax.errors import InputError

DATA = np.random.default_rng(0).bytes(3 * BLOCK_BYTES + 1234)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def served(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.bin").write_bytes(DATA)
    with http_folder.serving(tmp_path / "files") as server:
        server.etags = True
        yield server


def client(server, tmp_path, *, tries=3, offline=False, known=(), **options):
    hosts = Hosts([server.address], known)
    cache = Cache(tmp_path / "cache")
    waits_s = (0.01,) * tries
    return Client(hosts, cache, offline=offline, waits_s=waits_s, **options)


BUSY = (503, {"Retry-After": "0"})


@pytest.mark.parametrize(
    "faults", [[], [500], [500, 503, 429], ["cut"], ["cut", "cut", 500, "cut"], [BUSY]]
)
def test_a_file_arrives_whole_whatever_happens_on_the_way(served, tmp_path, faults):
    served.faults["a.bin"] = list(faults)
    path = client(served, tmp_path).file(f"{served.address}/a.bin")
    assert path.read_bytes() == DATA
    if "cut" in faults:  # what had come was not asked for again
        assert served.sent["a.bin"] == len(DATA)


def test_a_repeat_goes_on_where_a_stopped_one_was(served, tmp_path):
    address = f"{served.address}/a.bin"
    served.faults["a.bin"] = ["cut", 500]
    with pytest.raises(Unavailable, match=r"HTTP status 500.*it goes on from here"):
        client(served, tmp_path, tries=1).file(address)
    assert not list(tmp_path.glob("cache/*/body"))  # nothing half has the name
    assert client(served, tmp_path).file(address).read_bytes() == DATA
    assert served.sent["a.bin"] == len(DATA)


def test_another_version_is_not_continued(served, tmp_path):
    address = f"{served.address}/a.bin"
    served.faults["a.bin"] = ["cut", 500]
    with pytest.raises(Unavailable):
        client(served, tmp_path, tries=1).file(address)
    (served.root / "a.bin").write_bytes(DATA[::-1])
    assert client(served, tmp_path).file(address).read_bytes() == DATA[::-1]


def test_a_server_without_versions_begins_anew(served, tmp_path):
    served.etags = False
    served.faults["a.bin"] = ["cut"]
    path = client(served, tmp_path).file(f"{served.address}/a.bin")
    assert path.read_bytes() == DATA and served.sent["a.bin"] > len(DATA)


def test_a_stalled_server_is_left_after_its_time(served, tmp_path):
    served.faults["a.bin"] = ["stall"]
    asking = client(served, tmp_path, patience_s=0.3)
    assert asking.file(f"{served.address}/a.bin").read_bytes() == DATA
    served.faults["b"] = []
    with pytest.raises(Unavailable, match="HTTP status 404.*Correct the address"):
        asking.document(f"{served.address}/b")


def test_a_whole_file_is_brought_once_and_serves_offline(served, tmp_path):
    address = f"{served.address}/a.bin"
    client(served, tmp_path).file(address)
    client(served, tmp_path).file(address)
    assert served.sent["a.bin"] == len(DATA) + 1  # one byte, to see the version
    path = client(served, tmp_path, offline=True).file(address)
    assert path.read_bytes() == DATA
    with pytest.raises(
        Unavailable, match=("--offline is set, and it is not in the cache")
    ):
        client(served, tmp_path, offline=True).file(f"{served.address}/b.bin")


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_checksums_hold(served, tmp_path, kind):
    address, asking = f"{served.address}/a.bin", client(served, tmp_path)
    with pytest.raises(Unavailable, match=f"its checksum is not the one .*{kind}"):
        asking.file(address, Checksum(kind, "0" * 32))
    assert not list(tmp_path.glob("cache/*/body*"))
    digest = hashlib.new(kind, DATA).hexdigest()
    assert asking.file(address, Checksum(kind, digest)).read_bytes() == DATA


def test_retry_after_is_kept_to(served, tmp_path):
    served.faults["a.bin"] = [(429, {"Retry-After": "1"})]
    start = time.monotonic()
    client(served, tmp_path).document(f"{served.address}/a.bin")
    assert time.monotonic() - start >= 1
    later = email.utils.formatdate(time.time() + 4000, usegmt=True)
    served.faults["a.bin"] = [(503, {"Retry-After": later})]
    with pytest.raises(Unavailable, match="it asks to wait for [34][0-9]{3} s"):
        client(served, tmp_path).document(f"{served.address}/a.bin")


def test_documents_are_kept_and_asked_for_anew(served, tmp_path):
    address = f"{served.address}/a.bin"
    assert client(served, tmp_path).document(address) == DATA
    assert client(served, tmp_path).document(address) == DATA
    assert served.sent["a.bin"] == len(DATA) and served.gets["a.bin"] == 2
    assert client(served, tmp_path, offline=True).document(address) == DATA
    (served.root / "a.bin").write_bytes(b"new")
    assert client(served, tmp_path).document(address) == b"new"
    assert client(served, tmp_path).document(address, fresh=False) == b"new"
    assert served.gets["a.bin"] == 3


# -- files read in parts


@pytest.mark.parametrize("faults", [[], [None, "cut"], [None, 500, "other range"]])
def test_parts_of_a_file_are_those_asked_for(served, tmp_path, faults):
    served.faults["a.bin"] = list(faults)
    file = RemoteFile(client(served, tmp_path), f"{served.address}/a.bin")
    for first, count in ((10, 5), (BLOCK_BYTES - 3, 9), (len(DATA) - 4, 100), (0, -1)):
        file.seek(first)
        assert file.read(count) == (DATA[first:][:count] if count > 0 else DATA)
    served.gets.clear()
    again = RemoteFile(
        client(served, tmp_path, offline=True), served.address + "/a.bin"
    )
    assert again.read() == DATA and not served.gets


def test_a_block_that_was_cut_in_the_cache_comes_again(served, tmp_path):
    address = f"{served.address}/a.bin"
    RemoteFile(client(served, tmp_path), address).read()
    (block,) = tmp_path.glob("cache/*/blocks/1")
    block.write_bytes(block.read_bytes()[:100])
    assert RemoteFile(client(served, tmp_path), address).read() == DATA


def test_a_file_that_changes_while_it_is_read_stops_the_fetch(served, tmp_path):
    address = f"{served.address}/a.bin"
    file = RemoteFile(client(served, tmp_path), address)
    file.read(10)
    (served.root / "a.bin").write_bytes(DATA[::-1])
    file.seek(2 * BLOCK_BYTES)
    with pytest.raises(Unavailable, match="changed on its server while it was read"):
        file.read(10)
    assert RemoteFile(client(served, tmp_path), address).read() == DATA[::-1]


def test_a_server_without_parts_is_told(served, tmp_path):
    served.ranges = False
    with pytest.raises(InputError, match="does not send parts of files.*Download it"):
        RemoteFile(client(served, tmp_path), f"{served.address}/a.bin")


# -- who is asked


def redirect(served, tmp_path, place, **options):
    served.faults["a.bin"] = [(302, {"Location": place})]
    return client(served, tmp_path, **options).document(f"{served.address}/a.bin")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("https://10.0.0.1/x", "lies in the local network"),
        ("http://127.0.0.1:1/x", "lies in the local network"),
        ("https://[::ffff:169.254.169.254]/meta", "lies in the local network"),
        ("https://localhost/x", "lies in the local network"),
        ("http://example.org/x", "only https:// is allowed"),
        ("https://example.org/x", "add --allow_hosts=example.org"),
        ("file:///etc/passwd", "cannot be fetched; give an address"),
        ("https://me:secret@example.org/x", "holds a user name or password"),
    ],
)
def test_no_redirect_leads_where_the_command_did_not_say(
    served, tmp_path, place, sentence
):
    with pytest.raises(InputError, match=sentence) as error:
        redirect(served, tmp_path, place)
    assert "secret" not in str(error.value)


def test_a_name_from_outside_that_leads_into_the_local_network_is_refused(
    served, tmp_path, monkeypatch
):
    monkeypatch.setattr(hosts_lib, "_resolves", lambda host: False)  # it changes after
    asking = client(served, tmp_path, known=["inside.example.org"])
    create = "urllib3.util.connection.create_connection"
    import socket

    port = int(served.address.rpartition(":")[2])
    monkeypatch.setattr(
        create, lambda *_, **__: socket.create_connection(("127.0.0.1", port))
    )
    with pytest.raises(InputError, match="leads to 127.0.0.1 in the local network"):
        asking.document("https://inside.example.org/a.bin")
    assert not served.gets


def test_a_redirect_on_the_same_server_is_followed(served, tmp_path):
    (served.root / "b.bin").write_bytes(b"there")
    assert redirect(served, tmp_path, "/b.bin") == b"there"
    served.faults["b.bin"] = [(302, {"Location": "/b.bin"})] * 9
    with pytest.raises(InputError, match="more than 5 redirects"):
        redirect(served, tmp_path, "/b.bin")


@pytest.mark.parametrize(
    "address",
    ["http://example.org/a", "https://elsewhere.org/a", "ftp://x/a", "https://a:b@c/d"],
)
def test_addresses_that_are_not_asked(address):
    hosts = Hosts(["https://example.org/catalog.json", ".below.org"])
    with pytest.raises(InputError):
        hosts.check(address)
    hosts.check("https://example.org/other")
    hosts.check("https://a.below.org/x")
    with pytest.raises(InputError):
        hosts.check("https://evilbelow.org/x")


def test_tokens_go_to_their_host_alone_and_nowhere_else(served, tmp_path, monkeypatch):
    seen = []
    served.admits = lambda path, query, headers: seen.append(dict(headers)) or True
    monkeypatch.setenv(hosts_lib.TOKENS, "127.0.0.1=geheim other.org=anders")
    client(served, tmp_path).document(f"{served.address}/a.bin")
    assert seen[0]["Authorization"] == "Bearer geheim"
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"geheim" in text for text in texts)


def test_what_may_be_written_of_an_address():
    signed = "https://u:p@h.org/a.tif?sv=1&sig=abc&X-Amz-Signature=2&q=Rom#x"
    assert public(signed) == "https://h.org/a.tif?q=Rom"
    assert public("https://h.org/a?b=1%202&c") == "https://h.org/a?b=1%202&c"
    assert public(None) == ""


class Counting:
    """Signs with how often it was asked to do so anew."""

    count = 0

    def signed(self, address, *, anew):
        self.count += anew
        return f"{address}?sig={self.count}"


def test_an_expired_signature_is_renewed_once_and_not_written(served, tmp_path):
    signer = Counting()
    served.admits = lambda path, query, headers: query == "sig=1"
    asking = client(served, tmp_path, signer=signer)
    assert asking.file(f"{served.address}/a.bin").read_bytes() == DATA
    served.admits = lambda path, query, headers: False
    with pytest.raises(Unavailable, match="status 403.*signature or token has expired"):
        client(served, tmp_path, signer=signer).document(f"{served.address}/b.bin")
    texts = [path.read_bytes() for path in tmp_path.glob("cache/**/*.json")]
    assert texts and not any(b"sig=" in text for text in texts)


def test_no_password_of_netrc_is_sent(served, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password geheim\n")
    os.chmod(tmp_path / "netrc", 0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = []
    served.admits = lambda path, query, headers: seen.append(dict(headers)) or True
    client(served, tmp_path).document(f"{served.address}/a.bin")
    assert "Authorization" not in seen[0]
