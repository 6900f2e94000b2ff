"""An S3 server of this machine.

Belongs here: the server and its objects. Does not belong here: assertions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

import boto3
from moto.server import ThreadedMotoServer

CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "ana",
    "AWS_SECRET_ACCESS_KEY": "opensesame",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass
class S3Server:
    """An S3 server with one bucket, `exports`.

    Attributes:
        url: `http://127.0.0.1:5000`.
        requests: every request so far, such as `GET /exports?list-type=2&prefix=nilo/`.
    """

    url: str
    requests: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to reach it."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url}

    def put(self, key: str, content: bytes) -> None:
        """Makes an object."""
        self.client.put_object(Bucket="exports", Key=key, Body=content)

    @cached_property
    def client(self) -> Any:
        """Of `boto3`."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        )


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server with an empty bucket."""
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    server = S3Server(f"http://{host}:{port}")
    _note_requests(running, server.requests)
    server.client.create_bucket(Bucket="exports")
    try:
        yield server
    finally:
        server.client.close()
        running.stop()


def _note_requests(running: ThreadedMotoServer, requests: list[str]) -> None:
    serving = running._server
    assert serving is not None
    answer = serving.app

    def noted(environment: Any, start: Any) -> Any:
        query = unquote(environment["QUERY_STRING"])
        requests.append(f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}?{query}")
        return answer(environment, start)

    serving.app = noted
