"""Opens a control plane and writes until it is killed; prints each acknowledged number."""

from __future__ import annotations

import sys

from heroctl_core.control_plane import ControlPlane


def main(folder: str, start: int) -> None:
    with ControlPlane.open(data_dir=folder) as plane:
        number = start
        while True:
            plane.jobs.put(f"job-{number}", {"number": number})
            print(number, flush=True)
            number += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
