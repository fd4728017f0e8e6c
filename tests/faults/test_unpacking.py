"""What a server packs in several layers is not unpacked into memory."""

from __future__ import annotations

import json
import sys
import zlib

import pytest

from tests.faults.api import FaultyApi, http
from tests.project import Project

# Sends a request, and prints what came of it and by how many MB the program grew meanwhile.
PROGRAM = """
import json, resource, sys
from deploy_tasks.api.transport import NoAnswer, Transport

def megabytes():
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)

transport, before = Transport(sys.argv[1], "k3y"), megabytes()
try:
    outcome = transport.exchange("GET", "", None, seconds=50, most=1_000_000).status
except NoAnswer as error:
    outcome = str(error)
print(json.dumps([outcome, megabytes() - before]))
"""


def packed(layers: int) -> bytes:
    """300 MB, packed that many times: 292 KB after the first."""
    packer, piece = zlib.compressobj(wbits=31), bytes(1_000_000)
    content = b"".join([*(packer.compress(piece) for _ in range(300)), packer.flush()])
    for _ in range(layers - 1):
        packer = zlib.compressobj(wbits=31)
        content = packer.compress(content) + packer.flush()
    return content


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("status", [200, 422])
def test_what_is_packed_in_layers_takes_little_memory(shop: Project, api: FaultyApi, layers: int, status: int) -> None:
    api.always("other", http(status, packed(layers), Content_Encoding=", ".join(["gzip"] * layers)))
    done = shop.run(sys.executable, "-c", PROGRAM, api.url)
    assert done.returncode == 0, done.stderr
    outcome, grown = json.loads(done.stdout)
    assert outcome == ("answered with more than 1000000 bytes" if status == 200 else 422)
    assert grown < 100
