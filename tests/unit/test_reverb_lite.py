import subprocess
import sys

# Another thread imports and drops modules all the while, as wandb's do while a role starts.
BESIDE_IMPORTS = """
import sys, threading, types
from replay import reverb_lite

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
from replay import reverb_lite

reverb_lite.load()
import ssl

context = ssl.create_default_context()
assert any("TLS_AES" in cipher["name"] for cipher in context.get_ciphers())
"""


def test_python_speaks_tls_after_reverb_is_loaded():
    subprocess.run([sys.executable, "-c", TLS_BESIDE_REVERB], check=True)
