"""The replay service of a run: ``python -m replay --config runs/<id>/config.json``."""

from __future__ import annotations

from efficientzero.process.disk_space import DiskPause
from efficientzero.process.options import refuse_options
from efficientzero.process.own_log import keep_log
from efficientzero.process.runtime import StopSignal, exit_now, run_role
from efficientzero.runs.lease import take_lease
from efficientzero.runs.results.cpu_seconds import CpuSeconds
from efficientzero.runs.run_processes import check_alone
from efficientzero.worker import parse_server_line, tracked
from replay.relay import relayed
from replay.service import ServiceMetrics, reached_at, serve, with_port
from replay.tables import trajectories_table


def main() -> None:
    """Serve until a stop is asked for."""
    arguments = parse_server_line("replay", __doc__)
    if arguments.index:
        refuse_options("replay", f"--index: got {arguments.index}, wanted 0: there is one service")
    run, name = arguments.run, "replay-0"

    def role(stop: StopSignal) -> None:
        check_alone(run.directory, name)
        lease = DiskPause(stop).write(
            lambda: take_lease(run.directory, name, launch=run.num_resumes), run.directory / name
        )
        keep_log(run.directory, "replay", 0)
        listens_at = with_port(run.replay_listens_at)
        with (
            relayed(run.config.cluster, run.relay_port, to=listens_at, stop=stop),
            tracked(run, "replay", 0, arguments.incarnation, stop=stop) as tracker,
        ):
            metrics = ServiceMetrics(
                reached_at(listens_at),
                tracker,
                interval_s=run.config.cluster.metrics_interval_seconds,
                queue_size=run.config.replay.queue_size,
            )
            cost = CpuSeconds(run.directory / name, check_lease=lease.check)

            def every_second() -> None:
                metrics.log_when_due()
                cost.note_own("replay")
                cost.save_when_due()

            serve(
                run.config.replay,
                listens_at,
                stop,
                folder=run.directory / name,
                steps=trajectories_table(run.env_spec, has_movers=run.config.league.has_pool),
                networks=run.config.cluster.replay_networks,
                in_order=run.config.cluster.deterministic,
                check_lease=lease.check,
                every_second=every_second,
            )
            cost.note_own("replay")
            cost.save()

    exit_now(run_role("replay", 0, role))


if __name__ == "__main__":
    main()
