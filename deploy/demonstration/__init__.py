# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration: every block probed, without a pause, while directors come and go."""
