"""Parts that every process needs: stop signal, threads, liveness, device, command line, disk."""
