# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru` with several command lines, in one process: to start Python takes a guest seconds.

Each argument is a command line; told are, in JSON, the status, output and errors of each.
"""

import contextlib
import io
import json
import sys

from saru import cli

told = []
for line in sys.argv[1:]:
    with (
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        status = cli.run(line.split())
    told.append((status, output.getvalue(), errors.getvalue()))
json.dump(told, sys.stdout)
