"""Certificates that expire: said a month before and when they have, renewed in a running run."""

import logging
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.checks.preflight import PreflightError, check_certificates
from deploy.supervising.status import as_values, fetch, summary
from efficientzero.rpc.certificates import ends_of_validity, expiries, expiry_notes
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE
from efficientzero.worker.joining import JoinRefused
from tests.integration.many_hosts.test_joining import ROOT, Learner, ask

MAKE = ROOT / "deploy/scripts/make_certs.sh"
YEAR = timedelta(days=365)


def make_certs(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([MAKE, folder], check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("certificates") / "made"
    assert make_certs(folder).returncode == 0
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch) -> Path:
    """A credentials folder of this test's own, in use."""
    folder = tmp_path / "credentials"
    shutil.copytree(made, folder)
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(folder))
    return folder


@pytest.fixture
def learner(folder, tmp_path):
    learner = Learner(tmp_path)
    yield learner
    learner.server.close(0.0)


def sign(folder: Path, name: str, days: int) -> None:
    """Sign one of the certificates again, for other days; -1: expired since yesterday."""
    if name == "ca.pem":
        request = ["req", "-new", "-key", "ca.key", "-subj", "/CN=efficientzero cluster"]
        by, extensions = ["-key", "ca.key"], "basicConstraints=critical,CA:TRUE"
    else:
        request = ["req", "-new", "-key", "learner.key", "-subj", "/CN=learner.efficientzero"]
        by = ["-CA", "ca.pem", "-CAkey", "ca.key"]
        extensions = "subjectAltName=DNS:learner.efficientzero"
    (folder / "extensions").write_text(extensions)
    begin = subprocess.run(["openssl", *request], cwd=folder, capture_output=True, check=True)
    options = [*by, "-set_serial", "7", "-days", str(days), "-extfile", "extensions"]
    subprocess.run(
        ["openssl", "x509", "-req", *options, "-out", name],
        cwd=folder,
        input=begin.stdout,
        capture_output=True,
        check=True,
    )


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_the_end_of_validity_is_what_openssl_says(folder):
    for expiry in expiries(folder):
        said = subprocess.run(
            ["openssl", "x509", "-noout", "-enddate", "-in", expiry.path],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert said == f"notAfter={expiry.at:%b %e %H:%M:%S %Y} GMT"
    assert [expiry.path.name for expiry in expiries(folder)] == ["ca.pem", "learner.pem"]


def test_years_after_2050_are_read_too(folder):
    sign(folder, "learner.pem", 365 * 40)
    (end,) = ends_of_validity((folder / "learner.pem").read_text())
    assert end.year == (datetime.now(UTC) + 40 * YEAR).year


def test_of_several_cas_in_one_file_the_last_to_expire_counts(folder):
    before = (folder / "ca.pem").read_text()
    sign(folder, "ca.pem", -1)
    (folder / "ca.pem").write_text((folder / "ca.pem").read_text() + before)
    assert expiry_notes(folder) == []


@pytest.mark.parametrize("text", ["", "rubbish", "-----END CERTIFICATE-----"])
def test_what_is_no_certificate_has_no_end(folder, text):
    (folder / "learner.pem").write_text(text)
    assert [expiry.path.name for expiry in expiries(folder)] == ["ca.pem"]


@pytest.mark.parametrize("cut", [10, 100, 300])
def test_a_part_of_a_certificate_has_no_end(folder, cut):
    path = folder / "learner.pem"
    lines = path.read_text().splitlines()
    kept = "\n".join(lines[1:-1])[:cut]
    path.write_text("\n".join([lines[0], kept[: len(kept) // 4 * 4], lines[-1]]))
    assert "learner.pem" not in [expiry.path.name for expiry in expiries(folder)]


def test_a_month_before_there_is_a_line_with_the_command_that_renews(folder):
    at = expiries(folder)[1].at
    assert expiry_notes(folder, at - timedelta(days=31)) == []
    ca, own = expiry_notes(folder, at - timedelta(days=29, hours=1))
    assert ca.startswith(f"{folder}/ca.pem expires on {at:%Y-%m-%d %H:%M} UTC, in 29 days")
    assert f"run {MAKE.relative_to(ROOT)} {folder}, and copy ca.pem to every host" in ca
    assert own.endswith(f"run {MAKE.relative_to(ROOT)} {folder}")
    assert "expired on" in expiry_notes(folder, at)[0]
    os.unlink(folder / "ca.key")  # as on a worker's host
    assert "in the folder with ca.key" in expiry_notes(folder, at)[0]


@pytest.mark.parametrize("name", ["ca.pem", "learner.pem"])
def test_no_run_begins_with_an_expired_certificate(folder, name):
    check_certificates(folder)
    check_certificates(None)
    sign(folder, name, -1)
    with pytest.raises(PreflightError, match=rf"{name} expired on .*; run deploy/scripts/make_"):
        check_certificates(folder)


def test_the_learner_says_so_daily_and_the_status_always(folder, learner, caplog):
    watch, now = learner.watch, [0.0]
    watch._clock = lambda: now[0]
    sign(folder, "learner.pem", 20)
    for hour in range(50):
        now[0] = hour * 3_601.0
        watch.look_at_certificates()
    lines = [record.getMessage() for record in caplog.records if "expires" in record.getMessage()]
    assert len(lines) == 3
    status, cluster = fetch(learner.address)
    (shown,) = [line for line in summary(status, cluster) if "learner.pem expires on" in line]
    assert as_values(status, cluster)["warnings"] == [shown]
    sign(folder, "learner.pem", 60)
    watch.look_at_certificates()
    assert not fetch(learner.address)[1].warnings


@pytest.mark.parametrize("name", ["ca.pem", "learner.pem"])
def test_a_refused_worker_learns_how_to_mend_it(folder, tmp_path, name):
    sign(folder, name, -1)
    learner = Learner(tmp_path)
    try:
        with pytest.raises(JoinRefused) as refused:
            ask(learner.address)
    finally:
        learner.server.close(0.0)
    assert "a certificate has expired" in str(refused.value)
    assert "renew it: deploy/scripts/make_certs.sh DIR" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_renewed_certificate_is_used_without_another_start(folder, tmp_path, caplog):
    sign(folder, "learner.pem", -1)
    learner = Learner(tmp_path)
    try:
        with pytest.raises(JoinRefused, match="has expired"):
            ask(learner.address)
        (folder / "learner.pem").write_text("a renewal that went wrong")
        with pytest.raises(JoinRefused, match="has expired"):
            ask(learner.address)
        with caplog.at_level(logging.INFO):
            assert make_certs(folder).returncode == 0
            time.sleep(0.05)
            assert ask(learner.address)[1].index == 0
    finally:
        learner.server.close(0.0)
    assert "renewed, in use from now on" in caplog.text


def test_make_certs_renews_with_the_ca_that_every_host_has(folder):
    ca = (folder / "ca.pem").read_text()
    token = (folder / "token").read_text()
    inode = (folder / "learner.pem").stat().st_ino
    assert make_certs(folder).returncode == 0
    assert (folder / "ca.pem").read_text() == ca
    assert (folder / "token").read_text() == token
    assert (folder / "learner.pem").stat().st_ino == inode, "a container may have this file"


def test_make_certs_renews_a_ca_that_expires_and_old_copies_of_it_still_fit(folder, tmp_path):
    sign(folder, "ca.pem", 20)
    (tmp_path / "old-ca.pem").write_text((folder / "ca.pem").read_text())
    old_own = tmp_path / "old-learner.pem"
    old_own.write_text((folder / "learner.pem").read_text())
    assert make_certs(folder).returncode == 0
    assert expiry_notes(folder) == []
    for ca, own in (
        (folder / "ca.pem", old_own),
        (tmp_path / "old-ca.pem", folder / "learner.pem"),
    ):
        subprocess.run(["openssl", "verify", "-CAfile", ca, own], check=True, capture_output=True)


def test_make_certs_makes_no_other_ca_where_the_key_was_put_away(folder):
    os.unlink(folder / "ca.key")
    before = {path.name: path.read_text() for path in folder.iterdir()}
    refused = make_certs(folder)
    assert refused.returncode == 2
    assert "got ca.pem and no ca.key" in refused.stderr
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
