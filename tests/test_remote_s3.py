"""A corpus behind the S3 protocol: trained from as from folders, over a bad line."""

import socket
import threading

import chex
import pytest
import small_records

from mmgr_jax.data import remote, server
from mmgr_jax.store import checkpoint
from mmgr_jax.train import loop

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

CUT_AFTER_BYTES = 150_000  # within a block of a shard


class _Line(threading.Thread):
    """Passes bytes on to a port, and cuts the first connection that gets many."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.target, self.cuts = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        while True:
            client, _ = self.listener.accept()
            there = socket.create_connection(("127.0.0.1", self.target))
            for pair in ((client, there, False), (there, client, True)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source, sink, counts):
        total = 0
        try:
            while data := source.recv(16_384):
                total += len(data)
                if counts and total > CUT_AFTER_BYTES and not self.cuts:
                    self.cuts += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def line(monkeypatch):
    """A server of S3 behind a line that breaks once."""
    served = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    line = _Line(served.get_host_and_port()[1])
    line.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{line.port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "very secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield line
    served.stop()


def _upload(root, port):
    import boto3

    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
    client.create_bucket(Bucket="cities")
    for path in filter(lambda path: path.is_file(), root.rglob("*")):
        client.upload_file(str(path), "cities", str(path.relative_to(root)))


@pytest.mark.slow  # a server of S3 and two runs
def test_training_from_s3_is_training_from_folders(line, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(remote, "_cache_folder", str(tmp_path / "cache"))
    monkeypatch.setattr(server, "WAITS_S", (0.05,) * 4)
    root = tmp_path / "cities"
    for seed, city in enumerate(("alba", "bree")):
        folder = root / city / "records"
        folder.mkdir(parents=True)
        small_records.write_records(
            folder, city=city, rows=6, columns=12, seed=seed, image_format="raw",
            num_shards=2,
        )  # fmt: skip
    _upload(root, line.target)
    runs = {}
    for place in (str(root), "s3://cities"):
        folder = tmp_path / f"run {len(runs)}"
        config = small_records.config_of(f"{place}/alba/records", folder)
        config.corpus.records = (f"{place}/*/records",)
        config.data.batch_size, config.train.total = 8, "2 steps"
        loop.train(config)
        bundle = checkpoint.latest(folder / "run")
        runs[place] = checkpoint.load_arrays(bundle), checkpoint.load_metadata(bundle)
    (here, theirs), (there, ours) = runs.values()
    chex.assert_trees_all_equal(here, there)
    assert theirs.identity == ours.identity and line.cuts == 1
    config.workdir = str(tmp_path / "run 0/run")  # a run goes on from the other place
    loop.train(config)
    texts = [caplog.text, *(path.read_text() for path in tmp_path.rglob("*.json"))]
    assert not [text for text in texts if "very secret" in text]
