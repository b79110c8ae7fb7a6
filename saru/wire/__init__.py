# SPDX-License-Identifier: GPL-2.0-or-later
"""What directors tell each other <-> bytes: datagrams (`codec`), and znodes."""
