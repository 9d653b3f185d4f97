"""A Hub for tests: enough of its HTTP interface for `huggingface_hub` to write to it and read from it."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from huggingface_hub import constants

TOKEN = "hf_" + "x" * 34
"""Of the one user, `ann`, who may write below her own name."""


class Hub:
    """Repositories by name and branch; every branch keeps its newest commit, every commit its files."""

    def __init__(self):
        self.branches = {}
        self.commits = {}
        self.private = {}
        self.messages = []
        self.seen = []

    def commit(self, name, branch, files):
        old = self.commits.get(self.branches.get(name, {}).get(branch), {})
        content = {**old, **files}
        sha = hashlib.sha1(repr(sorted((k, hashlib.sha1(v).hexdigest()) for k, v in content.items())).encode())
        self.commits[sha.hexdigest()] = content
        self.branches.setdefault(name, {})[branch] = sha.hexdigest()
        return sha.hexdigest()

    def at(self, name, revision):
        """The commit of a branch, or the commit itself."""
        found = self.branches[name].get(revision, revision)
        return found if found in self.commits else None


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_):
        pass

    def answer(self, content=b"", status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, text):
        self.answer({"error": text}, status, X_Error_Code=code, X_Error_Message=text)

    def may_write(self):
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.answer({"error": "Invalid credentials"}, 401)
        return False

    def url(self, name):
        return f"http://{self.headers['Host']}/{name}"

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.hub.seen.append(("POST", path))
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if not self.may_write():
            return None
        if path == "/api/repos/create":
            asked = json.loads(raw)
            name = f"{asked.get('organization') or 'ann'}/{asked['name']}"
            if name in self.hub.branches:
                return self.answer({"error": "You already created it", "url": self.url(name)}, 409)
            self.hub.branches[name] = {}
            self.hub.private[name] = bool(asked.get("private") or asked.get("visibility") == "private")
            self.hub.commit(name, "main", {".gitattributes": b""})
            return self.answer({"url": self.url(name), "name": name})
        name, what, revision = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(\w+)/(.+)", path).groups()
        if what == "branch":
            self.hub.branches[name][revision] = self.hub.branches[name]["main"]
            return self.answer({})
        if what == "preupload":
            how = {"uploadMode": "regular", "shouldIgnore": False}
            return self.answer({"files": [{"path": f["path"], **how} for f in json.loads(raw)["files"]]})
        lines = [json.loads(line) for line in raw.splitlines()]
        self.hub.messages += [line["value"]["summary"] for line in lines if line["key"] == "header"]
        files = [line["value"] for line in lines if line["key"] == "file"]
        sha = self.hub.commit(name, revision, {f["path"]: base64.b64decode(f["content"]) for f in files})
        return self.answer({"success": True, "commitOid": sha, "commitUrl": f"{self.url(name)}/commit/{sha}"})

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.hub.seen.append((self.command, path))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?(/.*)?", path):
            name, what, revision = found[1], found[2], found[3] or "main"
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name, what, revision = found[1], "resolve", found[2]
        else:
            return self.refuse(404, "EntryNotFound", "nothing here")
        if name not in self.hub.branches:
            return self.refuse(401, "RepoNotFound", "Repository not found")
        sha = self.hub.at(name, revision)
        if sha is None:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        files = self.hub.commits[sha]
        if what == "tree":
            return self.answer([_entry(path, content) for path, content in files.items()])
        if what != "resolve":
            about = {"id": name, "sha": sha, "private": self.hub.private[name]}
            return self.answer({**about, "siblings": [{"rfilename": path} for path in files]})
        if found[3] not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        content = files[found[3]]
        return self.answer(content, ETag=f'"{_oid(content)}"', X_Repo_Commit=sha)

    do_HEAD = do_GET  # noqa: N815


def _oid(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(path, content):
    return {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}


def live_at(patch, address, cache):
    """Let huggingface_hub take this Hub for the only one, and keep in `cache` what it fetches."""
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))


@contextmanager
def serve():
    """Run a Hub while the block lasts; yields it and its address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
