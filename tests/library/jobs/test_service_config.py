"""Which service a command talks to, and what a configuration file may say."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from dbp.errors import DbpError, ServiceError, StorageError
from dbp.jobs import local_service
from dbp.jobs.processes import Process, boot_id, process
from dbp.jobs.service_config import Service, config_file, find_service, service_address


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder without a service."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("DBP_ADDRESS", raising=False)
    return tmp_path


def configure(text: str) -> None:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text(text)


def record_a_service(**changes) -> local_service.LocalService:
    """Record a service whose keeper is this very process: it runs."""
    facts = local_service.LocalService(
        address="http://127.0.0.1:8265",
        gcs_address="127.0.0.1:4000",
        token_file=local_service.token_file(),
        storage="/data/runs",
        cpus=2,
        keeper=process(os.getpid()),
        mark="0123",
        temporary=Path("/tmp/dbp-x"),
        log=local_service.log_file(),
        boot=boot_id(),
        started="2026-01-01T00:00:00Z",
    )
    service = dataclasses.replace(facts, **changes)
    local_service.record(service)
    return service


def test_without_any_there_is_no_service():
    assert find_service() is None


def test_the_address_given_comes_first_then_the_variable_then_the_file_then_the_local_service(monkeypatch):
    record_a_service()
    assert find_service() == Service("http://127.0.0.1:8265", "/data/runs", local_service.token_file(), "dbp up")
    configure('address = "http://configured:8265"')
    assert find_service() == Service("http://configured:8265", None, None, str(config_file()))
    monkeypatch.setenv("DBP_ADDRESS", "variable:8265")
    assert find_service() == Service("http://variable:8265", None, None, "DBP_ADDRESS")
    assert find_service("given:8265") == Service("http://given:8265", None, None, "--address")


def test_what_was_recorded_is_read_back_the_same():
    service = record_a_service()
    assert local_service.recorded_service() == service
    assert local_service.state_file().parent.stat().st_mode & 0o777 == 0o700


def test_storage_and_token_of_the_file_go_with_its_address_only():
    configure('address = "http://head:8265"\nstorage = "s3://bucket/runs"\ntoken_file = "/secrets/token"')
    token = Path("/secrets/token")
    assert find_service() == Service("http://head:8265", "s3://bucket/runs", token, str(config_file()))
    assert find_service("head:8265") == Service("http://head:8265", "s3://bucket/runs", token, "--address")
    assert find_service("http://elsewhere:8265") == Service("http://elsewhere:8265", None, None, "--address")


def test_storage_and_token_without_an_address_go_with_any():
    configure('storage = "/shared/runs"\ntoken_file = "token"')
    token = config_file().parent / "token"
    assert find_service("head:8265") == Service("http://head:8265", "/shared/runs", token, "--address")
    record_a_service()
    assert find_service() == Service("http://127.0.0.1:8265", "/shared/runs", local_service.token_file(), "dbp up")


def test_the_local_service_keeps_its_token_when_it_is_named_by_address():
    record_a_service()
    assert find_service("127.0.0.1:8265").token_file == local_service.token_file()


@pytest.mark.parametrize(
    "changes",
    [
        {"boot": "another run of the machine"},
        {"keeper": Process(os.getpid(), 1)},
        {"keeper": Process(2**22 + 1, 1)},
        {"address": ""},
    ],
    ids=["machine restarted", "number used again", "process gone", "still starting"],
)
def test_a_record_of_a_service_that_does_not_run_is_no_service(changes):
    record_a_service(**changes)
    assert find_service() is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('adress = "http://a:1"', 'adress: no such key; did you mean "address"?'),
        ("nonsense_key = 1", "nonsense_key: no such key; expected one of: address, storage, token_file"),
        ("address = 8265", "address: expected a text in quotes, got 8265"),
        ("storage = []", "storage: expected a text in quotes, got []"),
        ('token_file = ""', 'token_file: expected a text in quotes, got ""'),
        ('storage = "runs"', 'storage: expected an absolute folder, or a URI like s3://bucket/runs; got "runs"'),
        ('address = "ray://head:10001"', "ray:// is Ray's client port"),
        ("address = ", "not TOML"),
        ('[service]\naddress = "http://a:1"', "service: no such key"),
        ("x = " + "[" * 5000, "not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_file_and_key(text, says):
    configure(text)
    with pytest.raises(ServiceError) as caught:
        find_service()
    assert says in str(caught.value)
    assert str(config_file()) in str(caught.value)


def test_a_file_that_is_not_text_or_not_a_file_is_told():
    configure("")
    config_file().write_bytes(b"\xff\xfe")
    with pytest.raises(ServiceError, match="not TOML"):
        find_service()
    config_file().unlink()
    config_file().mkdir()
    with pytest.raises(StorageError, match=r"config\.toml: cannot be read"):
        find_service()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("head:8265", "http://head:8265"),
        (" http://head:8265/ ", "http://head:8265"),
        ("https://ray.example.com", "https://ray.example.com"),
        ("[::1]:8265", "http://[::1]:8265"),
        ("HTTP://Head:8265", "http://head:8265"),
    ],
)
def test_addresses_are_brought_into_one_form(text, url):
    assert service_address(text, "--address") == url


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "head",
            "auto",
            "head:port",
            "head:99999",
            "ftp://head:1",
            "http://",
            "ray://head:10001",
            "http://u:p@head:1",
        ),
        *("http://head:1/path", "http://head:1?x", "head :1", "http://head\n:1", "http://[::1:8265", "\x00:1"),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text):
    with pytest.raises(ServiceError, match="expected the address of Ray's jobs API, like http://head-node:8265"):
        service_address(text, "--address")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "keeper": 3}'])
def test_a_damaged_record_is_told_with_what_to_do(text):
    local_service.own_folder()
    local_service.state_file().write_text(text)
    with pytest.raises(ServiceError, match=r"not a record that this version of dbp wrote.*remove the file"):
        find_service()


def test_a_folder_that_others_could_read_is_closed(home):
    (home / "state" / "dbp").mkdir(parents=True, mode=0o755)
    local_service.own_folder()
    assert (home / "state" / "dbp").stat().st_mode & 0o777 == 0o700


def test_a_state_folder_that_cannot_be_made_is_told(home):
    (home / "state").write_text("a file in the way")
    with pytest.raises(DbpError, match="a part of the path is a file"):
        record_a_service()
