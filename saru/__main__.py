# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m saru` is `saru`."""

from saru.cli import main

main()
