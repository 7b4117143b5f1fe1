"""The Hugging Face Hub's repositories, in this process: creating one, Git LFS in one request, and commits.

As tests/support/fake_hub_repositories.ts, which the CLI's tests use, for what huggingface_hub calls: it also compares
the files of a commit with those of the main branch, and validates the front matter of a model card.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


class FakeHubRepositories:
    """`async with FakeHubRepositories() as hub:`. `statuses` and `silent` are answers by the beginning of a route."""

    def __init__(self, token: str = "hf_write_token") -> None:
        self.token = token
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.asked = asyncio.Event()
        """Set by the first request."""
        self.statuses: dict[str, list[int]] = {}
        """The next statuses of a route, instead of what it does: `{"commit": [500]}`."""
        self.lost: set[str] = set()
        """Routes that do their work and answer 500, once."""
        self.silent: set[str] = set()
        """Routes that never answer."""
        self._objects: dict[str, bytes] = {}

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_put("/storage/{oid}", self._store)
        model = "/api/models/{repo:[^/]+/[^/]+}"
        for method, path, name, handler in (
            ("POST", "/api/repos/create", "create", self._create),
            ("POST", "/api/validate-yaml", "validate", self._validate),
            ("GET", model, "info", self._info),
            ("GET", f"{model}/revision/main", "info", self._info),
            ("POST", f"{model}/preupload/main", "preupload", self._preupload),
            ("POST", "/{repo:[^/]+/[^/]+}.git/info/lfs/objects/batch", "batch", self._batch),
            ("POST", f"{model}/commit/main", "commit", self._commit),
        ):
            app.router.add_route(method, path, self._authorized(name, handler))
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, shutdown_timeout=0.1).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def _authorized(self, name: str, handler: Any) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.requests.append(name)
            self.asked.set()
            if name in self.silent:
                await asyncio.sleep(3600)
            if request.headers.get("authorization") != f"Bearer {self.token}":
                return problem(401, "Invalid username or password.")
            if statuses := self.statuses.get(name):
                return problem(statuses.pop(0), "the token is not in this message: " + self.token)
            repo = request.match_info.get("repo")
            if repo is not None and repo not in self.repositories:
                return problem(404, "Repository not found")
            reply: web.StreamResponse = await handler(request)
            if name in self.lost:
                self.lost.remove(name)
                return problem(500, "lost")
            return reply

        return answer

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        repo = f"{body['organization']}/{body['name']}"
        if repo in self.repositories:
            # With the URL, which huggingface_hub reads also of this reply.
            return web.json_response(
                {"error": "You already created this model repo", "url": f"{self.url}/{repo}"}, status=409
            )
        self.repositories[repo] = Repository(private=body.get("visibility") == "private")
        return web.json_response({"url": f"{self.url}/{repo}", "name": repo})

    async def _validate(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not body["content"].startswith("---\n"):
            return web.json_response({"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]})
        return web.json_response({"errors": [], "warnings": []})

    async def _info(self, request: web.Request) -> web.Response:
        repo = request.match_info["repo"]
        return web.json_response({"id": repo, "sha": "c" * 40, "private": self.repositories[repo].private})

    async def _preupload(self, request: web.Request) -> web.Response:
        repository = self.repositories[request.match_info["repo"]]
        return web.json_response(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                        "shouldIgnore": False,
                        **(
                            {"oid": oid(file["path"], repository.files[file["path"]])}
                            if file["path"] in repository.files
                            else {}
                        ),
                    }
                    for file in (await request.json())["files"]
                ]
            }
        )

    async def _batch(self, request: web.Request) -> web.Response:
        objects = [
            {
                **wanted,
                **(
                    {}
                    if wanted["oid"] in self._objects
                    else {"actions": {"upload": {"href": f"{self.url}/storage/{wanted['oid']}"}}}
                ),
            }
            for wanted in (await request.json())["objects"]
        ]
        return web.json_response({"transfer": "basic", "objects": objects})

    async def _store(self, request: web.Request) -> web.Response:
        # As S3 does: the URL is the permission, and a body without a length is rejected.
        if "authorization" in request.headers:
            return problem(400, "only one way to authenticate is allowed")
        if "content-length" not in request.headers:
            return problem(411, "length required")
        self._objects[request.match_info["oid"]] = await request.read()
        return web.Response()

    async def _commit(self, request: web.Request) -> web.Response:
        repo = request.match_info["repo"]
        repository = self.repositories[repo]
        for line in (await request.text()).strip().split("\n"):
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                repository.commits.append(value["summary"])
            elif item["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            else:
                data = self._objects.get(value["oid"], b"")
                if (hashlib.sha256(data).hexdigest(), len(data)) != (value["oid"], value["size"]):
                    return problem(400, f"{value['path']} was not uploaded")
                repository.files[value["path"]] = data
        commit = "c" * 40
        return web.json_response(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.url}/{repo}/commit/{commit}"}
        )


def is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def oid(path: str, data: bytes) -> str:
    """As the Hub has it: the SHA-256 of a large file, the hash of Git's blob of any other."""
    if is_large(path):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def problem(status: int, error: str) -> web.Response:
    return web.json_response({"error": error}, status=status, headers={"X-Error-Message": error})
