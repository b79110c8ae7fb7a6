# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: guests that boot a distribution's stock kernel, and the networks between them."""
