"""The server of 1,000,000 regions: memory, time, and size of what it makes."""

import dataclasses
import gc
import time
from pathlib import Path

import numpy as np
import pytest
import shapely
from small_records import TILE_SIZE_M, write_records

from mmgr_jax.evaluation import predictors
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.explore import city, content, served
from tests.explore import browser as browser_lib
from tests.explore import small_explored

NUM_FEATURES = 256


class LargeCity(city.ExploredCity):
    """Many regions, whose tiles are drawn, not read."""

    def tile(self, region):
        return np.full((32, 32, 3), region % 200, np.uint8)

    def tiles(self):
        return map(self.tile, range(len(self.region_ids)))


def _large(folder, side):
    small = small_explored.explored(write_records(folder))
    rng = np.random.default_rng(0)
    number = side**2
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    west = 3e5 + column.ravel() * TILE_SIZE_M
    north = 3.4e6 - row.ravel() * TILE_SIZE_M
    boxes = shapely.box(west, north - TILE_SIZE_M, west + TILE_SIZE_M, north)
    hidden = rng.normal(size=(number, 24)).astype(np.float32)
    mixing = rng.normal(size=(24, NUM_FEATURES)).astype(np.float32)
    path = folder / "features.npy"
    written = np.lib.format.open_memmap(path, "w+", np.float32, (number, NUM_FEATURES))
    for first in range(0, number, 20_000):
        part = hidden[first : first + 20_000] @ mixing
        noise = rng.standard_normal(part.shape, np.float32)
        written[first : first + 20_000] = part + noise
    written.flush()
    del written
    truth = np.exp(hidden[:, 0])
    unlike = np.zeros(number, bool)
    predicted = predictors.Prediction(truth * 1.1, truth * 0.5, truth * 2, unlike)
    label = small.tasks["population"].label
    given = {
        field.name: getattr(small, field.name) for field in dataclasses.fields(small)
    }
    changed = {
        "region_ids": [f"r{index}" for index in range(number)],
        "geometry_wkb": shapely.to_wkb(boxes).tolist(),
        "block_id": (row // 8 * 400 + column // 8).ravel().astype(np.int32),
        "centre_m": np.stack([west + 32, north - 32], axis=1),
        "features": Features.of("image", np.asarray(np.load(path, mmap_mode="r"))),
        "pois": city.PoiCounts(
            np.arange(number + 1),
            rng.integers(0, 5, number),
            rng.integers(1, 4, number),
        ),
        "projections": None,
        "poi_weights": None,
        "tasks": {"population": city.ExploredTask(label, truth, predicted)},
    }
    return LargeCity(**(given | changed))


def _own_mb(process="self"):
    """Memory of a process that is no map of a file, in megabytes."""
    text = Path(f"/proc/{process}/status").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) / 1000


def _renderer_mb():
    """The same of the largest page of the browser that this process has started."""
    parents, pages = {}, []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            parents[int(path.name)] = int(stat[1])
            if b"--type=renderer" in (path / "cmdline").read_bytes():
                pages.append(int(path.name))
        except OSError:
            continue

    def is_own(process):
        while process in parents:
            if process == _pid():
                return True
            process = parents[process]
        return False

    return max(_own_mb(page) for page in pages if is_own(page))


def _pid():
    return int(Path("/proc/self").resolve().name)


@pytest.mark.slow
@pytest.mark.parametrize("side", [316, 548, 1000])
def test_a_large_city_is_served(browser, answering, tmp_path, monkeypatch, side):
    taken = {}

    def timed(module, name):
        own = getattr(module, name)

        def call(*args, **given):
            started = time.monotonic()
            result = own(*args, **given)
            taken[name] = round(time.monotonic() - started, 1)
            return result

        monkeypatch.setattr(module, name, call)

    timed(served, "_write_tiles")
    timed(served, "_write_picture")
    timed(served, "_write_clusters")
    timed(served.vectors, "mapped")
    timed(content, "described")
    large = _large(tmp_path, side)
    truth = large.tasks["population"].truth
    gc.collect()
    before_mb = _own_mb()
    started = time.monotonic()
    prepared = served.prepare(large, tmp_path / "run")
    taken["all"] = round(time.monotonic() - started, 1)
    del large
    gc.collect()
    memory_mb = _own_mb() - before_mb
    own = answering(prepared)
    started = time.monotonic()
    visit = browser_lib.Visit(browser, own.url)
    opened_s = time.monotonic() - started
    ms = visit.run(
        """async ([values, n]) => { const ms = { search: [], label: [], paint: [],
          classes: [] };
        const timed = async (name, work) => { const started = performance.now();
          const result = await work(); ms[name].push(performance.now() - started);
          return result; };
        for (let i = 0; i < 12; i++) await timed("search", () =>
          explored.helper.ask("search", { positives: [(i * 9973) % n], negatives: [],
            count: 20, allowed: null }));
        for (let i = 0; i < 7; i++) {
          const rows = Int32Array.from({ length: 20 }, (_, j) => (j * 49957 + i) % n);
          const own = Float64Array.from(values[i]);
          const { value } = await timed("label", () => explored.helper.ask("label",
            { kind: "number", rows, values: own }));
          const four = Float64Array.from(rows, (row, j) => j % 4);
          await timed("classes", () => explored.helper.ask("label",
            { kind: "class", rows, values: four, k: 4 })); }
        const started = performance.now();
        await explored.helper.ask("suggest", { labelled: [5], count: 5 });
        ms.suggest = performance.now() - started;
        const field = document.getElementById("layer");
        for (const layer of ["task/truth/population", "city/clusters",
          "city/components", "task/error/population"]) {
          await timed("paint", async () => { field.value = layer; field.oninput();
            await explored.shown; }); }
        return ms; }""",
        [
            [truth[(np.arange(20) * 49957 + i) % side**2].tolist() for i in range(7)],
            side**2,
        ],
    )
    page_mb = _renderer_mb()
    shown = visit.run(
        """async () => { const { map } = explored.map; const drawn = [];
        for (const zoom of [null, explored.city.served.regionZoom + 0.5]) {
          if (zoom) map.jumpTo({ zoom }); else explored.map.whole();
          const started = performance.now(); map.triggerRepaint();
          await map.once("idle"); drawn.push(performance.now() - started); }
        return drawn; }"""
    )
    visit.page.screenshot(path=tmp_path / "near.png")
    visit.run("() => { explored.map.whole(); }")
    visit.page.wait_for_timeout(1500)
    visit.page.screenshot(path=tmp_path / "whole.png")
    median = {name: float(np.median(times)) for name, times in ms.items()}
    print(
        f"\n{side**2} regions: s {taken}; opened in {opened_s:.1f} s; "
        f"archive {len(prepared.tiles.data) / 1e6:.1f} MB; server {memory_mb:.0f} MB, "
        f"page {page_mb:.0f} MB; ms {median}; drawn in ms {shown}; {tmp_path}"
    )
    assert median["search"] < 1000 and median["label"] < 2000
    assert memory_mb < 1500 and page_mb < 1500
    assert visit.faults == []
    visit.close()
