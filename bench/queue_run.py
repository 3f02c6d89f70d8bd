"""`bench/run queue`: what one pop and one push cost as the queue grows, and the broker's core.

Beside the queue of the broker, in the same rounds: a binary heap and a std::set of the same jobs,
which know the short lane's order only and no arrival, position or shape.
"""
import json
import statistics

from common import BUILD, build, command, machine, tell, today

QUEUED = (1_000, 100_000, 1_000_000)
BROKER_QUEUED = 100_000


def queue(args):
    build("bench_queue")
    rounds = {(kind, n): [] for kind in ("pop", "heap", "set") for n in QUEUED}
    broker = []
    for number in range(args.rounds):
        tell(f"round {number + 1} of {args.rounds}")
        for (kind, queued), times in rounds.items():
            times.append(json.loads(command(BUILD / "bench_queue", kind, queued))["ns"])
        broker.append(json.loads(command(BUILD / "bench_queue", "broker", BROKER_QUEUED))["jobs_per_s"])
    ns = {key: statistics.median(times) for key, times in rounds.items()}
    found = {
        "pop_push_ns": {str(n): ns["pop", n] for n in QUEUED},
        "heap_ns": {str(n): ns["heap", n] for n in QUEUED},
        "set_ns": {str(n): ns["set", n] for n in QUEUED},
        "growth": ns["pop", QUEUED[-1]] / ns["pop", QUEUED[0]],
        "broker_jobs_per_s": statistics.median(broker),
        "rounds": args.rounds,
        "machine": machine(),
        "date": today(),
    }
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print(f"| queued | ns a pop and push | lowest | highest | heap | std::set |\n|---|---|---|---|---|---|")
    for n in QUEUED:
        times = rounds["pop", n]
        print(
            f"| {n:,} | {ns['pop', n]:.0f} | {min(times):.0f} | {max(times):.0f} "
            f"| {ns['heap', n]:.0f} | {ns['set', n]:.0f} |"
        )
    print(
        f"\n1,000,000 queued cost {found['growth']:.2f} times what 1,000 do. The broker's core, with "
        f"{BROKER_QUEUED:,} queued: {found['broker_jobs_per_s']:,.0f} jobs/s, each a submit, its hold, "
        f"an end and its settle.\n{found['machine']}; {found['date']}; medians of {args.rounds}"
    )
