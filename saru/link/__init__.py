# SPDX-License-Identifier: GPL-2.0-or-later
"""The interface with the shared MAC and the VIPs (`shared`), and what is known of interfaces."""
