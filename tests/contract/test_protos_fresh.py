"""The committed stubs are what protoc makes of ``protos/`` today."""

import subprocess
import sys
from pathlib import Path

import pytest

from efficientzero.rpc.stubs import (
    cluster_pb2_grpc,
    league_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    weights_pb2_grpc,
)
from efficientzero.schema import Phase

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "efficientzero" / "rpc" / "stubs"


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stubs")
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    protos = [
        f"efficientzero/rpc/stubs/{path.name}" for path in sorted((ROOT / "protos").glob("*.proto"))
    ]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-Iefficientzero/rpc/stubs=protos",
            *outputs,
            *protos,
        ],
        cwd=ROOT,
        check=True,
        timeout=60,
    )
    return folder / "efficientzero" / "rpc" / "stubs"


def test_committed_stubs_equal_freshly_generated_ones(generated):
    fresh = {path.name: path.read_text() for path in generated.iterdir()}
    committed = {name: (STUBS / name).read_text() for name in fresh}
    assert len(fresh) == 12
    assert committed == fresh, "run `make protos`"


def test_no_stub_outlives_its_proto(generated):
    services = ("cluster", "league", "run", "weights")
    handwritten = {f"{name}_pb2_grpc.pyi" for name in services}
    stubs = {path.name for path in STUBS.glob("*_pb2*") if path.is_file()}
    assert stubs == {path.name for path in generated.iterdir()} | handwritten


@pytest.mark.parametrize(
    ("module", "service"),
    [
        (cluster_pb2_grpc, "ClusterServiceServicer"),
        (league_pb2_grpc, "LeagueServiceServicer"),
        (run_pb2_grpc, "RunServiceServicer"),
        (weights_pb2_grpc, "WeightServiceServicer"),
    ],
)
def test_handwritten_types_name_every_method(module, service):
    methods = [name for name in vars(getattr(module, service)) if not name.startswith("_")]
    types = (STUBS / f"{module.__name__.rpartition('.')[2]}.pyi").read_text()
    assert methods
    for name in methods:
        assert f"    {name}: grpc." in types
        assert f"    def {name}(" in types


def test_phases_have_the_numbers_of_the_contract():
    contract = dict(run_pb2.Phase.items())
    assert contract.pop("PHASE_UNSPECIFIED") == 0
    assert {phase.name: phase.value for phase in Phase} == contract
