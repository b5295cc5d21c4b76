import subprocess
import sys

# Another thread imports and drops modules all the while, as wandb's do while a role starts.
BESIDE_IMPORTS = """
import sys, threading, types
from replay.driver import reverb_lite

sys.setswitchinterval(1e-6)
done = threading.Event()

def come_and_go():
    while not done.is_set():
        for i in range(50):
            sys.modules[f"passing_{i}"] = types.ModuleType("passing")
        for i in range(50):
            del sys.modules[f"passing_{i}"]

thread = threading.Thread(target=come_and_go)
thread.start()
try:
    for _ in range(3000):
        reverb_lite._forget("tensorflow")
finally:
    done.set()
    thread.join()
"""


def test_modules_are_forgotten_while_another_thread_imports():
    subprocess.run([sys.executable, "-c", BESIDE_IMPORTS], check=True)


TLS_BESIDE_REVERB = """
from replay.driver import reverb_lite

reverb_lite.load()
import ssl

context = ssl.create_default_context()
assert any("TLS_AES" in cipher["name"] for cipher in context.get_ciphers())
"""


def test_python_speaks_tls_after_reverb_is_loaded():
    subprocess.run([sys.executable, "-c", TLS_BESIDE_REVERB], check=True)


SNAPSHOTS_MESSAGE = """
import sys
from pathlib import Path
from replay.driver import reverb_lite

def is_clean():
    return not any(name.partition(".")[0] == "tensorflow" for name in sys.modules)

message = reverb_lite.table_checkpoint()
assert message.FromString(message(max_size=7).SerializeToString()).max_size == 7
assert "reverb" not in sys.modules and is_clean()
assert "libtensorflow" not in Path("/proc/self/maps").read_text()
reverb_lite.load()
reverb_lite.table_checkpoint.cache_clear()
assert reverb_lite.table_checkpoint() is message
assert reverb_lite.load().Client and is_clean()
"""


def test_a_snapshots_message_is_read_without_loading_reverb_and_after_it():
    subprocess.run([sys.executable, "-c", SNAPSHOTS_MESSAGE], check=True)
