"""Keeps the contracts as they are now as the ones that may not break: `python -m tools.contracts.release`.

Part of a release, and only of a release: it is no way around a finding of `tools.contracts.lint`.
"""

from __future__ import annotations

import sys

from tools.contracts import compiler, layout


def main() -> int:
    """Writes `proto/baseline.binpb`.

    Returns:
        0, or 1 when a contract does not compile.
    """
    try:
        image = compiler.compile_image(with_comments=False)
    except compiler.CompileError as refused:
        print(refused, file=sys.stderr)
        return 1
    layout.BASELINE.write_bytes(image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
