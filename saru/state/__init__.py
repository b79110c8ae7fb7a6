# SPDX-License-Identifier: GPL-2.0-or-later
"""What a daemon keeps on disk under `/var/lib/saru`, for the one that starts after it."""
