"""`python -m bench`: all cases against nats-server and natslite in turn, as a table and JSON.

python -m bench                         everything, under ten minutes
python -m bench --only "1-1*"           cases by pattern, may be repeated
python -m bench --peer other="cmd -p {port} -m {monitor}"   another server in natslite's place
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import catalogue
from bench.case import Case, Settings
from bench.report import as_data, print_table
from bench.run import Outcome, run_case
from bench.servers import Peer, nats_server, natslite, raise_descriptor_limit

WAIT_HELP = "how long a case waits, in all, for other processes to be quiet"
TABLE_WIDTH = 140
"""Where the output is a file or a pipe."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Side by side with nats-server.")
    parser.add_argument("--only", metavar="PATTERN", action="append", help="cases by name, with * and ?")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--rounds", type=int, default=Settings.rounds)
    parser.add_argument("--seconds", type=float, default=Settings.seconds, help="length of a load")
    parser.add_argument("--scale", type=float, default=1.0, help="fewer clients and subscriptions, to try things")
    parser.add_argument("--patience", type=float, default=Settings.patience_s, metavar="S", help=WAIT_HELP)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--peer", metavar="NAME=COMMAND", help="measure this server instead of natslite")
    parser.add_argument("--baseline", metavar="NAME=COMMAND", help="compare with this server instead of nats-server")
    return parser.parse_args(argv)


def chosen(patterns: Sequence[str] | None) -> list[Case]:
    """The cases whose names match one of the patterns; all without any."""
    return [case for case in catalogue.CASES if not patterns or any(fnmatch.fnmatch(case.name, p) for p in patterns)]


def main(argv: Sequence[str]) -> int:
    """Exit code 1 where a message was lost or a case gave no figure for the candidate, 2 for a bad command."""
    arguments = parse(argv)
    cases = chosen(arguments.only)
    if arguments.list or not cases:
        print("\n".join(case.name for case in catalogue.CASES))
        return 0 if arguments.list else 2
    raise_descriptor_limit()
    baseline = Peer.of_text(arguments.baseline) if arguments.baseline else nats_server()
    candidate = Peer.of_text(arguments.peer) if arguments.peer else natslite()
    if baseline.name == candidate.name:
        print("the two servers need different names", file=sys.stderr)
        return 2
    settings = Settings(arguments.seconds, arguments.rounds, arguments.scale, arguments.patience)
    progress = Console(stderr=True)

    def say(text: str) -> None:
        progress.print(text, style="dim", highlight=False, markup=False)

    outcomes: list[Outcome] = []
    try:
        for case in cases:
            outcomes.append(run_case(case, [baseline, candidate], settings, say))
    except KeyboardInterrupt:
        progress.print("interrupted: what was measured so far")
    data = as_data(outcomes, baseline.name, candidate.name, settings)
    print_table(data, Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(data, indent=1) + "\n")
    silent = [outcome for outcome in outcomes if not any(outcome.rounds[candidate.name])]
    return 1 if silent or any(outcome.lost for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
