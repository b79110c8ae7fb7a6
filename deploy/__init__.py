# SPDX-License-Identifier: GPL-2.0-or-later
"""What sets machines up: the demonstration, the lab, and their set-up script."""
