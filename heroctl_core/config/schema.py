"""What may stand in server.yaml: one pydantic class for each block. Used by config/load.py only.

The classes mirror the values of config/model.py name by name (a test compares them); here are the
ranges and words that are allowed. Strict: a number in quotes is no number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .. import limits
from ..backup import schedule
from . import model


class Block(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _address(text: str) -> str:
    model.split_address(text)
    return text


def _cron(line: str) -> str:
    wrong = schedule.complaint(line)
    if wrong:
        raise ValueError(f"{line!r} {wrong}")
    return line


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"{name!r} is no time zone; allowed: as in UTC or Europe/Lisbon"
        ) from error
    return name


def _path(text: object) -> object:
    if isinstance(text, str):
        if not text.startswith("/"):
            raise ValueError(f"{text!r} is no absolute path; allowed: a path from /")
        return Path(text)
    return text


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


Name = Annotated[str, AfterValidator(model.check_name)]
Address = Annotated[str, AfterValidator(_address)]
Loopback = Annotated[str, AfterValidator(model.check_loopback)]
Cron = Annotated[str, AfterValidator(_cron)]
Zone = Annotated[str, AfterValidator(_zone)]
AbsolutePath = Annotated[Path, BeforeValidator(_path)]
SecretText = Annotated[str, AfterValidator(model.Secret)]


class Cluster(Block):
    name: Name = "heroctl"
    bootstrap_expect: Annotated[int, Field(ge=1, le=9)] | None = None


class Node(Block):
    name: Name = "node-1"
    data_dir: AbsolutePath = model.DEFAULT_DATA_DIR


class Raft(Block):
    listen: Address = f"127.0.0.1:{model.RAFT_PORT}"
    advertise: Address | None = None
    peers: dict[Name, Address] = {}
    election_timeout_ms: Annotated[
        int, Field(ge=model.ELECTION_TIMEOUT_MS[0], le=model.ELECTION_TIMEOUT_MS[1])
    ] = 1000


class Api(Block):
    listen: Loopback = f"127.0.0.1:{model.API_PORT}"
    socket: AbsolutePath | None = None


class Tls(Block):
    ca_file: AbsolutePath | None = None
    cert_file: AbsolutePath | None = None
    key_file: AbsolutePath | None = None


class Secrets(Block):
    key_file: AbsolutePath | None = None


class Limits(Block):
    api_body_bytes: Annotated[int, Field(ge=65_536, le=16_777_216)] = limits.API_BODY_BYTES
    api_threads: Annotated[int, Field(ge=2, le=256)] = 16


class Storage(Block):
    type: Literal["s3", "directory"]
    name: Name | None = None  # load.py makes the default
    bucket: Annotated[str, Field(min_length=3, max_length=63)] | None = None
    region: str | None = None
    prefix: str = ""
    access_key_id: str | None = None
    access_key_id_file: AbsolutePath | None = None
    secret_access_key: SecretText | None = None
    secret_access_key_file: AbsolutePath | None = None
    endpoint_url: Annotated[str, Field(pattern="^https?://")] | None = None
    ca_file: AbsolutePath | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    provider: Literal["aws", "r2", "b2", "wasabi", "minio"] | None = None
    path: AbsolutePath | None = None
    offsite: bool = False
    medium: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = "bucket" if self.type == "s3" else "path"
        if getattr(self, needed) is None:
            raise ValueError(f"a storage of type {self.type} needs the key {needed}")
        for key in ("access_key_id", "secret_access_key"):
            if getattr(self, key) is not None and getattr(self, key + "_file") is not None:
                raise ValueError(f"{key} and {key}_file are both given; allowed: one of them")
        return self


class RestoreTest(Block):
    enabled: bool = False
    schedule: Cron = "0 4 1 * *"
    target: Name | None = None


class Backup(Block):
    enabled: bool = False
    schedule: Cron = "0 3 * * *"
    timezone: Zone = "UTC"
    jitter_s: Annotated[int, Field(ge=0, le=86_400, alias="jitter")] = 0
    retention_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    keep_at_least: Annotated[int, Field(ge=1, le=10_000)] = 3
    storage: Annotated[list[Storage], BeforeValidator(_listed)] = []
    encryption_key_file: Annotated[list[AbsolutePath], BeforeValidator(_listed)] = []
    encryption_recipients: list[str] = []
    test_restore: RestoreTest = RestoreTest()


class Alert(Block):
    type: Literal["webhook", "smtp", "apprise"]
    name: Name
    url: SecretText | None = None
    url_file: AbsolutePath | None = None
    signing_key_file: AbsolutePath | None = None
    server: Address | None = None
    sender: str | None = None
    to: list[str] = []
    user: str | None = None
    password_file: AbsolutePath | None = None


class NamedCluster(Block):
    addr: Address
    token_file: AbsolutePath | None = None
    ca_file: AbsolutePath | None = None


class Drill(Block):
    may_be_wiped: bool = False
    token_file: AbsolutePath | None = None


class Config(Block):
    cluster: Cluster = Cluster()
    node: Node = Node()
    raft: Raft = Raft()
    api: Api = Api()
    tls: Tls = Tls()
    secrets: Secrets = Secrets()
    limits: Limits = Limits()
    backup: Backup = Backup()
    alerts: list[Alert] = []
    clusters: dict[Name, NamedCluster] = {}
    drill: Drill = Drill()
