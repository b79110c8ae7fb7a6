# SPDX-License-Identifier: GPL-2.0-or-later
"""Several Linux directors serve one virtual IP at once; never two accept the same block."""

__version__ = "0.1.0"
