"""The hub's own client against a server on this machine: files, revisions, the cache without a network, and every refusal."""

import hashlib
import http.server
import importlib
import sys
import threading

import numpy as np
import pytest

from sslax.errors import InputError
from sslax.export import hub, load_weights, save_safetensors

client = pytest.importorskip("huggingface_hub", reason="huggingface_hub is an extra of the package")
# The client imports its parts at their first use, which a test replaces.
close_session = client.close_session
constants = importlib.import_module("huggingface_hub.constants")

COMMIT = "1" * 40


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /OWNER/NAME/resolve/REVISION/FILE as the hub does, from the server's `files`."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.server.asked.append((self.command, self.path))
        _, owner, name, _, revision, file = [*self.path.split("/", 5), *[""] * 6][:6]
        repository = f"{owner}/{name}"
        code = {"me/closed": "GatedRepo", "me/none": "RepoNotFound"}.get(repository)
        if code is None and revision not in ("main", "v1", COMMIT):
            code = "RevisionNotFound"
        if code is None and (repository, file) not in self.server.files:
            code = "EntryNotFound"
        if code is not None:
            self.send_response(403 if code == "GatedRepo" else 404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = self.server.files[repository, file]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_safetensors(path, {"x": np.arange(3, dtype=np.float32)}, {"a": "b"})
    files = {("me/vit", "model.safetensors"): path.read_bytes(), ("me/vit", "old/w.safetensors"): path.read_bytes()}
    files["me/torch", "pytorch_model.bin"] = b"PK\x03\x04"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked = files, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        # The client reads the other variables of the environment when it is imported.
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        importlib.import_module("huggingface_hub.utils").disable_progress_bars()
        try:
            yield server
        finally:
            close_session()
            server.shutdown()
            thread.join()


def sentence(name):
    with pytest.raises(InputError) as caught:
        load_weights(name)
    text = str(caught.value)
    assert text.startswith(f"weights are {name}")
    assert text.endswith(".")
    assert "\n" not in text
    return text


def test_names_of_the_hub_are_downloaded_once_and_read_without_a_network(server, monkeypatch):
    tensors, metadata = load_weights("hf:me/vit")
    np.testing.assert_array_equal(tensors["x"], [0, 1, 2])
    assert metadata == {"a": "b"}
    assert [path for kind, path in server.asked if kind == "GET"] == ["/me/vit/resolve/main/model.safetensors"]
    load_weights("hf:me/vit@v1/old/w.safetensors")
    assert any("/v1/old/w.safetensors" in path for _, path in server.asked)
    server.asked.clear()
    load_weights("hf:me/vit")
    assert not [path for kind, path in server.asked if kind == "GET"]
    # Without safetensors the name means the pickle, which is another module's matter.
    assert hub.download("hf:me/torch").name == "pytorch_model.bin"

    server.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    load_weights("hf:me/vit")
    assert "the hub cannot be reached and model.safetensors or pytorch_model.bin is not in the cache" in sentence(
        "hf:me/other"
    )
    assert not server.asked


def test_what_the_hub_refuses_is_one_sentence(server):
    assert "the hub does not have; check OWNER/NAME" in sentence("hf:me/none")
    assert "is gated; accept its terms on the hub, and set HF_TOKEN" in sentence("hf:me/closed/x.bin")
    assert "has no such revision" in sentence("hf:me/vit@other")
    assert "has no x.bin; give its weights as hf:OWNER/NAME/FILE" in sentence("hf:me/vit/x.bin")
    assert "has no model.safetensors or pytorch_model.bin" in sentence("hf:me/empty")
    assert "a file of the hub must be hf:OWNER/NAME[@REVISION][/FILE]" in sentence("hf:vit")


def test_a_server_that_does_not_answer_and_a_missing_client_are_one_sentence(server, monkeypatch):
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    # The client waits between its attempts.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert "the hub cannot be reached" in sentence("hf:me/vit")

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert sentence("hf:me/vit") == (
        'weights are hf:me/vit, which needs huggingface_hub; run pip install "huggingface_hub>=1.0".'
    )
